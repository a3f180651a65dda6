//! Cleanup in the background: revoking leases that nobody needs any more. A program that ends may wait
//! for it a little; leases that are not revoked run out by themselves.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockbydir::engine::ForkLocal;
use tokio::sync::Notify;

use crate::runtime;

/// The number of running cleanups, and the notification that the last has ended.
#[derive(Default)]
struct Pending {
    count: AtomicUsize,
    done: Notify,
}

static PENDING: ForkLocal<Arc<Pending>> = ForkLocal::new();

/// Runs `work` in the background.
pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) {
    let pending = PENDING.get_or_make(Arc::default).clone();
    pending.count.fetch_add(1, Ordering::AcqRel);
    runtime::start(async move {
        work.await;
        if pending.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            pending.done.notify_waiters();
        }
    });
}

/// Ends the leases that this process keeps for its next acquisitions, and waits until all background
/// cleanup is done, for this time at most. A program calls it at its end, so that its leases do not outlive
/// it.
pub fn settle(up_to: Duration) {
    crate::kept::revoke_all();
    let Some(pending) = PENDING.get().filter(|pending| pending.count.load(Ordering::Acquire) > 0)
    else {
        return;
    };
    let pending = pending.clone();
    let _ = runtime::wait(async move {
        let done = pending.done.notified();
        tokio::pin!(done);
        done.as_mut().enable();
        if pending.count.load(Ordering::Acquire) > 0 {
            let _ = tokio::time::timeout(up_to, done).await;
        }
    });
}
