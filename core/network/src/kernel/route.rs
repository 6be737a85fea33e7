//! Links, addresses and routes over rtnetlink.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::socket::{Answer, Frame, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NetlinkSocket};
use crate::error::{NetworkError, Result};
use crate::ipam::Prefix;

/// A link as the kernel tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LinkState {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    pub(crate) mac: Vec<u8>,
    pub(crate) kind: Option<String>,
    pub(crate) group: u32,
}

/// A veth pair to make: the peer appears inside another namespace.
pub(crate) struct NewVeth<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) alias: &'a str,
    pub(crate) master: Option<u32>,
    pub(crate) mtu: u32,
    pub(crate) hairpin: bool,
    pub(crate) isolated: bool,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_mac: Option<[u8; 6]>,
    pub(crate) peer_namespace: BorrowedFd<'a>,
}

/// A route of a container.
#[derive(Debug, Clone)]
pub(crate) struct NewRoute {
    pub(crate) destination: Prefix,
    pub(crate) via: Option<IpAddr>,
    pub(crate) link: u32,
    pub(crate) metric: u32,
}

/// An rtnetlink socket; it acts on the namespace in which it was opened.
pub(crate) struct RouteSocket(NetlinkSocket);

fn frame(message: &RouteNetlinkMessage, flags: u16) -> Frame {
    let mut payload = vec![0; message.buffer_len()];
    message.serialize(&mut payload);
    Frame { kind: NetlinkSerializable::message_type(message), flags, payload }
}

