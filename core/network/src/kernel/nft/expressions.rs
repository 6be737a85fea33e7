//! The expressions that rules are made of.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h`; they are part of the kernel's stable interface.

use crate::ipam::Prefix;
use crate::kernel::attributes::Attributes;

// Registers. The first and second hold 16 bytes each; the small ones are four bytes each, and the first four of them lie over
// the first large one.
pub(super) const REG_VERDICT: u32 = 0;
pub(super) const REG_1: u32 = 1;
pub(super) const REG_2: u32 = 2;
pub(super) const REG_SMALL: u32 = 8;

/// Expressions in the order in which the kernel evaluates them.
#[derive(Debug, Clone, Default)]
pub(super) struct Expressions(pub(super) Attributes);

/// A value as an attribute.
pub(super) fn data(value: &[u8]) -> Attributes {
    Attributes::new().bytes(1, value)
}

impl Expressions {
    pub(super) fn push(self, name: &str, attributes: Attributes) -> Self {
        Self(self.0.nest(1, Attributes::new().text(1, name).nest(2, attributes)))
    }

    pub(super) fn meta(self, key: u32, register: u32) -> Self {
        self.push("meta", Attributes::new().number(2, key).number(1, register))
    }

    pub(super) fn compare(self, equal: bool, register: u32, value: &[u8]) -> Self {
        let attributes = Attributes::new().number(1, register).number(2, u32::from(!equal)).nest(3, data(value));
        self.push("cmp", attributes)
    }

    pub(super) fn masked(self, register: u32, mask: &[u8]) -> Self {
        let zero = vec![0; mask.len()];
        let length = mask.len() as u32;
        let attributes = Attributes::new()
            .number(1, register)
            .number(2, register)
            .number(3, length)
            .nest(4, data(mask))
            .nest(5, data(&zero));
        self.push("bitwise", attributes)
    }

    pub(super) fn payload(self, base: u32, offset: u32, length: u32, register: u32) -> Self {
        let attributes = Attributes::new().number(1, register).number(2, base).number(3, offset).number(4, length);
        self.push("payload", attributes)
    }

    pub(super) fn in_set(self, set: &str, register: u32, inside: bool) -> Self {
        let mut attributes = Attributes::new().text(1, set).number(2, register);
        if !inside {
            attributes = attributes.number(5, 1);
        }
        self.push("lookup", attributes)
    }

    pub(super) fn address(self, prefix: Prefix, offset4: u32, offset6: u32) -> Self {
        let (network, mask) = prefix.octets();
        let offset = if network.len() == 4 { offset4 } else { offset6 };
        self.payload(1, offset, network.len() as u32, REG_1).masked(REG_1, &mask).compare(true, REG_1, &network)
    }

    pub(super) fn connection(self, key: u32, bits: u32) -> Self {
        self.push("ct", Attributes::new().number(2, key).number(1, REG_1)).masked(REG_1, &bits.to_ne_bytes()).compare(
            false,
            REG_1,
            &0u32.to_ne_bytes(),
        )
    }

    pub(super) fn translate_by(self, map: &str) -> Self {
        let lookup = Attributes::new().text(1, map).number(2, REG_SMALL).number(3, REG_1);
        self.push("lookup", lookup).translate(REG_SMALL, REG_SMALL + 1)
    }

    pub(super) fn translate(self, address: u32, port: u32) -> Self {
        const DESTINATION: u32 = 1;
        let attributes = Attributes::new().number(1, DESTINATION).number(2, 2).number(3, address).number(5, port);
        self.push("nat", attributes)
    }
}
