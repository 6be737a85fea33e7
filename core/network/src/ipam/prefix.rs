//! An address with a prefix length.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::NetworkError;

/// An address with a prefix length (`172.17.0.2/16`), or the network of that length (`172.17.0.0/16`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// None if the length does not fit the family.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        (length <= width(address)).then_some(Self { address, length })
    }

    /// The address as given.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits name the network.
    pub fn length(self) -> u8 {
        self.length
    }

    /// The same with all bits after the prefix 0.
    #[must_use]
    pub fn network(self) -> Self {
        let address = from_bits(self.address, bits(self.address) & self.mask());
        Self { address, length: self.length }
    }

    /// Another address of the same length.
    #[must_use]
    pub fn with_address(self, address: IpAddr) -> Self {
        Self { address, length: self.length }
    }

    /// Whether the address is inside of the network.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && (bits(address) ^ bits(self.address)) & self.mask() == 0
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        if self.length <= other.length { self.contains(other.address) } else { other.contains(self.address) }
    }

    /// The last address of an IPv4 network with room for it.
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        match self.last() {
            IpAddr::V4(last) if self.length < 31 => Some(last),
            _ => None,
        }
    }

    /// The last address of the network.
    pub fn last(self) -> IpAddr {
        from_bits(self.address, bits(self.address) & self.mask() | !self.mask() & all(self.address))
    }

    /// The bytes of the network and of its mask.
    pub(crate) fn octets(self) -> (Vec<u8>, Vec<u8>) {
        let bytes = |address: IpAddr| match address {
            IpAddr::V4(a) => a.octets().to_vec(),
            IpAddr::V6(a) => a.octets().to_vec(),
        };
        (bytes(self.network().address), bytes(from_bits(self.address, self.mask())))
    }

    fn mask(self) -> u128 {
        let host = u32::from(width(self.address) - self.length);
        all(self.address) & !(1u128.checked_shl(host).unwrap_or(0).wrapping_sub(1))
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn all(address: IpAddr) -> u128 {
    if address.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX }
}

/// An address as a number.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// A number as an address of the family of `like`.
pub(crate) fn from_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Prefix {
    type Err = NetworkError;

    fn from_str(s: &str) -> Result<Self, NetworkError> {
        let parse = || {
            let (address, length) = s.split_once('/')?;
            Self::new(address.parse().ok()?, length.parse().ok()?)
        };
        parse().ok_or_else(|| NetworkError::invalid(format!("invalid CIDR address: {s}")))
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_overlaps() {
        let p = |s: &str| s.parse::<Prefix>().expect(s);
        assert_eq!(p("172.17.5.2/16").network().to_string(), "172.17.0.0/16");
        assert_eq!(p("0.0.0.0/0").last().to_string(), "255.255.255.255");
        assert_eq!(p("10.1.2.3/32").broadcast(), None);
        assert_eq!(p("10.1.2.3/24").broadcast().map(|a| a.to_string()).as_deref(), Some("10.1.2.255"));
        assert_eq!(p("fd00::5/64").network().to_string(), "fd00::/64");
        for (a, b, overlap) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.0.0.0/16", "10.1.0.0/16", false),
            ("0.0.0.0/0", "1.2.3.4/32", true),
            ("::/0", "1.2.3.4/32", false),
        ] {
            assert_eq!(p(a).overlaps(p(b)), overlap, "{a} {b}");
        }
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129", "10.0.0/8"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
