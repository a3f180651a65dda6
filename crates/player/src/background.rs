//! The background thread that reads a source, and how it ends.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::error::Error;

/// How long [`Background::settle`] waits for the thread to end. A source that waits for a server
/// that does not answer is then left to itself.
pub(crate) const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts a named thread. Fails where the limit on threads, of the user or of the system, is
/// reached.
pub(crate) fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    Builder::new().name(name.into()).spawn(run).map_err(Error::Thread)
}

/// A background thread whose end can be waited for.
pub(crate) struct Background {
    thread: JoinHandle<()>,
    /// Disconnects when the thread has ended.
    ended: Receiver<()>,
}

impl Background {
    pub(crate) fn start(run: impl FnOnce() + Send + 'static) -> Result<Background, Error> {
        let (running, ended): (SyncSender<()>, _) = sync_channel(0);
        let run = move || {
            run();
            drop(running);
        };
        Ok(Background { thread: spawn("source", run)?, ended })
    }

    /// Waits for the thread to end, for [`SETTLE_TIMEOUT`] at most. The caller has already asked it
    /// to end.
    pub(crate) fn settle(&self) {
        let _ = self.ended.recv_timeout(SETTLE_TIMEOUT);
    }

    /// Waits for the thread to end, however long that takes.
    ///
    /// # Panics
    /// If the thread panicked, with the same payload.
    pub(crate) fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    #[test]
    fn settle_gives_up_on_a_stuck_thread() {
        let (release, blocked) = channel::<()>();
        let stuck = Background::start(move || {
            let _ = blocked.recv();
        })
        .unwrap();
        let begun = Instant::now();

        stuck.settle();

        assert!(begun.elapsed() >= SETTLE_TIMEOUT);
        drop(release);
        stuck.join();
    }

    #[test]
    fn settle_returns_at_once_after_the_end() {
        let begun = Instant::now();

        Background::start(|| ()).unwrap().settle();

        assert!(begun.elapsed() < SETTLE_TIMEOUT);
    }
}
