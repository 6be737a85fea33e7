//! Docker's default address pools.

use std::net::IpAddr;

use super::Prefix;
use super::prefix::{bits, from_bits};

/// The default pools: a base and the length of the networks cut from it. See `default-address-pools` of dockerd.
const DEFAULT: [([u8; 4], u8, u8); 7] = [
    ([172, 17, 0, 0], 16, 16),
    ([172, 18, 0, 0], 16, 16),
    ([172, 19, 0, 0], 16, 16),
    ([172, 20, 0, 0], 14, 16),
    ([172, 24, 0, 0], 14, 16),
    ([172, 28, 0, 0], 14, 16),
    ([192, 168, 0, 0], 16, 20),
];

fn candidates() -> impl Iterator<Item = Prefix> {
    DEFAULT.into_iter().flat_map(|(base, length, size)| {
        let base = IpAddr::from(base);
        (0..1u128 << (size - length))
            .filter_map(move |n| Prefix::new(from_bits(base, bits(base) + (n << (32 - size))), size))
    })
}

/// The first default pool that overlaps none of `taken` (other networks' subnets, the host's routes); None if all do.
pub(crate) fn choose_pool(taken: &[Prefix]) -> Option<Prefix> {
    candidates().find(|pool| !taken.iter().any(|t| t.overlaps(*pool)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_around_what_is_taken() {
        let mut taken: Vec<Prefix> = vec!["172.18.9.0/24".parse().expect("prefix")];
        let mut got = Vec::new();
        while let Some(pool) = choose_pool(&taken) {
            got.push(pool.to_string());
            taken.push(pool);
        }
        assert_eq!(got[..3], ["172.17.0.0/16", "172.19.0.0/16", "172.20.0.0/16"]);
        assert_eq!(got[13..15], ["172.31.0.0/16", "192.168.0.0/20"]);
        assert_eq!(got.len(), 14 + 16);
    }
}
