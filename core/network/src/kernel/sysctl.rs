//! Sysctls of the calling thread's network namespace.

use std::io;
use std::path::PathBuf;

use crate::error::{NetworkError, Result};

/// The file of a sysctl written with dots; a `/` inside of an interface's name stands for a dot, as sysctl(8) has it.
///
/// Only `net.` is allowed: everything else is not a namespace's own.
fn path(key: &str) -> Result<PathBuf> {
    let refuse = || NetworkError::invalid(format!("sysctl {key:?} is not a network sysctl"));
    let mut path = PathBuf::from("/proc/sys");
    if !key.starts_with("net.") {
        return Err(refuse());
    }
    for part in key.split('.') {
        if part.is_empty() || part.bytes().any(|b| b == 0) {
            return Err(refuse());
        }
        let part = part.replace('/', ".");
        if part == "." || part == ".." {
            return Err(refuse());
        }
        path.push(part);
    }
    Ok(path)
}

/// Reads a sysctl; None if the kernel does not have it.
pub(crate) fn read(key: &str) -> Result<Option<String>> {
    match std::fs::read_to_string(path(key)?) {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NetworkError::kernel(format!("sysctl {key}"), error)),
    }
}

/// Writes a sysctl.
pub(crate) fn write(key: &str, value: &str) -> Result<()> {
    std::fs::write(path(key)?, value).map_err(|e| NetworkError::kernel(format!("sysctl {key}={value}"), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_sysctls() {
        assert_eq!(
            path("net.ipv4.conf.eth0/1.forwarding").expect("path").to_str(),
            Some("/proc/sys/net/ipv4/conf/eth0.1/forwarding")
        );
        for bad in ["kernel.core_pattern", "net", "net.", "net..x", "net.ipv4.//.x", "net./.kernel"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
