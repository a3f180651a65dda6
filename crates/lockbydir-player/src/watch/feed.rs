//! A source that is listened to by a thread of its own, so that keys are obeyed while it waits.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::event::Event;
use crate::source::Source;

/// So often the time goes on where nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// So much is waiting to be shown at most; then the source waits too.
const MOST: usize = 64;
/// At the end, a source has so long for its own.
const SETTLING: Duration = Duration::from_secs(2);

/// What happened, and what time it is.
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    pub(super) now: f64,
    pub(super) is_over: bool,
}

pub(super) struct Feed {
    batches: Receiver<Result<Batch, Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    pub(super) fn start(source: Box<dyn Source>) -> Feed {
        let (sender, batches) = sync_channel(MOST);
        let thread = std::thread::spawn(move || tell(source, &sender));
        Feed { batches, thread: Some(thread) }
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
                    if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                        std::panic::resume_unwind(panic);
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
        let batches = std::mem::replace(&mut self.batches, nobody);
        let end = Instant::now() + SETTLING;
        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            // What it has told meanwhile makes room for it to see that it is over.
            match batches.recv_timeout(rest.min(TICK)) {
                Err(RecvTimeoutError::Disconnected) => return,
                _ if self.thread.as_ref().is_none_or(JoinHandle::is_finished) => return,
                _ => {}
            }
        }
    }
}

fn tell(mut source: Box<dyn Source>, sender: &SyncSender<Result<Batch, Error>>) {
    loop {
        let batch = source.next(TICK).map(|events| Batch {
            events,
            now: source.now(),
            is_over: source.is_over(),
        });
        let is_last = batch.is_err();
        if sender.send(batch).is_err() || is_last {
            return;
        }
    }
}
