//! The header `WWW-Authenticate`.

use std::collections::BTreeMap;

/// One challenge of RFC 7235: a scheme with its parameters, names and scheme in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Challenge {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
}

struct Cursor<'a>(&'a str);

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

impl<'a> Cursor<'a> {
    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(unwanted);
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !wanted(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        token
    }

    /// `name = value`; leaves the cursor where it was if there is none.
    fn parameter(&mut self) -> Option<(String, String)> {
        let mut ahead = Cursor(self.0);
        let name = ahead.take(is_token);
        ahead.skip(|c| c == ' ' || c == '\t');
        let after = ahead.0.strip_prefix('=').filter(|_| !name.is_empty())?;
        ahead.0 = after.trim_start_matches([' ', '\t']);
        let value = match ahead.0.strip_prefix('"') {
            Some(quoted) => {
                ahead.0 = quoted;
                ahead.quoted()
            }
            // Some registries do not quote a URL, so a bare value goes on to the comma.
            None => {
                let value = ahead.take(|c| c != ',' && !c.is_whitespace());
                // `abc==` is credentials of a scheme without parameters, not a parameter.
                if value.is_empty() || value.bytes().all(|b| b == b'=') {
                    return None;
                }
                value.to_owned()
            }
        };
        self.0 = ahead.0;
        Some((name.to_ascii_lowercase(), value))
    }

    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return value;
                }
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                c => value.push(c),
            }
        }
        self.0 = "";
        value
    }
}

/// Reads all challenges of one header. What cannot be read is passed over.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut cursor = Cursor(header);
    let mut challenges = Vec::new();
    loop {
        cursor.skip(|c| c.is_whitespace() || c == ',');
        if cursor.0.is_empty() {
            return challenges;
        }
        let scheme = cursor.take(is_token);
        if scheme.is_empty() {
            // Not a challenge: drop one character and look again.
            cursor.0 = cursor.0.char_indices().nth(1).map_or("", |(at, _)| &cursor.0[at..]);
            continue;
        }
        let mut challenge = Challenge { scheme: scheme.to_ascii_lowercase(), parameters: BTreeMap::new() };
        cursor.skip(|c| c == ' ' || c == '\t');
        if let Some((name, value)) = cursor.parameter() {
            challenge.parameters.entry(name).or_insert(value);
            loop {
                cursor.skip(|c| c.is_whitespace() || c == ',');
                let Some((name, value)) = cursor.parameter() else { break };
                challenge.parameters.entry(name).or_insert(value);
            }
        } else {
            cursor.take(|c| c != ',');
        }
        challenges.push(challenge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(header: &str, expected: &[(&str, &[(&str, &str)])]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(scheme, parameters)| Challenge {
                scheme: (*scheme).to_owned(),
                parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            })
            .collect();
        assert_eq!(parse(header), expected, "{header}");
    }

    #[test]
    fn reads_what_registries_send() {
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            &[(
                "bearer",
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("scope", "repository:a/b:pull,push"),
                    ("service", "registry.docker.io"),
                ],
            )],
        );
        check(r#"Basic realm="a \"b\" c""#, &[("basic", &[("realm", "a \"b\" c")])]);
        check(
            r#"BEARER Realm=https://x/t , service = "s", Basic realm="y""#,
            &[("bearer", &[("realm", "https://x/t"), ("service", "s")]), ("basic", &[("realm", "y")])],
        );
        check("Negotiate abc==, Basic realm=x", &[("negotiate", &[]), ("basic", &[("realm", "x")])]);
        check("Basic", &[("basic", &[])]);
        check(r#"Bearer realm="unterminated"#, &[("bearer", &[("realm", "unterminated")])]);
        check(r#"Bearer realm="a",realm="b""#, &[("bearer", &[("realm", "a")])]);
        check("", &[]);
        check(",,;;", &[]);
    }

    proptest! {
        #[test]
        fn never_panics_and_ends(header in "\\PC{0,80}") {
            parse(&header);
        }

        #[test]
        fn noise_of_separators_ends(header in "[a=\", \\\\;é]{0,60}") {
            parse(&header);
        }

        #[test]
        fn reads_what_it_is_given(
            schemes in proptest::collection::vec(
                ("[a-z]{1,8}", proptest::collection::btree_map("[a-z]{1,6}", "[ -~]{1,12}", 1..4)), 1..4),
        ) {
            let challenges: Vec<_> = schemes
                .into_iter()
                .map(|(scheme, parameters)| Challenge { scheme, parameters })
                .collect();
            let header: Vec<_> = challenges.iter().map(|c| {
                let parameters: Vec<_> = c.parameters.iter()
                    .map(|(k, v)| format!("{k}=\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"")))
                    .collect();
                format!("{} {}", c.scheme, parameters.join(", "))
            }).collect();
            prop_assert_eq!(parse(&header.join(", ")), challenges);
        }
    }
}
