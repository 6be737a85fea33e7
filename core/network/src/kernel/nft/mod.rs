//! The firewall and address translation over nf_tables.

mod message;
mod ruleset;

pub(crate) use message::{Batch, ChainState, Family, Hook, NftSocket, Rule, Table, Verdict};
pub(crate) use ruleset::{NetworkRules, PortRule, Ruleset, protocol_number, separates};
