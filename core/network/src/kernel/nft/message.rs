//! Messages of nf_tables over nfnetlink, as far as the engine needs them.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h`; they are part of the kernel's stable interface.

use std::io;

use super::expressions::data;
use super::rule::{Rule, comment_bytes, read_comment};
use crate::error::{NetworkError, Result};
use crate::kernel::attributes::{Attributes, read};
use crate::kernel::socket::{Frame, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NetlinkSocket};

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = SUBSYSTEM;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;
const GETRULE: u16 = SUBSYSTEM | 7;
const DELRULE: u16 = SUBSYSTEM | 8;
const NEWSET: u16 = SUBSYSTEM | 9;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const DELSETELEM: u16 = SUBSYSTEM | 14;
/// One attribute holds at most 64 KiB; a message of elements stays well below.
const ELEMENTS_LIMIT: usize = 30_000;

/// The families of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Family {
    Inet = 1,
    Ipv4 = 2,
}

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook {
    /// `filter` or `nat`.
    pub(crate) kind: &'static str,
    /// 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

/// The type of a set's key or a map's value: its number in `nft`'s own numbering (so that `nft list` can show it), and
/// its length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DataType {
    pub(crate) number: u32,
    pub(crate) length: u32,
}

/// An interface's name.
pub(crate) const IFNAME: DataType = DataType { number: 41, length: 16 };
/// Two interface names.
pub(crate) const IFNAMES: DataType = DataType { number: 41 << 6 | 41, length: 32 };
/// Transport protocol and port.
pub(crate) const PORT: DataType = DataType { number: 12 << 6 | 13, length: 8 };
/// IPv4 address, transport protocol and port.
pub(crate) const ADDRESS_PORT: DataType = DataType { number: 7 << 12 | 12 << 6 | 13, length: 12 };
/// IPv4 address and port.
pub(crate) const TARGET: DataType = DataType { number: 7 << 6 | 13, length: 8 };

/// A set, or a map if it has `data`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key: DataType,
    pub(crate) data: Option<DataType>,
}

/// A key, and its value if the set is a map.
pub(crate) type Element = (Vec<u8>, Option<Vec<u8>>);

/// Changes that the kernel makes together or not at all.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    frames: Vec<Frame>,
}

fn with_header(family: u8, resource: u16, attributes: Attributes) -> Vec<u8> {
    let mut payload = vec![family, 0];
    payload.extend_from_slice(&resource.to_be_bytes());
    payload.extend_from_slice(&attributes.into_bytes());
    payload
}

/// A table by family and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) family: u8,
    pub(crate) name: String,
}

