//! The images that `make images` made, and what is known of them.

use std::path::PathBuf;

/// Where they are; see `tests/setup/images.sh` for what is in there.
///
/// # Panics
/// If they have not been made.
pub fn dir() -> PathBuf {
    let cache =
        std::env::var_os("SHEAVE_TEST_CACHE").map_or_else(|| PathBuf::from("/var/cache/sheave-tests"), PathBuf::from);
    let dir = cache.join("images");
    assert!(dir.join("stamp").exists(), "{} has no images: run `make images` first", dir.display());
    dir
}

/// The address of the registry without authentication in each sandbox that has one.
pub const REGISTRY: &str = "127.0.0.1:5000";
/// A root file system of static busybox; one OCI layer. Users: root, app (1000, also in group extra 1001).
pub const BUSYBOX: &str = "127.0.0.1:5000/test/busybox:latest";
/// The same as a Docker schema 2 manifest.
pub const SCHEMA2: &str = "127.0.0.1:5000/test/schema2:latest";
/// An index of the same for amd64 and arm64.
pub const MULTI: &str = "127.0.0.1:5000/test/multi:latest";
/// Debian minbase and four layers of difficult content below /srv, gzip.
pub const DEBIAN: &str = "127.0.0.1:5000/test/debian:latest";
/// The same layers compressed with zstd.
pub const ZSTD: &str = "127.0.0.1:5000/test/zstd:latest";
