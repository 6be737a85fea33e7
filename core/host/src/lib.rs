//! The plugin host: manifests, grants, registry, lifecycle, carriers.
