//! What is tidied up behind the caller's back: leases that nobody needs any more. A program that
//! ends may wait for it a moment; what is left undone runs out by itself.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockbydir::engine::ForkLocal;
use tokio::sync::Notify;

use crate::runtime;

/// How many are at work, and who waits for the last.
#[derive(Default)]
struct Pending {
    count: AtomicUsize,
    done: Notify,
}

static PENDING: ForkLocal<Arc<Pending>> = ForkLocal::new();

/// Lets this be done while the caller goes on.
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

/// Waits until all is tidied up, or this time is over: for the end of a program.
pub fn settle(up_to: Duration) {
    let Some(pending) = PENDING.get().filter(|one| one.count.load(Ordering::Acquire) > 0) else {
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
