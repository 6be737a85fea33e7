//! The events of `GET /events`: a ring of the last ones, and a channel for those to come.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;

/// How many past events can be asked for.
const KEPT: usize = 256;
/// How far a subscriber may fall behind.
const BEHIND: usize = 1024;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// A plugin.
    Plugin,
    /// The daemon itself.
    Daemon,
    /// The build engine.
    Builder,
}

impl EventKind {
    /// Its name in the API's field `Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Plugin => "plugin",
            Self::Daemon => "daemon",
            Self::Builder => "builder",
        }
    }
}

/// Something that happened. Actions and attributes follow the Docker Engine API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub kind: EventKind,
    /// What happened, for example `start` or `exec_create: ls`.
    pub action: String,
    /// The id (or name, where it has no id) of what it happened to.
    pub id: String,
    /// Labels and details.
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub time_nanos: i64,
}

impl Event {
    /// An event that happens now.
    pub fn now(
        kind: EventKind,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_nanos = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        Self { kind, action: action.into(), id: id.into(), attributes, time_nanos }
    }
}

/// The event bus of an engine.
#[derive(Debug)]
pub struct EventBus {
    past: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

impl Default for EventBus {
    fn default() -> Self {
        Self { past: Mutex::new(VecDeque::with_capacity(KEPT)), sender: broadcast::channel(BEHIND).0 }
    }
}

impl EventBus {
    /// Tells everyone who listens; never waits.
    pub fn publish(&self, event: Event) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Sent under the lock, so that a subscriber gets each event exactly once, from the ring or from the channel.
        // An error means that nobody listens.
        let _ = self.sender.send(event);
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }

    /// The kept events from `since` on (nanoseconds since 1970; none for no past events), and a receiver of all later ones.
    pub fn subscribe(&self, since: Option<i64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match since {
            Some(since) => past.iter().filter(|e| e.time_nanos >= since).cloned().collect(),
            None => Vec::new(),
        };
        (kept, self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replays_the_last_and_goes_on() {
        let bus = EventBus::default();
        for n in 0..300 {
            bus.publish(Event::now(EventKind::Container, "start", n.to_string(), BTreeMap::new()));
        }
        let (past, mut later) = bus.subscribe(Some(0));
        assert_eq!(past.len(), KEPT);
        assert_eq!(past.first().map(|e| e.id.as_str()), Some("44"));
        assert!(later.try_recv().is_err());
        bus.publish(Event::now(EventKind::Image, "pull", "x", BTreeMap::new()));
        assert_eq!(later.try_recv().expect("event").action, "pull");
        assert!(bus.subscribe(None).0.is_empty());
    }
}
