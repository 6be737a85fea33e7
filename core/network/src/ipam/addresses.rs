//! Which address comes next.

use std::net::IpAddr;

use super::Prefix;
use super::prefix::{bits, from_bits};

/// The addresses that may be given out: of a subnet, or of a range inside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    first: IpAddr,
    last: IpAddr,
}

impl Range {
    /// Those of `subnet` (or of `range` in it), without the subnet's own first address and, in IPv4, its broadcast address.
    ///
    /// None if nothing is left.
    pub(crate) fn new(subnet: Prefix, range: Option<Prefix>) -> Option<Self> {
        let range = range.unwrap_or(subnet).network();
        let (mut first, mut last) = (bits(range.address()), bits(range.last()));
        let tiny = subnet.length() + 1 >= if subnet.address().is_ipv4() { 32 } else { 128 };
        if !tiny {
            first = first.max(bits(subnet.network().address()) + 1);
            if subnet.broadcast().is_some() {
                last = last.min(bits(subnet.last()) - 1);
            }
        }
        let like = subnet.address();
        (first <= last).then(|| Self { first: from_bits(like, first), last: from_bits(like, last) })
    }

    /// The first address.
    pub(crate) fn first(self) -> IpAddr {
        self.first
    }
}

/// The first free address after `after` (the one given out last), going round; None if all are taken.
///
/// Going on instead of back to the lowest keeps an address that was just released from being confused with its new owner.
pub(crate) fn next_free(range: Range, after: Option<IpAddr>, taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let (first, last) = (bits(range.first), bits(range.last));
    let start = match after.map(bits) {
        Some(after) if (first..last).contains(&after) => after + 1,
        _ => first,
    };
    (start..=last).chain(first..start).map(|n| from_bits(range.first, n)).find(|address| !taken(*address))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(subnet: &str, part: Option<&str>) -> Option<Range> {
        Range::new(subnet.parse().expect("subnet"), part.map(|p| p.parse().expect("range")))
    }

    #[test]
    fn first_and_last() {
        for (subnet, part, first, last) in [
            ("172.17.0.0/16", None, "172.17.0.1", "172.17.255.254"),
            ("172.17.0.0/16", Some("172.17.5.0/24"), "172.17.5.0", "172.17.5.255"),
            ("172.17.0.0/16", Some("172.17.0.0/24"), "172.17.0.1", "172.17.0.255"),
            ("10.0.0.0/30", None, "10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/31", None, "10.0.0.0", "10.0.0.1"),
            ("fd00::/64", None, "fd00::1", "fd00::ffff:ffff:ffff:ffff"),
        ] {
            let range = range(subnet, part).expect("range");
            assert_eq!((range.first.to_string(), range.last.to_string()), (first.to_owned(), last.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn gives_each_address_once_and_then_none(length in 24u8..=31, seed in any::<u32>(), reserved in proptest::collection::btree_set(0u32..256, 0..20)) {
            let base = IpAddr::from(std::net::Ipv4Addr::from_bits(seed));
            let subnet = Prefix::new(base, length).expect("prefix").network();
            let range = Range::new(subnet, None).expect("range");
            let reserved: BTreeSet<IpAddr> = reserved.into_iter().map(|n| from_bits(base, bits(subnet.address()) + u128::from(n))).collect();
            let mut taken = reserved.clone();
            let mut last = None;
            while let Some(address) = next_free(range, last, |a| taken.contains(&a)) {
                prop_assert!(subnet.contains(address));
                prop_assert!(bits(range.first) <= bits(address) && bits(address) <= bits(range.last));
                prop_assert!(taken.insert(address), "{} twice", address);
                last = Some(address);
            }
            let all = (bits(range.first)..=bits(range.last)).map(|n| from_bits(base, n));
            prop_assert!(all.into_iter().all(|a| taken.contains(&a)), "an address was left");
        }

        #[test]
        fn finds_the_one_that_is_free(length in 24u8..=30, free in any::<prop::sample::Index>(), after in any::<prop::sample::Index>()) {
            let subnet: Prefix = format!("10.1.2.0/{length}").parse().expect("prefix");
            let range = Range::new(subnet, None).expect("range");
            let count = (bits(range.last) - bits(range.first) + 1) as usize;
            let free = from_bits(range.first, bits(range.first) + free.index(count) as u128);
            let after = from_bits(range.first, bits(range.first) + after.index(count) as u128);
            prop_assert_eq!(next_free(range, Some(after), |a| a != free), Some(free));
        }
    }
}
