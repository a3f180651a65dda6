//! Hearing of a change: a watch on the one key that a waiter waits for. What is not heard is seen
//! at the next look.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchStream};
use lockbydir::engine::boot;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::cluster::{Cluster, Limit};

/// A watch that cannot be had is tried again after this.
const AGAIN: Duration = Duration::from_millis(200);

/// What one waiter hears with.
#[derive(Default)]
pub(crate) struct Ear {
    /// The keys it listens to: one that vanishes, and perhaps one that is written.
    keys: Option<(String, Option<String>)>,
    stream: Option<WatchStream>,
    /// No new watch before this, on the boot clock.
    again: Duration,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The key in the way is gone.
    Gone,
    /// The record was written, at this revision.
    Written(i64),
    /// Nothing in time, or nothing can be heard.
    Nothing,
    Interrupted,
}

/// Wakes a sleeping waiter whose wait is interrupted.
#[derive(Clone, Default)]
pub(crate) struct Nudge(Arc<Notify>);

struct Nudged(Nudge);

impl Wake for Nudged {
    fn wake(self: Arc<Self>) {
        self.0.0.notify_one();
    }
}

impl Nudge {
    pub(crate) fn waker(&self) -> Waker {
        Arc::new(Nudged(self.clone())).into()
    }
}

impl Ear {
    /// Turns to these keys, as they were at this revision.
    pub(crate) async fn turn_to(
        &mut self,
        cluster: &Cluster,
        limit: Limit,
        gone: &str,
        written: Option<&str>,
        revision: i64,
    ) {
        let keys = Some((gone.to_owned(), written.map(String::from)));
        if self.keys == keys && self.stream.is_some() || boot() < self.again {
            return;
        }
        self.stream = None;
        self.again = boot() + AGAIN;
        let watched = async {
            let mut client = cluster.preferred(limit.a_try).await.ok()?;
            let options = WatchOptions::new().with_start_revision(revision + 1);
            let mut stream = client.watch(gone, Some(options.clone())).await.ok()?;
            if let Some(written) = written {
                stream.watch(written, Some(options)).await.ok()?;
            }
            Some(stream)
        };
        if let Ok(Some(stream)) = tokio::time::timeout(limit.a_try, watched).await {
            (self.keys, self.stream, self.again) = (keys, Some(stream), Duration::ZERO);
        }
    }

    /// Listens until this time of the boot clock.
    pub(crate) async fn listen(&mut self, until: Duration, nudge: &Nudge) -> Heard {
        loop {
            // The timer's clock stops in suspend: never sleep long.
            let rest = until.saturating_sub(boot());
            if rest.is_zero() {
                return Heard::Nothing;
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
                () = nudge.0.notified() => return Heard::Interrupted,
                message = message => message,
                () = timer => continue,
            };
            let Ok(Some(message)) = message else {
                self.stream = None;
                return Heard::Nothing;
            };
            if message.canceled() {
                // Compacted, or by the server's choice: a new look tells what was missed.
                self.stream = None;
                return Heard::Nothing;
            }
            let Some((gone, written)) = &self.keys else { continue };
            for event in message.events() {
                let Some(kv) = event.kv() else { continue };
                match event.event_type() {
                    EventType::Delete if kv.key() == gone.as_bytes() => return Heard::Gone,
                    EventType::Put
                        if written.as_ref().is_some_and(|key| kv.key() == key.as_bytes()) =>
                    {
                        return Heard::Written(kv.mod_revision());
                    }
                    _ => {}
                }
            }
        }
    }
}
