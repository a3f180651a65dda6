//! A source that is listened to by a thread of its own, so that keys are obeyed while it waits.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use crate::background::Background;
use crate::error::Error;
use crate::event::Event;
use crate::source::Source;

/// So often the time goes on where nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// So much is waiting to be shown at most; then the source waits too.
const MOST: usize = 64;

/// What happened, and what time it is.
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
        let (sender, batches) = sync_channel(MOST);
        let thread = Background::start(move || tell(source, &sender))?;
        Ok(Feed { batches, thread: Some(thread) })
    }

    /// What it told since it was asked last.
    ///
    /// # Panics
    /// As the source did.
    pub(super) fn heard(&mut self) -> Result<Vec<Batch>, Error> {
        let mut batches = Vec::new();
        while batches.len() < MOST {
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
        // Nobody takes anything any more, so the thread ends; and with it its source.
        let (_, nobody) = sync_channel(0);
        drop(std::mem::replace(&mut self.batches, nobody));
        if let Some(thread) = &self.thread {
            thread.settle();
        }
    }
}

fn tell(mut source: Box<dyn Source>, sender: &SyncSender<Result<Batch, Error>>) {
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
    // Its time stands still from now on; it ends with those who look at it.
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
    use crate::background::SETTLING;

    /// Has nothing to tell, and notes its end.
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
    fn a_source_that_nobody_listens_to_any_more_ends_soon_and_first() {
        let has_ended = Arc::new(AtomicBool::new(false));
        let mut feed = Feed::start(Box::new(Silent(has_ended.clone()))).unwrap();
        while feed.heard().unwrap().is_empty() {
            std::thread::yield_now();
        }

        let begun = Instant::now();
        drop(feed);

        assert!(has_ended.load(Ordering::SeqCst));
        assert!(begun.elapsed() < SETTLING, "{:?}", begun.elapsed());
    }
}
