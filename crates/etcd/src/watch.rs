//! A watch on the key that a waiter waits for. A change that the watch misses is seen at the next look.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use lockbydir::engine::boot;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::api::{Event, Watch};
use crate::cluster::{Cluster, Limit};

/// How long after a watch that could not be started, or that the server ended, the next one may begin: long
/// enough not to load a server that refuses watches.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The watch of one waiter.
#[derive(Default)]
pub(crate) struct KeyWatch {
    /// The keys that it watches: one for its removal, and perhaps one for writes.
    keys: Option<(String, Option<String>)>,
    stream: Option<Watch>,
    /// No new watch starts before this time of the boot clock.
    retry_at: Duration,
}

/// What a watch reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchEvent {
    /// The key ahead is gone.
    Gone,
    /// The record was written, at this revision.
    Written(i64),
    /// The server ended the watch: a change may have been missed.
    Missed,
    /// No change in time, or no watch could be started.
    Nothing,
    /// The wait was interrupted.
    Interrupted,
}

/// Wakes a sleeping waiter whose wait is interrupted.
#[derive(Clone, Default)]
pub(crate) struct Nudge(Arc<Notify>);

struct NudgeWaker(Nudge);

impl Wake for NudgeWaker {
    fn wake(self: Arc<Self>) {
        self.0.0.notify_one();
    }
}

impl Nudge {
    /// Returns a waker that wakes the waiter.
    pub(crate) fn waker(&self) -> Waker {
        Arc::new(NudgeWaker(self.clone())).into()
    }
}

impl KeyWatch {
    /// Watches these keys from this revision on, if it does not already.
    pub(crate) async fn switch_to(
        &mut self,
        cluster: &Cluster,
        limit: Limit,
        gone: &str,
        written: Option<&str>,
        revision: i64,
    ) {
        let keys = Some((gone.to_owned(), written.map(String::from)));
        if self.keys == keys && self.stream.is_some() || boot() < self.retry_at {
            return;
        }
        self.stream = None;
        self.retry_at = boot() + RETRY_AFTER;
        let watched: Vec<&str> = [gone].into_iter().chain(written).collect();
        if let Ok(stream) = cluster.watch(limit.a_try, &watched, revision + 1).await {
            (self.keys, self.stream, self.retry_at) = (keys, Some(stream), Duration::ZERO);
        }
    }

    /// Waits for a change until this time of the boot clock; without a watch that is due to be started,
    /// only until that may begin.
    pub(crate) async fn next_event(&mut self, until: Duration, nudge: &Nudge) -> WatchEvent {
        let is_due = self.stream.is_none() && self.retry_at > boot();
        let until = if is_due { until.min(self.retry_at) } else { until };
        loop {
            // The timer's clock stops in suspend, unlike the boot clock: so each sleep is short.
            let rest = until.saturating_sub(boot());
            if rest.is_zero() {
                return WatchEvent::Nothing;
            }
            let timer = sleep(rest.min(Duration::from_millis(500)));
            let message = async {
                match &mut self.stream {
                    Some(stream) => stream.message().await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                biased;
                () = nudge.0.notified() => return WatchEvent::Interrupted,
                message = message => message,
                () = timer => continue,
            };
            let Ok(Some(message)) = message else {
                self.stream = None;
                return WatchEvent::Nothing;
            };
            if message.canceled {
                // The revision was compacted, or the server ended the watch: the next look shows what
                // the watch missed.
                self.stream = None;
                self.retry_at = boot() + RETRY_AFTER;
                return WatchEvent::Missed;
            }
            let Some((gone, written)) = &self.keys else { continue };
            let mut seen = message.events.iter().filter_map(|event| seen(event, gone, written));
            if let Some(event) = seen.next() {
                return event;
            }
        }
    }
}

/// Returns what a change of a key means to a waiter that waits for the removal of `gone` and, perhaps, for
/// writes of `written`; `None` for another key and for a kind of change that we do not know.
fn seen(event: &Event, gone: &str, written: &Option<String>) -> Option<WatchEvent> {
    let kv = event.kv.as_ref()?;
    let is_of = |key: &str| kv.key == key.as_bytes();
    match event.kind {
        Event::DELETE if is_of(gone) => Some(WatchEvent::Gone),
        Event::PUT if written.as_deref().is_some_and(is_of) => {
            Some(WatchEvent::Written(kv.mod_revision))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::KeyValue;

    #[test]
    fn only_known_changes_of_the_watched_keys_are_seen() {
        let seen = |kind, key: &str| {
            let kv = KeyValue { key: key.into(), mod_revision: 9, ..KeyValue::default() };
            seen(&Event { kind, kv: Some(kv) }, "q/7", &Some("q".into()))
        };

        assert_eq!(seen(Event::DELETE, "q/7"), Some(WatchEvent::Gone));
        assert_eq!(seen(Event::PUT, "q"), Some(WatchEvent::Written(9)));
        for (kind, key) in [
            (Event::PUT, "q/7"),
            (Event::DELETE, "q"),
            (Event::DELETE, "q/8"),
            (7, "q/7"),
            (7, "q"),
        ] {
            assert_eq!(seen(kind, key), None, "{kind} {key}");
        }
    }
}
