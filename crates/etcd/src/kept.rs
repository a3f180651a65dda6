//! The lease that a process keeps when it releases a lock, for its next acquisition on the same cluster:
//! at most one, and for a short time. It is in one of three hands: the acquisition or holding that uses
//! it, this slot, or a request that revokes it; and it never comes back from the last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockbydir::engine::boot;
use tokio::time::sleep;

use crate::api::LeaseRevokeRequest;
use crate::cluster::{Cluster, Limit, clusters};
use crate::lease::Lease;
use crate::{pending, runtime};

/// How long a lease is kept without a lock, at most: longer than the pause between the jobs of a busy
/// process, and short beside the timeouts after which servers forget a lease by themselves.
const KEEP_FOR: Duration = Duration::from_secs(10);
/// How often the time of the kept lease is checked. A sleep does not count the time in suspend.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long it is tried to revoke a lease; after that it runs out by itself.
const LONGEST_REVOKE: Duration = Duration::from_secs(3);

/// The place of the lease that is kept for a cluster.
#[derive(Default)]
pub(crate) struct KeptLease(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    kept: Option<Kept>,
    /// Whether a task runs that revokes the lease when its time is over.
    has_task: bool,
}

struct Kept {
    lease: Lease,
    /// No acquisition takes it after this time of the boot clock.
    until: Duration,
}

impl KeptLease {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the kept lease, if it is for this timeout and its time is not over.
pub(crate) fn take(cluster: &Cluster, timeout: Duration) -> Option<Lease> {
    let now = boot();
    let fits = |kept: &mut Kept| kept.lease.is_for(timeout) && now < kept.until;
    cluster.kept.slot().kept.take_if(fits).map(|kept| kept.lease)
}

/// Keeps a lease on which there is no key, and for which no request is under way. A lease that was kept
/// before is revoked.
pub(crate) fn keep(cluster: &Arc<Cluster>, lease: Lease) {
    let now = boot();
    let until = lease.usable_until().min(now + KEEP_FOR);
    if now >= until {
        return revoke(cluster, lease.id, lease.timeout);
    }
    let mut slot = cluster.kept.slot();
    let replaced = slot.kept.replace(Kept { lease, until });
    let has_task = std::mem::replace(&mut slot.has_task, true);
    drop(slot);
    if let Some(replaced) = replaced {
        revoke(cluster, replaced.lease.id, replaced.lease.timeout);
    }
    if !has_task {
        let cluster = cluster.clone();
        runtime::start(async move { end_when_idle(&cluster).await });
    }
}

/// Revokes the kept lease once its time is over, and ends when there is none.
async fn end_when_idle(cluster: &Arc<Cluster>) {
    while let Some(rest) = rest_of(cluster) {
        sleep(rest.min(CHECK_INTERVAL)).await;
    }
}

/// Returns the time that the kept lease has left; revokes it if that is none.
fn rest_of(cluster: &Arc<Cluster>) -> Option<Duration> {
    let mut slot = cluster.kept.slot();
    let rest = slot.kept.as_ref().map(|kept| kept.until.saturating_sub(boot()));
    if rest.is_some_and(|rest| !rest.is_zero()) {
        return rest;
    }
    slot.has_task = false;
    let over = slot.kept.take();
    drop(slot);
    if let Some(over) = over {
        revoke(cluster, over.lease.id, over.lease.timeout);
    }
    None
}

/// Revokes the kept leases of this process.
pub(crate) fn revoke_all() {
    for cluster in clusters() {
        let kept = cluster.kept.slot().kept.take();
        if let Some(kept) = kept {
            revoke(&cluster, kept.lease.id, kept.lease.timeout);
        }
    }
}

/// Revokes a lease, and with it the keys on it, in the background.
pub(crate) fn revoke(cluster: &Arc<Cluster>, id: i64, timeout: Duration) {
    let limit = Limit::new(boot() + LONGEST_REVOKE, timeout);
    let cluster = cluster.clone();
    pending::start(async move {
        let _ = cluster.call(limit, LeaseRevokeRequest { id }).await;
    });
}
