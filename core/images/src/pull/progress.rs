//! The progress of one pull, for all who wait for it.

use std::sync::{Mutex, PoisonError};

use sheave_api::progress::ProgressMessage;
use tokio::sync::watch;

/// What was said so far. A layer's numbers replace its earlier ones, so that neither a slow nor a late reader costs memory.
pub(crate) struct Hub {
    said: Mutex<Said>,
    latest: watch::Sender<u64>,
}

#[derive(Default)]
struct Said {
    messages: Vec<(u64, ProgressMessage)>,
    next: u64,
}

impl Default for Hub {
    fn default() -> Self {
        Self { said: Mutex::default(), latest: watch::channel(0).0 }
    }
}

impl Hub {
    /// Tells everyone.
    pub(crate) fn say(&self, message: ProgressMessage) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_number = |m: &ProgressMessage| m.progress_detail.as_ref().is_some_and(|d| d.current > 0 || d.total > 0);
        if is_number(&message) {
            said.messages.retain(|(_, m)| !(is_number(m) && m.id == message.id && m.status == message.status));
        }
        said.next += 1;
        let number = said.next;
        said.messages.push((number, message));
        drop(said);
        self.latest.send_replace(number);
    }

    /// What was said after `seen`, and the number of the last.
    pub(crate) fn since(&self, seen: u64) -> (Vec<ProgressMessage>, u64) {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let from = said.messages.partition_point(|(number, _)| *number <= seen);
        (said.messages[from..].iter().map(|(_, m)| m.clone()).collect(), said.next)
    }

    /// Changes whenever something is said.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_numbers_only() {
        let hub = Hub::default();
        hub.say(ProgressMessage::of("a", "Pulling fs layer"));
        for n in 1..1000 {
            hub.say(ProgressMessage::at("a", "Downloading", n, 1000));
            hub.say(ProgressMessage::at("b", "Downloading", n, 1000));
        }
        hub.say(ProgressMessage::status("Digest: x"));
        let (all, seen) = hub.since(0);
        let expected = [
            ProgressMessage::of("a", "Pulling fs layer"),
            ProgressMessage::at("a", "Downloading", 999, 1000),
            ProgressMessage::at("b", "Downloading", 999, 1000),
            ProgressMessage::status("Digest: x"),
        ];
        assert_eq!(all, expected);
        assert_eq!(hub.since(seen).0, []);
    }
}