fn link(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn up(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn first_refusal(answer: Answer, what: &[String]) -> Result<Answer> {
    match answer.refused.first() {
        None => Ok(answer),
        Some(refusal) => {
            let mut what = what.get(refusal.index).cloned().unwrap_or_default();
            if let Some(text) = &refusal.text {
                what = format!("{what}: {text}");
            }
            let source = io::Error::from_raw_os_error(refusal.error.raw_os_error().unwrap_or(libc::EIO));
            Err(NetworkError::kernel(what, source))
        }
    }
}

impl RouteSocket {
    /// Opens one in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self> {
        NetlinkSocket::open(netlink_sys::protocols::NETLINK_ROUTE)
            .map(Self)
            .map_err(|e| NetworkError::kernel("rtnetlink socket", e))
    }

    fn send(&mut self, messages: Vec<(RouteNetlinkMessage, u16, String)>) -> Result<Answer> {
        let (frames, what): (Vec<_>, Vec<_>) =
            messages.into_iter().map(|(m, flags, what)| (frame(&m, flags), what)).unzip();
        let answer = self.0.request(&frames).map_err(|e| NetworkError::kernel("rtnetlink", e))?;
        first_refusal(answer, &what)
    }

    /// A link by name; None if there is none.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<LinkState>> {
        let message = RouteNetlinkMessage::GetLink(link(name));
        match self.send(vec![(message, NLM_F_ACK, format!("link {name}"))]) {
            Ok(answer) => Ok(links(&answer).into_iter().next()),
            Err(NetworkError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links.
    pub(crate) fn links(&mut self) -> Result<Vec<LinkState>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        Ok(links(&self.send(vec![(message, NLM_F_DUMP, "links".to_owned())])?))
    }

    /// Makes a bridge that is up. An existing link of the name is an error.
    pub(crate) fn add_bridge(&mut self, name: &str, mtu: u32, alias: &str) -> Result<()> {
        let mut create = link(name);
        up(&mut create);
        create.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        create.attributes.push(LinkAttribute::Address(random_mac()?.to_vec()));
        if mtu != 0 {
            create.attributes.push(LinkAttribute::Mtu(mtu));
        }
        let mut name_it = link(name);
        name_it.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        let what = format!("bridge {name}");
        self.send(vec![
            (RouteNetlinkMessage::NewLink(create), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, what.clone()),
            (RouteNetlinkMessage::SetLink(name_it), NLM_F_ACK, what),
        ])?;
        Ok(())
    }

    /// Makes a veth pair: this end up, named, a port of its master; the peer in the other namespace, down.
    pub(crate) fn add_veth(&mut self, veth: &NewVeth<'_>) -> Result<()> {
        let mut peer = link(veth.peer_name);
        peer.attributes.push(LinkAttribute::NetNsFd(veth.peer_namespace.as_raw_fd()));
        if let Some(mac) = veth.peer_mac {
            peer.attributes.push(LinkAttribute::Address(mac.to_vec()));
        }
        let mut create = link(veth.host_name);
        up(&mut create);
        if veth.mtu != 0 {
            peer.attributes.push(LinkAttribute::Mtu(veth.mtu));
            create.attributes.push(LinkAttribute::Mtu(veth.mtu));
        }
        if let Some(master) = veth.master {
            create.attributes.push(LinkAttribute::Controller(master));
        }
        create.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        // The kernel takes neither an alias nor a port's settings in the message that makes a link.
        let mut settle = link(veth.host_name);
        settle.attributes.push(LinkAttribute::IfAlias(veth.alias.to_owned()));
        if veth.master.is_some() && (veth.hairpin || veth.isolated) {
            settle.attributes.push(LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(vec![
                    InfoBridgePort::HairpinMode(veth.hairpin),
                    InfoBridgePort::Isolated(veth.isolated),
                ])),
            ]));
        }
        let what = format!("veth {} with {}", veth.host_name, veth.peer_name);
        self.send(vec![
            (RouteNetlinkMessage::NewLink(create), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, what.clone()),
            (RouteNetlinkMessage::NewLink(settle), NLM_F_ACK, what),
        ])?;
        Ok(())
    }

    /// Brings links up and tells their state; one send.
    ///
    /// Asking for the state also makes the kernel activate a link whose carrier event is still pending: without it the first
    /// packet can be lost.
    pub(crate) fn up(&mut self, names: &[&str]) -> Result<Vec<LinkState>> {
        let mut messages = Vec::new();
        for name in names {
            let mut message = link(name);
            up(&mut message);
            messages.push((RouteNetlinkMessage::SetLink(message), NLM_F_ACK, format!("link {name} up")));
        }
        for name in names {
            messages.push((RouteNetlinkMessage::GetLink(link(name)), NLM_F_ACK, format!("link {name}")));
        }
        Ok(links(&self.send(messages)?))
    }

    /// Asks for the state of links and forgets it; see [`Self::up`]. Links that are not there do not matter.
    pub(crate) fn settle(&mut self, names: &[&str]) {
        let frames: Vec<_> = names.iter().map(|n| frame(&RouteNetlinkMessage::GetLink(link(n)), NLM_F_ACK)).collect();
        if let Err(error) = self.0.request(&frames) {
            tracing::debug!(%error, "asking for links");
        }
    }

    /// Adds addresses and routes in one send; what is there already is kept.
    pub(crate) fn configure(&mut self, addresses: &[(u32, Prefix)], routes: &[NewRoute]) -> Result<()> {
        let mut messages = Vec::new();
        for (index, prefix) in addresses {
            messages.push((
                RouteNetlinkMessage::NewAddress(address_message(*index, *prefix)),
                NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
                format!("address {prefix}"),
            ));
        }
        for route in routes {
            let what = format!("route to {}", route.destination);
            messages.push((
                RouteNetlinkMessage::NewRoute(route_message(route)),
                NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
                what,
            ));
        }
        if messages.is_empty() { Ok(()) } else { self.send(messages).map(drop) }
    }

    /// Removes a link by name; one that is not there is not an error.
    pub(crate) fn remove(&mut self, name: &str) -> Result<()> {
        let message = RouteNetlinkMessage::DelLink(link(name));
        match self.send(vec![(message, NLM_F_ACK, format!("remove link {name}"))]) {
            Err(NetworkError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The destinations of this namespace's routes, default routes left out, with the name of no link.
    pub(crate) fn route_destinations(&mut self) -> Result<Vec<Prefix>> {
        let mut found = Vec::new();
        for address_family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = address_family;
            let message = RouteNetlinkMessage::GetRoute(message);
            let answer = self.send(vec![(message, NLM_F_DUMP, "routes".to_owned())])?;
            found.extend(parsed(&answer).filter_map(|m| match m {
                RouteNetlinkMessage::NewRoute(route) => destination(&route),
                _ => None,
            }));
        }
        Ok(found)
    }
}

fn address_message(index: u32, prefix: Prefix) -> AddressMessage {
    let address = prefix.address();
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix.length();
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    match prefix.broadcast() {
        Some(broadcast) => message.attributes.push(AddressAttribute::Broadcast(broadcast)),
        None if address.is_ipv6() => {
            // Addresses are allocated by the engine: detection of duplicates would cost more than a second.
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        None => {}
    }
    message
}

fn route_message(route: &NewRoute) -> RouteMessage {
    let destination = route.destination.address();
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.kind = RouteType::Unicast;
    message.header.scope = if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    message.header.destination_prefix_length = route.destination.length();
    if route.destination.length() > 0 {
        message.attributes.push(RouteAttribute::Destination(destination.into()));
    }
    if let Some(via) = route.via {
        message.attributes.push(RouteAttribute::Gateway(via.into()));
    }
    message.attributes.push(RouteAttribute::Oif(route.link));
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    message
}

fn parsed(answer: &Answer) -> impl Iterator<Item = RouteNetlinkMessage> {
    answer.data.iter().filter_map(|(_, kind, payload)| {
        let mut header = NetlinkHeader::default();
        header.message_type = *kind;
        RouteNetlinkMessage::deserialize(&header, payload).ok()
    })
}

fn links(answer: &Answer) -> Vec<LinkState> {
    parsed(answer)
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(link_state(link)),
            _ => None,
        })
        .collect()
}

fn link_state(message: LinkMessage) -> LinkState {
    let mut state = LinkState { index: message.header.index, ..LinkState::default() };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => state.name = name,
            LinkAttribute::IfAlias(alias) => state.alias = Some(alias),
            LinkAttribute::Address(mac) => state.mac = mac,
            LinkAttribute::Group(group) => state.group = group,
            LinkAttribute::LinkInfo(infos) => {
                state.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    state
}

fn destination(message: &RouteMessage) -> Option<Prefix> {
    let length = message.header.destination_prefix_length;
    if message.header.table != RouteHeader::RT_TABLE_MAIN || length == 0 {
        return None;
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Prefix::new((*address).into(), length),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Prefix::new((*address).into(), length),
        _ => None,
    })
}

/// A random locally administered unicast MAC address.
pub(crate) fn random_mac() -> Result<[u8; 6]> {
    let mut mac = [0; 6];
    getrandom::fill(&mut mac).map_err(|e| NetworkError::kernel("random bytes", io::Error::other(e.to_string())))?;
    mac[0] = mac[0] & 0xfe | 0x02;
    Ok(mac)
}
