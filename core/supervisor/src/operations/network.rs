//! A container joins and leaves networks, running or not.

use sheave_api::containers::EndpointSettings;

use super::control::ask;
use crate::command::{Command, Membership};
use crate::error::{Error, Fault};
use crate::parts::Parts;
use crate::record::View;
use crate::state::{Denied, State};
use crate::store::Handle;

fn refuse_shared(view: &View) -> Result<(), Error> {
    let mode = view.record.host_config.network_mode.as_str();
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return Err(Fault::SharedNetwork.into());
    }
    match view.state {
        State::Removing { .. } | State::Dead { .. } | State::Gone { .. } => {
            Err(Error::Denied { reason: Denied::IsDead, id: view.id.to_string() })
        }
        _ => Ok(()),
    }
}

/// Joins a network.
pub async fn connect(parts: &Parts, handle: &Handle, network: &str, wishes: EndpointSettings) -> Result<(), Error> {
    let view = handle.now();
    refuse_shared(&view)?;
    let networks = &parts.neighbours.networks;
    let name = networks.check(network, &wishes)?;
    if view.network.networks.contains_key(&name) {
        return Err(Fault::AlreadyJoined { container: view.name.clone(), network: name }.into());
    }
    let now = match view.state.run() {
        Some(_) => Some(networks.join(&view, network, &wishes).await?.settings),
        None => None,
    };
    let change = Membership::Joined { network: name, wishes: Box::new(wishes), now: now.map(Box::new) };
    ask(handle, |reply| Command::Network { change, reply }).await
}

/// Leaves a network.
pub async fn disconnect(parts: &Parts, handle: &Handle, network: &str) -> Result<(), Error> {
    let view = handle.now();
    refuse_shared(&view)?;
    let networks = &parts.neighbours.networks;
    // A network that is gone is left by the name under which it was joined.
    let name = networks.check(network, &EndpointSettings::default()).unwrap_or_else(|_| network.to_owned());
    if !view.network.networks.contains_key(&name) {
        return Err(Fault::NotJoined { container: view.id.to_string(), network: name }.into());
    }
    if view.state.run().is_some() {
        networks.leave(&view.id, network).await?;
    }
    let change = Membership::Left { network: name };
    ask(handle, |reply| Command::Network { change, reply }).await
}