impl Batch {
    /// No change yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether there is no change in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn push(&mut self, kind: u16, flags: u16, table: &Table, attributes: Attributes) {
        self.frames.push(Frame { kind, flags, payload: with_header(table.family, 0, attributes) });
    }

    /// Makes a table unless it is there.
    pub(crate) fn add_table(&mut self, table: &Table) {
        self.push(NEWTABLE, NLM_F_CREATE, table, Attributes::new().text(1, &table.name));
    }

    /// Removes a table with all that is in it.
    pub(crate) fn remove_table(&mut self, table: &Table) {
        self.push(DELTABLE, 0, table, Attributes::new().text(1, &table.name));
    }

    /// Makes a chain; with a hook it is a base chain whose policy is to accept.
    pub(crate) fn add_chain(&mut self, table: &Table, name: &str, hook: Option<Hook>) {
        let mut attributes = Attributes::new().text(1, &table.name).text(3, name);
        if let Some(hook) = hook {
            let place = Attributes::new().number(1, hook.number).bytes(2, &hook.priority.to_be_bytes());
            attributes = attributes.nest(4, place).number(5, 1).text(7, hook.kind);
        }
        self.push(NEWCHAIN, NLM_F_CREATE, table, attributes);
    }

    /// Adds a rule at the end of a chain.
    pub(crate) fn add_rule(&mut self, table: &Table, chain: &str, rule: Rule) {
        self.rule(table, chain, rule, NLM_F_CREATE | NLM_F_APPEND);
    }

    /// Adds a rule at the head of a chain.
    pub(crate) fn insert_rule(&mut self, table: &Table, chain: &str, rule: Rule) {
        self.rule(table, chain, rule, NLM_F_CREATE);
    }

    fn rule(&mut self, table: &Table, chain: &str, rule: Rule, flags: u16) {
        let mut attributes = Attributes::new().text(1, &table.name).text(2, chain).nest(4, rule.expressions.0);
        if let Some(comment) = &rule.comment {
            attributes = attributes.bytes(7, &comment_bytes(comment));
        }
        self.push(NEWRULE, flags, table, attributes);
    }

    /// Removes all rules of a chain.
    pub(crate) fn flush_chain(&mut self, table: &Table, chain: &str) {
        self.push(DELRULE, 0, table, Attributes::new().text(1, &table.name).text(2, chain));
    }

    /// Removes one rule.
    pub(crate) fn remove_rule(&mut self, table: &Table, chain: &str, handle: u64) {
        let attributes = Attributes::new().text(1, &table.name).text(2, chain).bytes(3, &handle.to_be_bytes());
        self.push(DELRULE, 0, table, attributes);
    }

    /// Makes a set or map.
    pub(crate) fn add_set(&mut self, table: &Table, set: Set, id: u32) {
        const MAP: u32 = 8;
        let mut attributes = Attributes::new()
            .text(1, &table.name)
            .text(2, set.name)
            .number(3, if set.data.is_some() { MAP } else { 0 })
            .number(4, set.key.number)
            .number(5, set.key.length)
            .number(10, id);
        if let Some(data) = set.data {
            attributes = attributes.number(6, data.number).number(7, data.length);
        }
        self.push(NEWSET, NLM_F_CREATE, table, attributes);
    }

    /// Adds elements to a set.
    pub(crate) fn add_elements(&mut self, table: &Table, set: &str, elements: &[Element]) {
        self.elements(NEWSETELEM, NLM_F_CREATE, (table, set), elements);
    }

    /// Removes elements of a set; each must be there.
    pub(crate) fn remove_elements(&mut self, table: &Table, set: &str, elements: &[Element]) {
        self.elements(DELSETELEM, 0, (table, set), elements);
    }

    /// Removes all elements of a set.
    pub(crate) fn flush_set(&mut self, table: &Table, set: &str) {
        self.push(DELSETELEM, 0, table, Attributes::new().text(1, &table.name).text(2, set));
    }

    fn elements(&mut self, kind: u16, flags: u16, (table, set): (&Table, &str), elements: &[Element]) {
        let mut list = Attributes::new();
        let mut send = |list: Attributes| {
            if list.len() > 0 {
                self.push(kind, flags, table, Attributes::new().text(1, &table.name).text(2, set).nest(3, list));
            }
        };
        for (key, value) in elements {
            let mut element = Attributes::new().nest(1, data(key));
            if let Some(value) = value {
                element = element.nest(2, data(value));
            }
            list = list.nest(1, element);
            if list.len() > ELEMENTS_LIMIT {
                send(std::mem::take(&mut list));
            }
        }
        send(list);
    }
}

/// A chain as the kernel tells it.
#[derive(Debug, Clone)]
pub(crate) struct ChainState {
    pub(crate) table: Table,
    pub(crate) name: String,
    /// The hook's number of a base chain.
    pub(crate) hook: Option<u32>,
    /// A base chain whose policy is to drop.
    pub(crate) drops: bool,
}

/// A socket to nf_tables of the namespace in which it was opened.
pub(crate) struct NftSocket(NetlinkSocket);

