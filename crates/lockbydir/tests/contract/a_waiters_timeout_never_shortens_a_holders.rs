//! The lock alone determines how long it lasts.

use super::{World, jobs, same_jobs, secs};

pub(crate) fn a_waiter_with_a_short_timeout_waits_for_a_long_one<W: World>(world: &W) {
    let guard = jobs(world).timeout(secs(60)).acquire().unwrap();
    let hasty = same_jobs(world).timeout(W::SHORTEST).patience(W::SHORTEST * 2);

    assert!(hasty.acquire().unwrap_err().is_patience_over());

    assert!(matches!(hasty.break_stale().unwrap(), lockbydir::Broken::StillHeld(_)));
    let status = hasty.status().unwrap();
    assert!(status.timeout >= Some(secs(60)), "{status:?}");
    assert!(status.remaining > Some(secs(20)), "{status:?}");
    guard.renew().unwrap();
}
