//! Unadmitted connections: those that have not yet shown that they may see the page. Each has a
//! short time for its request, and all of them share a limit: where it is reached, the oldest is
//! closed. So a permitted viewer gets in at once, however many others are connected and silent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The number of unadmitted connections at once. A viewer's connection is one only until its
/// request has arrived.
const MAX_UNADMITTED: usize = 128;
/// The number of admitted connections at once.
const MAX_VIEWERS: usize = 400;
/// The file descriptors left to everything else: the source, the runtime, and the program around
/// it.
pub(super) const OTHERS: usize = 32;

/// Counts all connections of a server.
pub(super) struct Admission {
    unadmitted: Mutex<Unadmitted>,
    viewers: Arc<Semaphore>,
}

struct Unadmitted {
    most: usize,
    /// The unadmitted connections, oldest first. Dropping a sender closes its connection.
    open: VecDeque<(u64, oneshot::Sender<()>)>,
    last: u64,
}

impl Admission {
    /// Divides the file descriptors of a process: connections leave [`OTHERS`] to everything else,
    /// and at most a quarter of the connections may be unadmitted.
    pub(super) fn within(descriptors: usize) -> Admission {
        let all = descriptors.saturating_sub(OTHERS).max(8);
        let most = MAX_UNADMITTED.min(all / 4);
        let viewers = Arc::new(Semaphore::new(MAX_VIEWERS.min(all - most)));
        let unadmitted = Unadmitted { most, open: VecDeque::new(), last: 0 };
        Admission { unadmitted: Mutex::new(unadmitted), viewers }
    }

    /// Registers a new connection as unadmitted. The receiver completes when the connection must be
    /// closed.
    pub(super) fn register(self: &Arc<Admission>) -> (Pass, oneshot::Receiver<()>) {
        let (stays, closed) = oneshot::channel();
        let mut unadmitted = self.unadmitted();
        unadmitted.last += 1;
        let number = unadmitted.last;
        unadmitted.open.push_back((number, stays));
        if unadmitted.open.len() > unadmitted.most {
            unadmitted.open.pop_front();
        }
        drop(unadmitted);
        let (admission, viewer) = (Arc::clone(self), OnceLock::new());
        (Pass(Arc::new(Entry { number, admission, viewer })), closed)
    }

    /// Closes the oldest unadmitted connection; returns false if there is none.
    pub(super) fn close_one(&self) -> bool {
        self.unadmitted().open.pop_front().is_some()
    }

    /// Removes an unadmitted connection; returns false if it is not unadmitted any more.
    fn remove(&self, number: u64) -> bool {
        let mut unadmitted = self.unadmitted();
        // The numbers ascend.
        let found = unadmitted.open.binary_search_by_key(&number, |(number, _)| *number);
        found.is_ok_and(|at| unadmitted.open.remove(at).is_some())
    }

    fn unadmitted(&self) -> MutexGuard<'_, Unadmitted> {
        self.unadmitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of one connection, shared by the connection and the requests on it.
#[derive(Clone)]
pub(super) struct Pass(Arc<Entry>);

struct Entry {
    number: u64,
    admission: Arc<Admission>,
    /// Empty while the connection is unadmitted.
    viewer: OnceLock<OwnedSemaphorePermit>,
}

impl Pass {
    /// Makes the connection a viewer's. Returns false if there are too many viewers, or it is
    /// closed already.
    pub(super) fn admit(&self) -> bool {
        let Entry { number, admission, viewer } = &*self.0;
        if viewer.get().is_some() {
            return true;
        }
        let Ok(permit) = Arc::clone(&admission.viewers).try_acquire_owned() else { return false };
        // The permit is set before the removal, so that the removal does not close the connection.
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
