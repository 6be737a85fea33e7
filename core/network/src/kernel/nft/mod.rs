//! The firewall and address translation over nf_tables.

mod expressions;
mod message;
mod rule;
mod ruleset;

pub(crate) use message::{Batch, ChainState, Family, Hook, NftSocket, Table};
pub(crate) use rule::{Rule, Verdict};
pub(crate) use ruleset::{NetworkRules, PortRule, Ruleset, protocol_number, separates};
