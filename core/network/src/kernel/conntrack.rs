//! Forgets UDP connections of a port whose mapping changed: a client that keeps sending would be led to the old place for as
//! long as it does.

use super::attributes::{Attributes, read};
use super::nft::{PortRule, protocol_number};
use super::socket::{Frame, NLM_F_ACK, NLM_F_DUMP, NetlinkSocket};

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const IPV4: u8 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const UDP: u8 = 17;

fn header() -> Vec<u8> {
    vec![IPV4, 0, 0, 0]
}

fn find<'a>(bytes: &'a [u8], path: &[u16]) -> Option<&'a [u8]> {
    path.iter().try_fold(bytes, |bytes, wanted| read(bytes).into_iter().find(|(k, _)| k == wanted).map(|(_, v)| v))
}

fn port(bytes: &[u8], path: &[u16]) -> Option<u16> {
    find(bytes, path)?.first_chunk().map(|p| u16::from_be_bytes(*p))
}

/// Whether an entry is of a UDP connection to one of these ports, translated or not yet.
fn concerns(entry: &[u8], rules: &[PortRule]) -> bool {
    // Tuple: 1 addresses {1 source, 2 destination}, 2 protocol {1 number, 2 source port, 3 destination port}.
    if find(entry, &[TUPLE_ORIGINAL, 2, 1]) != Some(&[UDP]) {
        return false;
    }
    let to = port(entry, &[TUPLE_ORIGINAL, 2, 3]);
    let from = (find(entry, &[TUPLE_REPLY, 1, 1]), port(entry, &[TUPLE_REPLY, 2, 2]));
    rules.iter().any(|rule| {
        protocol_number(rule.protocol) == UDP
            && (to == Some(rule.host_port) || from == (Some(&rule.address.octets()[..]), Some(rule.port)))
    })
}

/// Removes the entries of these ports. Its failure leaves entries that time out by themselves, so that it is only logged.
pub(crate) fn flush(rules: &[PortRule]) {
    if !rules.iter().any(|r| protocol_number(r.protocol) == UDP) {
        return;
    }
    if let Err(error) = try_flush(rules) {
        tracing::warn!(%error, "UDP connections of a changed port mapping were not forgotten");
    }
}

fn try_flush(rules: &[PortRule]) -> std::io::Result<()> {
    let mut socket = NetlinkSocket::open(netlink_sys::protocols::NETLINK_NETFILTER)?;
    let list = Frame { kind: GET, flags: NLM_F_DUMP, payload: header() };
    let found = socket.request(&[list])?;
    let gone: Vec<Frame> = found
        .data
        .iter()
        .filter_map(|(_, _, payload)| payload.get(4..))
        .filter(|entry| concerns(entry, rules))
        .filter_map(|entry| {
            let mut payload = header();
            payload.extend(Attributes::new().nest(TUPLE_ORIGINAL, copy(find(entry, &[TUPLE_ORIGINAL])?)).into_bytes());
            Some(Frame { kind: DELETE, flags: NLM_F_ACK, payload })
        })
        .collect();
    for chunk in gone.chunks(64) {
        // An entry that ended meanwhile is refused, which is as good.
        socket.request(chunk)?;
    }
    Ok(())
}

/// A tuple as it came, with its inner attributes marked as nested, which the kernel wants to see.
fn copy(tuple: &[u8]) -> Attributes {
    read(tuple).into_iter().fold(Attributes::new(), |list, (kind, value)| match kind {
        1 | 2 => {
            let inner = read(value).into_iter().fold(Attributes::new(), |inner, (k, v)| inner.bytes(k, v));
            list.nest(kind, inner)
        }
        _ => list.bytes(kind, value),
    })
}
