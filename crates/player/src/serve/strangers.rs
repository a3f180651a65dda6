//! Connections that have not shown yet that they may look. Each has a short time for its request, and all
//! of them share a bound: where it is reached, the one that has been there longest is closed. So whoever
//! may look gets in at once, however many others are connected and silent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// At most this many connections are strangers at once. A viewer is one only for as long as its request
/// takes to arrive.
const STRANGERS: usize = 128;
/// At most this many connections are viewers at once.
const VIEWERS: usize = 400;
/// What else needs file descriptors: the source, the runtime, and the program around it.
pub(super) const OTHERS: usize = 32;

/// All connections of a server.
pub(super) struct Admission {
    strangers: Mutex<Strangers>,
    viewers: Arc<Semaphore>,
}

struct Strangers {
    most: usize,
    /// The one that has been there longest is first. Its connection is closed when this is dropped.
    open: VecDeque<(u64, oneshot::Sender<()>)>,
    last: u64,
}

impl Admission {
    /// Of a process that may have so many file descriptors: connections leave some to everything else,
    /// and strangers some to viewers.
    pub(super) fn within(descriptors: usize) -> Admission {
        let all = descriptors.saturating_sub(OTHERS).max(8);
        let most = STRANGERS.min(all / 4);
        let viewers = Arc::new(Semaphore::new(VIEWERS.min(all - most)));
        let strangers = Strangers { most, open: VecDeque::new(), last: 0 };
        Admission { strangers: Mutex::new(strangers), viewers }
    }

    /// A new connection is a stranger. The receiver is done when it must be closed.
    pub(super) fn stranger(self: &Arc<Admission>) -> (Pass, oneshot::Receiver<()>) {
        let (stays, closed) = oneshot::channel();
        let mut strangers = self.strangers();
        strangers.last += 1;
        let number = strangers.last;
        strangers.open.push_back((number, stays));
        if strangers.open.len() > strangers.most {
            strangers.open.pop_front();
        }
        drop(strangers);
        let (admission, viewer) = (Arc::clone(self), OnceLock::new());
        (Pass(Arc::new(Entry { number, admission, viewer })), closed)
    }

    /// Closes the stranger that has been there longest; false if there is none.
    pub(super) fn close_one(&self) -> bool {
        self.strangers().open.pop_front().is_some()
    }

    /// False if it is no stranger any more.
    fn remove(&self, number: u64) -> bool {
        let mut strangers = self.strangers();
        // Their numbers grow.
        let found = strangers.open.binary_search_by_key(&number, |(number, _)| *number);
        found.is_ok_and(|at| strangers.open.remove(at).is_some())
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection is; requests on it and the connection itself share it.
#[derive(Clone)]
pub(super) struct Pass(Arc<Entry>);

struct Entry {
    number: u64,
    admission: Arc<Admission>,
    /// Empty while it is a stranger.
    viewer: OnceLock<OwnedSemaphorePermit>,
}

impl Pass {
    /// This connection may look: it is a viewer from now on. False if there are too many, or it is
    /// closed already.
    pub(super) fn admit(&self) -> bool {
        let Entry { number, admission, viewer } = &*self.0;
        if viewer.get().is_some() {
            return true;
        }
        let Ok(permit) = Arc::clone(&admission.viewers).try_acquire_owned() else { return false };
        // Before it leaves the strangers, so that this does not close it.
        let is_first = viewer.set(permit).is_ok();
        admission.remove(*number) || !is_first
    }

    pub(super) fn is_viewer(&self) -> bool {
        self.0.viewer.get().is_some()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.admission.remove(self.number);
    }
}
