//! Volumes as directories and mounts on this host.