impl NftSocket {
    /// Opens one in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self> {
        NetlinkSocket::open(netlink_sys::protocols::NETLINK_NETFILTER)
            .map(Self)
            .map_err(|e| NetworkError::kernel("netfilter socket", e))
    }

    /// Makes the changes of a batch, all or none.
    ///
    /// `what` is for the error's text.
    pub(crate) fn commit(&mut self, batch: Batch, what: &str) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let edge = |kind| Frame { kind, flags: 0, payload: with_header(0, 10, Attributes::new()) };
        let mut frames = vec![edge(BATCH_BEGIN)];
        frames.extend(batch.frames);
        if let Some(last) = frames.last_mut() {
            last.flags |= NLM_F_ACK;
        }
        frames.push(edge(BATCH_END));
        let answer = self.0.request(&frames).map_err(|e| NetworkError::kernel(what, e))?;
        match answer.refused.into_iter().next() {
            None => Ok(()),
            Some(refusal) => {
                let text = refusal.text.map(|t| format!(": {t}")).unwrap_or_default();
                let kind = frames.get(refusal.index).map_or(0, |f| f.kind & 0xff);
                Err(NetworkError::kernel(
                    format!("firewall: {what} (change {}, message {kind}){text}", refusal.index),
                    refusal.error,
                ))
            }
        }
    }

    fn dump(&mut self, kind: u16, family: u8, attributes: Attributes) -> Result<Vec<(u8, Vec<u8>)>> {
        let frame = Frame { kind, flags: NLM_F_DUMP, payload: with_header(family, 0, attributes) };
        let answer = self.0.request(&[frame]).map_err(|e| NetworkError::kernel("firewall list", e))?;
        if let Some(refusal) = answer.refused.into_iter().next() {
            if refusal.error.kind() == io::ErrorKind::NotFound {
                return Ok(Vec::new());
            }
            return Err(NetworkError::kernel("firewall list", refusal.error));
        }
        Ok(answer
            .data
            .into_iter()
            .filter_map(|(_, _, payload)| Some((*payload.first()?, payload.get(4..)?.to_vec())))
            .collect())
    }

    /// All chains.
    pub(crate) fn chains(&mut self) -> Result<Vec<ChainState>> {
        let found = self.dump(GETCHAIN, 0, Attributes::new())?;
        Ok(found
            .into_iter()
            .filter_map(|(family, bytes)| {
                let attributes = read(&bytes);
                let value = |kind| attributes.iter().find(|(k, _)| *k == kind).map(|(_, v)| *v);
                let number = |v: &[u8]| v.first_chunk().map(|v| u32::from_be_bytes(*v));
                let hook = value(4)
                    .map(read)
                    .and_then(|hook| hook.into_iter().find(|(k, _)| *k == 1).and_then(|(_, v)| number(v)));
                Some(ChainState {
                    table: Table { family, name: text(&bytes, 1)? },
                    name: text(&bytes, 3)?,
                    hook,
                    drops: value(5).and_then(number) == Some(0),
                })
            })
            .collect())
    }

    /// The handles of the rules of a chain whose comment fits.
    pub(crate) fn rules(&mut self, table: &Table, chain: &str, fits: impl Fn(&str) -> bool) -> Result<Vec<u64>> {
        let attributes = Attributes::new().text(1, &table.name).text(2, chain);
        let found = self.dump(GETRULE, table.family, attributes)?;
        Ok(found
            .into_iter()
            .filter_map(|(_, bytes)| {
                let attributes = read(&bytes);
                let value = |kind| attributes.iter().find(|(k, _)| *k == kind).map(|(_, v)| *v);
                // An old kernel lists all rules of the table whatever chain was asked for.
                if text(&bytes, 2)? != chain || !fits(&read_comment(value(7)?)?) {
                    return None;
                }
                Some(u64::from_be_bytes(*value(3)?.first_chunk()?))
            })
            .collect())
    }
}

fn text(bytes: &[u8], kind: u16) -> Option<String> {
    let attributes = read(bytes);
    let (_, value) = attributes.iter().find(|(k, _)| *k == kind)?;
    Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned())
}
