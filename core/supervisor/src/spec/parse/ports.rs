//! Ports: `80/tcp`, `8000-8010/udp`, and where they are published.

use std::fmt;
use std::ops::RangeInclusive;

use sheave_api::containers::PortSet;

use crate::spec::error::{Result, SpecError};

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// A port of a container, written `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// Its number, not 0.
    pub number: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// Where a port is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPorts {
    /// At any free port.
    Any,
    /// At the first free port of these; mostly there is one.
    Among(RangeInclusive<u16>),
}

fn number(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

/// Reads `number[/protocol]` with a protocol of `tcp` (the default), `udp` or `sctp`.
fn split(text: &str) -> Option<(&str, Protocol)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    Some((ports, protocol))
}

/// Reads one port of a container, a key of `PortBindings`.
///
/// # Errors
/// `invalid port specification: "x"`, as Docker.
pub fn port(text: &str) -> Result<Port> {
    split(text)
        .and_then(|(ports, protocol)| Some(Port { number: number(ports).filter(|n| *n != 0)?, protocol }))
        .ok_or_else(|| SpecError::refused("HostConfig.PortBindings", format!("invalid port specification: {text:?}")))
}

/// Reads the keys of `ExposedPorts`, each a port or a range.
///
/// # Errors
/// `invalid port specification: "x"`.
pub fn exposed_ports(set: &PortSet) -> Result<Vec<Port>> {
    let mut ports = Vec::new();
    for text in set.keys() {
        let (numbers, protocol) = split(text)
            .and_then(|(numbers, protocol)| Some((range(numbers).filter(|r| *r.start() != 0)?, protocol)))
            .ok_or_else(|| SpecError::refused("ExposedPorts", format!("invalid port specification: {text:?}")))?;
        ports.extend(numbers.map(|number| Port { number, protocol }));
    }
    ports.sort();
    ports.dedup();
    Ok(ports)
}

/// Reads a `HostPort`: empty or `0` is any, `8000-8010` is the first free one of these.
///
/// # Errors
/// `invalid port specification: "x"`, as Docker.
pub fn host_ports(text: &str) -> Result<HostPorts> {
    // The protocol of a host port is that of the container's; Docker reads one and ignores it.
    let ports = split(text).map(|(ports, _)| ports);
    match ports {
        Some("" | "0") => Ok(HostPorts::Any),
        Some(ports) => range(ports).filter(|r| *r.start() != 0).map(HostPorts::Among).ok_or_else(|| {
            SpecError::refused("HostConfig.PortBindings", format!("invalid port specification: {text:?}"))
        }),
        None => Err(SpecError::refused("HostConfig.PortBindings", format!("invalid port specification: {text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sheave_api::containers::Empty;

    use super::*;

    #[test]
    fn ports() {
        for (text, expected) in [
            ("80/tcp", Some("80/tcp")),
            ("80", Some("80/tcp")),
            ("53/UDP", Some("53/udp")),
            ("9/sctp", Some("9/sctp")),
            ("80/", Some("80/tcp")),
            ("0/tcp", None),
            ("65536/tcp", None),
            ("80/icmp", None),
            ("a/tcp", None),
            ("+80/tcp", None),
            ("80-81/tcp", None),
            ("", None),
        ] {
            assert_eq!(port(text).ok().map(|p| p.to_string()).as_deref(), expected, "{text}");
        }
        assert_eq!(port("x").unwrap_err().to_string(), "invalid port specification: \"x\"");
    }

    #[test]
    fn published_ports() {
        for (text, expected) in [
            ("", Some(HostPorts::Any)),
            ("0", Some(HostPorts::Any)),
            ("8080", Some(HostPorts::Among(8080..=8080))),
            ("8000-8010", Some(HostPorts::Among(8000..=8010))),
            ("8010-8000", None),
            ("99999", None),
            ("-1", None),
        ] {
            assert_eq!(host_ports(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn exposed_ranges_are_expanded() {
        let set: PortSet = ["8000-8002/udp", "80/tcp", "8001/udp"].map(|k| (k.to_owned(), Empty {})).into();
        let found: Vec<_> = exposed_ports(&set).unwrap().iter().map(Port::to_string).collect();
        assert_eq!(found, ["80/tcp", "8000/udp", "8001/udp", "8002/udp"]);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,16}") {
            let _ = (port(&text), host_ports(&text));
            let _ = exposed_ports(&PortSet::from([(text, Empty {})]));
        }

        #[test]
        fn reads_what_it_writes(number in 1u16.., protocol in 0..3) {
            let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp][usize::try_from(protocol).unwrap()];
            let written = Port { number, protocol };
            prop_assert_eq!(port(&written.to_string()).unwrap(), written);
        }
    }
}
