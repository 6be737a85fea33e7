//! Forward chains of others that drop. An accept in our table cannot override a drop in theirs, so our networks need accepts
//! there: in `DOCKER-USER` if there is one, which is meant for that, else at the head of the chain. The rules carry a comment
//! with the engine's id, by which they are found and removed; isolation stays with our own table, which drops afterwards or
//! before all the same.

use std::collections::BTreeSet;

use super::nft::{Batch, ChainState, Family, NftSocket, Rule, Table, Verdict};
use crate::error::Result;

const FORWARD: u32 = 2;

fn comment(engine: &str, bridge: &str) -> String {
    format!("sheave/{}/{bridge}", engine.get(..12).unwrap_or(engine))
}

/// The chains that need accepts.
fn dropping(chains: &[ChainState], own: &Table) -> Vec<ChainState> {
    let family = |c: &ChainState| c.table.family == Family::Inet as u8 || c.table.family == Family::Ipv4 as u8;
    chains
        .iter()
        .filter(|c| c.table != *own && c.hook == Some(FORWARD) && c.drops && family(c))
        .map(|c| {
            let user = chains.iter().find(|u| u.table == c.table && u.name == "DOCKER-USER");
            user.unwrap_or(c).clone()
        })
        .collect()
}

/// Makes the accepts of these bridges be in each foreign chain that drops, once, and no others of this engine.
///
/// Returns for `/info` a warning for each chain that was changed.
pub(crate) fn reconcile(
    nft: &mut NftSocket,
    own: &Table,
    engine: &str,
    bridges: &BTreeSet<String>,
) -> Result<Vec<String>> {
    let chains = nft.chains()?;
    let wanted = dropping(&chains, own);
    let prefix = comment(engine, "");
    let mut warnings = Vec::new();
    for chain in chains.iter().filter(|c| c.table != *own) {
        let here = wanted.iter().any(|w| w.table == chain.table && w.name == chain.name);
        if !here && !matches!(chain.name.as_str(), "FORWARD" | "DOCKER-USER") && chain.hook != Some(FORWARD) {
            continue;
        }
        let mut batch = Batch::new();
        for handle in nft.rules(&chain.table, &chain.name, |c| c.starts_with(&prefix))? {
            batch.remove_rule(&chain.table, &chain.name, handle);
        }
        if here {
            for bridge in bridges {
                let name = comment(engine, bridge);
                let accept = |rule: Rule| rule.count().verdict(&Verdict::Accept).comment(name.clone());
                batch.insert_rule(&chain.table, &chain.name, accept(Rule::new().input(bridge, true)));
                batch.insert_rule(&chain.table, &chain.name, accept(Rule::new().output(bridge, true)));
            }
            warnings.push(format!(
                "WARNING: the firewall chain {} of table {} drops forwarded packets; accepts for this engine's networks were added to it",
                chain.name, chain.table.name
            ));
        }
        nft.commit(batch, "accepts in a foreign forward chain")?;
    }
    Ok(warnings)
}
