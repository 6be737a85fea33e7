//! Encoding of netlink attributes for nfnetlink messages: type, length, value, padded to four bytes.

const NESTED: u16 = 1 << 15;

/// A growing list of attributes.
#[derive(Debug, Default, Clone)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// No attribute yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One attribute with these bytes.
    #[must_use]
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A number in network order, as nfnetlink has them.
    #[must_use]
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A string with its ending zero.
    #[must_use]
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Attributes inside of one.
    #[must_use]
    pub(crate) fn nest(self, kind: u16, inside: Attributes) -> Self {
        self.bytes(kind | NESTED, &inside.0)
    }

    /// The encoded bytes.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Reads the attributes of `bytes`; the nested flag is taken off. Ends at the first one that does not fit.
pub(crate) fn read(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut attributes = Vec::new();
    while let Some((&[a, b, c, d], _)) = bytes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = bytes.get(4..length) else { break };
        attributes.push((u16::from_ne_bytes([c, d]) & !(NESTED | 1 << 14), value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let inner = Attributes::new().number(1, 7);
        let bytes = Attributes::new().text(2, "abc").nest(3, inner).bytes(4, &[1]).into_bytes();
        let found = read(&bytes);
        assert_eq!(found.iter().map(|(k, v)| (*k, v.len())).collect::<Vec<_>>(), [(2, 4), (3, 8), (4, 1)]);
        assert_eq!(read(found[1].1), [(1, &[0, 0, 0, 7][..])]);
        assert!(read(&[9, 0, 1, 0, 5]).is_empty(), "a length that does not fit ends the list");
    }
}
