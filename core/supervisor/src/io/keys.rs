//! The key sequence with which a client leaves an attached container (`ctrl-p,ctrl-q`).

use crate::Error;

/// A sequence of input bytes that means *detach*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence(Vec<u8>);

impl Default for Sequence {
    /// Docker's `ctrl-p,ctrl-q`.
    fn default() -> Self {
        Self(vec![16, 17])
    }
}

impl Sequence {
    /// Reads `ctrl-a,b,ctrl-\`; an empty text is the default.
    ///
    /// # Errors
    /// `Invalid` with Docker's text for an unknown key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(',')
            .map(|key| code(key).ok_or_else(|| Error::DetachKeys(key.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn code(key: &str) -> Option<u8> {
    if let &[single] = key.as_bytes() {
        return single.is_ascii().then_some(single);
    }
    let name = key.to_ascii_lowercase();
    match name.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        b"@" => Some(0),
        b"[" => Some(27),
        b"\\" => Some(28),
        b"]" => Some(29),
        b"^" => Some(30),
        b"_" => Some(31),
        _ => None,
    }
}

/// Looks for the sequence in a stream that arrives in pieces. Bytes that may be its start are held back.
#[derive(Debug, Clone)]
pub struct Detector {
    sequence: Sequence,
    matched: usize,
}

impl Detector {
    /// One that has seen nothing.
    pub fn new(sequence: Sequence) -> Self {
        Self { sequence, matched: 0 }
    }

    /// What of the input goes on to the container, and whether the sequence was completed (the rest is then dropped).
    pub fn feed(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(input.len());
        for &byte in input {
            self.advance(byte, &mut out);
            if self.matched == self.sequence.0.len() {
                self.matched = 0;
                return (out, true);
            }
        }
        (out, false)
    }

    /// Bytes held back when the input ends.
    pub fn finish(&mut self) -> Vec<u8> {
        let held = self.sequence.0[..self.matched].to_vec();
        self.matched = 0;
        held
    }

    /// Extends the match by one byte, or falls back to the longest shorter match as the search of Knuth, Morris and Pratt
    /// does; what can no longer be part of a match goes out.
    fn advance(&mut self, byte: u8, out: &mut Vec<u8>) {
        let keys = &self.sequence.0;
        if keys[self.matched] == byte {
            self.matched += 1;
            return;
        }
        let mut held = keys[..self.matched].to_vec();
        held.push(byte);
        let keep = (0..held.len()).rev().find(|&n| keys[..n] == held[held.len() - n..]).unwrap_or(0);
        out.extend_from_slice(&held[..held.len() - keep]);
        self.matched = keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_key_names() {
        for (text, bytes) in [
            ("", vec![16, 17]),
            ("ctrl-p,ctrl-q", vec![16, 17]),
            ("a", vec![97]),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", vec![0, 27, 28, 29, 30, 31]),
            ("CTRL-A,x", vec![1, 120]),
        ] {
            assert_eq!(Sequence::parse(text).unwrap(), Sequence(bytes), "{text}");
        }
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-aa", "é"] {
            assert!(Sequence::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn holds_back_and_lets_go() {
        let mut detector = Detector::new(Sequence::parse("a,a,b").unwrap());
        assert_eq!(detector.feed(b"xa"), (b"x".to_vec(), false));
        assert_eq!(detector.feed(b"aa"), (b"a".to_vec(), false));
        assert_eq!(detector.feed(b"bz"), (Vec::new(), true));
        assert_eq!(detector.feed(b"a"), (Vec::new(), false));
        assert_eq!(detector.finish(), b"a");
    }

    proptest! {
        #[test]
        fn agrees_with_a_search(
            keys in prop::collection::vec(0u8..3, 1..4),
            pieces in prop::collection::vec(prop::collection::vec(0u8..3, 0..5), 0..8),
        ) {
            let all: Vec<u8> = pieces.concat();
            let found = all.windows(keys.len()).position(|w| w == keys.as_slice());
            let mut detector = Detector::new(Sequence(keys));
            let mut out = Vec::new();
            let mut seen = false;
            for piece in &pieces {
                let (bytes, detached) = detector.feed(piece);
                out.extend(bytes);
                if detached { seen = true; break; }
            }
            if !seen { out.extend(detector.finish()); }
            prop_assert_eq!(seen, found.is_some());
            prop_assert_eq!(out, all[..found.unwrap_or(all.len())].to_vec());
        }
    }
}
