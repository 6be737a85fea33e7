//! The expressions of rules: what a packet is compared with, and what is done to it.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h`; they are part of the kernel's stable interface.

use std::net::Ipv4Addr;

use crate::ipam::Prefix;
use crate::kernel::attributes::Attributes;

use super::expressions::{Expressions, REG_1, REG_2, REG_SMALL, REG_VERDICT, data};

/// What a rule does with a packet.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    Drop,
    Accept,
    Return,
    Jump(&'static str),
}

/// The expressions of one rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rule {
    pub(super) expressions: Expressions,
    pub(super) comment: Option<String>,
}

/// An interface's name as sets and comparisons hold it.
pub(crate) fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

impl Rule {
    /// Matches everything until something is added.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn with(mut self, add: impl FnOnce(Expressions) -> Expressions) -> Self {
        self.expressions = add(self.expressions);
        self
    }

    /// The packet came in by this interface, or by another one.
    pub(crate) fn input(self, name: &str, equal: bool) -> Self {
        self.with(|e| e.meta(6, REG_1).compare(equal, REG_1, &interface(name)))
    }

    /// The packet leaves by this interface, or by another one.
    pub(crate) fn output(self, name: &str, equal: bool) -> Self {
        self.with(|e| e.meta(7, REG_1).compare(equal, REG_1, &interface(name)))
    }

    /// The incoming interface is in a set of names.
    pub(crate) fn input_in(self, set: &str) -> Self {
        self.with(|e| e.meta(6, REG_1).in_set(set, REG_1, true))
    }

    /// The outgoing interface is in a set of names.
    pub(crate) fn output_in(self, set: &str) -> Self {
        self.with(|e| e.meta(7, REG_1).in_set(set, REG_1, true))
    }

    /// Incoming and outgoing interface are a pair of a set.
    pub(crate) fn pair_in(self, set: &str) -> Self {
        self.with(|e| e.meta(6, REG_1).meta(7, REG_2).in_set(set, REG_1, true))
    }

    /// An IPv4 packet.
    pub(crate) fn ipv4(self) -> Self {
        self.with(|e| e.meta(15, REG_1).compare(true, REG_1, &[2]))
    }

    /// An IPv6 packet.
    pub(crate) fn ipv6(self) -> Self {
        self.with(|e| e.meta(15, REG_1).compare(true, REG_1, &[10]))
    }

    /// The source address is inside of a prefix (or is not); the packet's family must have been matched.
    pub(crate) fn source(self, prefix: Prefix) -> Self {
        self.with(|e| e.address(prefix, 12, 8))
    }

    /// The destination address is inside of a prefix.
    pub(crate) fn destination(self, prefix: Prefix) -> Self {
        self.with(|e| e.address(prefix, 16, 24))
    }

    /// A packet to UDP (17), TCP (6) at this port.
    pub(crate) fn transport(self, protocol: u8, port: u16) -> Self {
        self.with(|e| {
            e.meta(16, REG_1).compare(true, REG_1, &[protocol]).payload(2, 2, 2, REG_1).compare(
                true,
                REG_1,
                &port.to_be_bytes(),
            )
        })
    }

    /// The destination (or source) address is one of this host's.
    pub(crate) fn local(self, destination: bool) -> Self {
        const ADDRESS_TYPE: u32 = 3;
        const LOCAL: u32 = 2;
        let flags = if destination { 2 } else { 1 };
        let attributes = Attributes::new().number(1, REG_1).number(2, ADDRESS_TYPE).number(3, flags);
        self.with(|e| e.push("fib", attributes).compare(true, REG_1, &LOCAL.to_ne_bytes()))
    }

    /// The connection has any of these states (`established` 2, `related` 4).
    pub(crate) fn established(self) -> Self {
        self.with(|e| e.connection(0, 2 | 4))
    }

    /// The connection's destination was translated.
    pub(crate) fn translated(self) -> Self {
        self.with(|e| e.connection(2, 1 << 5))
    }

    /// Translates the destination to what a map has for protocol and port.
    pub(crate) fn translate_by_port(self, map: &str) -> Self {
        self.with(|e| e.meta(16, REG_SMALL).payload(2, 2, 2, REG_SMALL + 1).translate_by(map))
    }

    /// Translates the destination to what a map has for address, protocol and port.
    pub(crate) fn translate_by_address(self, map: &str) -> Self {
        self.with(|e| {
            e.payload(1, 16, 4, REG_SMALL).meta(16, REG_SMALL + 1).payload(2, 2, 2, REG_SMALL + 2).translate_by(map)
        })
    }

    /// Translates the destination to this address and port.
    pub(crate) fn translate_to(self, address: Ipv4Addr, port: u16) -> Self {
        let immediate = |register, value: &[u8]| Attributes::new().number(1, register).nest(2, data(value));
        self.with(|e| {
            e.push("immediate", immediate(REG_SMALL, &address.octets()))
                .push("immediate", immediate(REG_SMALL + 1, &port.to_be_bytes()))
                .translate(REG_SMALL, REG_SMALL + 1)
        })
    }

    /// Gives the packet the address of the interface by which it leaves.
    pub(crate) fn masquerade(self) -> Self {
        self.with(|e| e.push("masq", Attributes::new()))
    }

    /// Counts packets, as the `iptables` of nf_tables expects of every rule.
    pub(crate) fn count(self) -> Self {
        self.with(|e| e.push("counter", Attributes::new()))
    }

    /// Ends with a verdict.
    pub(crate) fn verdict(self, verdict: &Verdict) -> Self {
        let attributes = match verdict {
            Verdict::Drop => Attributes::new().number(1, 0),
            Verdict::Accept => Attributes::new().number(1, 1),
            Verdict::Return => Attributes::new().bytes(1, &(-5i32).to_be_bytes()),
            Verdict::Jump(chain) => Attributes::new().bytes(1, &(-3i32).to_be_bytes()).text(2, chain),
        };
        let value = Attributes::new().nest(2, attributes);
        self.with(|e| e.push("immediate", Attributes::new().number(1, REG_VERDICT).nest(2, value)))
    }

    /// Gives the rule a comment, by which it is found again.
    pub(crate) fn comment(mut self, comment: String) -> Self {
        self.comment = Some(comment);
        self
    }
}

/// A comment as the kernel keeps it for whoever lists the rules: type, length, text.
pub(super) fn comment_bytes(comment: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(comment.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    bytes
}

/// Reads what [`comment_bytes`] writes.
pub(super) fn read_comment(bytes: &[u8]) -> Option<String> {
    let (&[0, length], rest) = bytes.split_first_chunk::<2>()? else { return None };
    let text = rest.get(..usize::from(length))?;
    Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}
