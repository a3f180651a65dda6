//! Reads a source on its own thread, so that keys are handled while the source waits.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use crate::background::Background;
use crate::error::Error;
use crate::event::Event;
use crate::source::Source;

/// How often the time is updated where nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// The number of batches that may wait to be shown; then the source waits too.
const MAX_BATCHES: usize = 64;

/// The events since the last batch, and the time of the source.
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    pub(super) now: f64,
    pub(super) is_over: bool,
}

pub(super) struct Feed {
    batches: Receiver<Result<Batch, Error>>,
    thread: Option<Background>,
}

impl Feed {
    pub(super) fn start(source: Box<dyn Source>) -> Result<Feed, Error> {
        let (sender, batches) = sync_channel(MAX_BATCHES);
        let thread = Background::start(move || forward(source, &sender))?;
        Ok(Feed { batches, thread: Some(thread) })
    }

    /// Returns the batches since the last call.
    ///
    /// # Panics
    /// If the source panicked, with the same payload.
    pub(super) fn received(&mut self) -> Result<Vec<Batch>, Error> {
        let mut batches = Vec::new();
        while batches.len() < MAX_BATCHES {
            match self.batches.try_recv() {
                Ok(batch) => batches.push(batch?),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    if let Some(thread) = self.thread.take() {
                        thread.join();
                    }
                    break;
                }
            }
        }
        Ok(batches)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // Without a receiver the thread ends, and drops the source.
        let (_, closed) = sync_channel(0);
        drop(std::mem::replace(&mut self.batches, closed));
        if let Some(thread) = &self.thread {
            thread.settle();
        }
    }
}

fn forward(mut source: Box<dyn Source>, sender: &SyncSender<Result<Batch, Error>>) {
    let over_at = loop {
        let batch = source.next(TICK).map(|events| Batch {
            events,
            now: source.now(),
            is_over: source.is_over(),
        });
        let over_at = batch.as_ref().ok().filter(|batch| batch.is_over).map(|batch| batch.now);
        let is_last = batch.is_err();
        if sender.send(batch).is_err() || is_last {
            return;
        }
        if let Some(now) = over_at {
            break now;
        }
    };
    // Its time stands still from now on; the thread ends when the receiver is dropped.
    loop {
        std::thread::sleep(TICK);
        if sender.send(Ok(Batch { events: Vec::new(), now: over_at, is_over: true })).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::background::SETTLE_TIMEOUT;

    /// A source without events, which records that it was dropped.
    struct Silent(Arc<AtomicBool>);

    impl Source for Silent {
        fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
            std::thread::sleep(up_to / 10);
            Ok(Vec::new())
        }
    }

    impl Drop for Silent {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn dropping_a_feed_ends_its_source_first() {
        let has_ended = Arc::new(AtomicBool::new(false));
        let mut feed = Feed::start(Box::new(Silent(has_ended.clone()))).unwrap();
        while feed.received().unwrap().is_empty() {
            std::thread::yield_now();
        }

        let begun = Instant::now();
        drop(feed);

        assert!(has_ended.load(Ordering::SeqCst));
        assert!(begun.elapsed() < SETTLE_TIMEOUT, "{:?}", begun.elapsed());
    }
}
