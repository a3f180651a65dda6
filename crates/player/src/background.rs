//! The thread in which a source is asked, and its end.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::error::Error;

/// At the end, a source has so long for its own. One that asks somebody who does not answer is left
/// alone then.
pub(crate) const SETTLING: Duration = Duration::from_secs(2);

/// Starts a thread. A user and a system have so many at most.
pub(crate) fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    Builder::new().name(name.into()).spawn(run).map_err(Error::Thread)
}

pub(crate) struct Background {
    thread: JoinHandle<()>,
    /// Its other end goes when the thread has ended.
    goes: Receiver<()>,
}

impl Background {
    pub(crate) fn start(run: impl FnOnce() + Send + 'static) -> Result<Background, Error> {
        let (stays, goes): (SyncSender<()>, _) = sync_channel(0);
        let run = move || {
            run();
            drop(stays);
        };
        Ok(Background { thread: spawn("source", run)?, goes })
    }

    /// Waits for its end. It has been told, and may take its time, but not for ever.
    pub(crate) fn settle(&self) {
        let _ = self.goes.recv_timeout(SETTLING);
    }

    /// Waits for its end, however long.
    ///
    /// # Panics
    /// As it did.
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
    fn one_that_does_not_end_is_left_alone() {
        let (lets_go, waits) = channel::<()>();
        let stuck = Background::start(move || {
            let _ = waits.recv();
        })
        .unwrap();
        let begun = Instant::now();

        stuck.settle();

        assert!(begun.elapsed() >= SETTLING);
        drop(lets_go);
        stuck.join();
    }

    #[test]
    fn one_that_has_ended_is_not_waited_for() {
        let begun = Instant::now();

        Background::start(|| ()).unwrap().settle();

        assert!(begun.elapsed() < SETTLING);
    }
}
