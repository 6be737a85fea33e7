//! From a query to its answer, as far as the directory has it. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::directory::{Directory, Found};

/// Seconds that a name stays valid; as Docker's.
const TTL: u32 = 600;

/// What becomes of a query.
pub(crate) enum Answer {
    /// This is sent back.
    Ready(Vec<u8>),
    /// The world is asked.
    Forward,
    /// It is no query; nothing is sent.
    Ignore,
}

/// An answer without records.
pub(crate) fn bare(query: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    respond(&query, code, Vec::new())
}

fn respond(query: &Message, code: ResponseCode, answers: Vec<Record>) -> Option<Vec<u8>> {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.response_code = code;
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.queries = query.queries.clone();
    response.answers = answers;
    response.to_vec().ok()
}

/// Answers a query of a container from the directory.
pub(crate) fn answer(directory: &Directory, container: &str, query: &[u8]) -> Answer {
    let Ok(query) = Message::from_vec(query) else { return Answer::Ignore };
    if query.metadata.message_type != MessageType::Query {
        return Answer::Ignore;
    }
    let ready = |code, answers| respond(&query, code, answers).map_or(Answer::Ignore, Answer::Ready);
    if query.metadata.op_code != OpCode::Query {
        return ready(ResponseCode::NotImp, Vec::new());
    }
    let [question] = query.queries.as_slice() else { return ready(ResponseCode::FormErr, Vec::new()) };
    if question.query_class() != DNSClass::IN {
        return Answer::Forward;
    }
    let asked = question.name();
    let name = asked.to_ascii().trim_end_matches('.').to_lowercase();
    if question.query_type() == RecordType::PTR {
        let found = arpa(&name).and_then(|address| directory.reverse(container, address));
        let Some(target) = found.and_then(|n| Name::from_str(&format!("{n}.")).ok()) else { return Answer::Forward };
        return ready(ResponseCode::NoError, vec![Record::from_rdata(asked.clone(), TTL, RData::PTR(PTR(target)))]);
    }
    let Found::Addresses(addresses) = directory.find(container, &name) else { return Answer::Forward };
    let wanted = question.query_type();
    let mut records: Vec<Record> = addresses
        .into_iter()
        .filter_map(|address| match (address, wanted) {
            (IpAddr::V4(a), RecordType::A) => Some(RData::A(A(a))),
            (IpAddr::V6(a), RecordType::AAAA) => Some(RData::AAAA(AAAA(a))),
            _ => None,
        })
        .map(|data| Record::from_rdata(asked.clone(), TTL, data))
        .collect();
    // Clients that take the first one are spread over all.
    let turn = usize::from(query.metadata.id).checked_rem(records.len()).unwrap_or(0);
    records.rotate_left(turn);
    ready(ResponseCode::NoError, records)
}

/// The address of a name below `in-addr.arpa` or `ip6.arpa`.
fn arpa(name: &str) -> Option<IpAddr> {
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<&str> = rest.split('.').rev().collect();
        return parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let digits: String = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
    (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(|n| Ipv6Addr::from(n).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reverse_names() {
        assert_eq!(arpa("2.0.17.172.in-addr.arpa").map(|a| a.to_string()).as_deref(), Some("172.17.0.2"));
        let six = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa";
        assert_eq!(arpa(six).map(|a| a.to_string()).as_deref(), Some("4321:0:1:2:3:4:567:89ab"));
        for bad in ["in-addr.arpa", "1.2.3.in-addr.arpa", "x.ip6.arpa", "web"] {
            assert_eq!(arpa(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let directory = Directory::default();
            let _ = answer(&directory, "c", &bytes);
            let _ = bare(&bytes, ResponseCode::ServFail);
        }
    }
}
