//! Snapshots as overlayfs layers.
