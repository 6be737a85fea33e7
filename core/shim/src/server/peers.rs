//! All connections of `shim.sock`.

use std::collections::BTreeMap;

use sheave_shim::protocol::{Event, ExitRecord, Response};
use sheave_shim::wire::Kind;

use super::peer::{Peer, Role};
use super::task::TaskId;

/// The connections by number; a number is never used again.
#[derive(Debug, Default)]
pub struct Peers {
    all: BTreeMap<u64, Peer>,
    next: u64,
}

impl Peers {
    /// Adds a connection.
    pub fn add(&mut self, peer: Peer) {
        self.all.insert(self.next, peer);
        self.next += 1;
    }

    /// All with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Peer)> {
        self.all.iter().map(|(number, peer)| (*number, peer))
    }

    /// One of them.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Peer> {
        self.all.get_mut(&number)
    }

    /// How many stream this process's streams.
    pub fn attached(&self, id: &TaskId) -> u32 {
        self.all.values().filter(|peer| matches!(&peer.role, Role::Stream(of, _) if of == id)).count() as u32
    }

    /// Sends a piece of output to those who want it.
    pub fn stream(&mut self, id: &TaskId, kind: Kind, bytes: &[u8]) {
        for peer in self.all.values_mut() {
            let Role::Stream(of, attach) = &peer.role else { continue };
            let wanted = if kind == Kind::Stdout { attach.stdout } else { attach.stderr };
            if of == id && wanted && !peer.closing {
                peer.send_chunk(kind, bytes);
            }
        }
    }

    /// Tells those who stream a process that it has ended, after all of its output.
    pub fn finish_streams(&mut self, id: &TaskId, record: ExitRecord) {
        for peer in self.all.values_mut() {
            if matches!(&peer.role, Role::Stream(of, _) if of == id) && !peer.closing {
                peer.send(&Response::Exited(record));
                peer.closing = true;
            }
        }
    }

    /// Tells an event; the container's end is the last.
    pub fn event(&mut self, event: &Event) {
        for peer in self.all.values_mut().filter(|peer| peer.role == Role::Events && !peer.closing) {
            peer.send(&Response::Event(event.clone()));
            peer.closing = matches!(event, Event::Exited(_));
        }
    }

    /// Answers those who wait for the container's end. Their next requests are read again.
    pub fn answer_waiting(&mut self, record: ExitRecord) {
        for peer in self.all.values_mut().filter(|peer| peer.role == Role::Waiting) {
            peer.send(&Response::Exited(record));
            peer.role = Role::Requests;
        }
    }

    /// Answers everybody who expects anything, and nothing more comes.
    pub fn answer_all(&mut self, response: &Response) {
        for peer in self.all.values_mut().filter(|peer| !peer.closing) {
            if peer.role != Role::Requests {
                peer.send(response);
            }
            peer.closing = true;
        }
    }

    /// Drops those that are done or gone, after `leaving` has seen them.
    pub fn sweep(&mut self, mut leaving: impl FnMut(&Peer)) {
        self.all.retain(|_, peer| {
            let keep = !peer.is_done();
            if !keep {
                leaving(peer);
            }
            keep
        });
    }

    /// Gives what still waits a last chance.
    pub fn flush_all(&mut self) {
        self.all.values_mut().for_each(Peer::flush);
    }
}
