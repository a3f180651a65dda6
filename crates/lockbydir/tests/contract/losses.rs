//! Losing a lock, and the report of the loss before others may hold it.

use std::sync::mpsc;
use std::time::Instant;

use lockbydir::LostReason;

use super::{World, calm, goes_well, jobs, same_jobs, secs};

pub(crate) fn the_renewer_reports_a_loss_before_the_deadline<W: World>(world: &W) {
    goes_well(|_| {
        let (sender, losses) = mpsc::channel();
        let lock = jobs(world)
            .timeout(calm::<W>())
            .renew_automatically(true)
            .on_lost(move |error| sender.send((error.is_lost(), error.to_string())).unwrap());
        let begin = Instant::now();
        let guard = lock.acquire().unwrap();

        same_jobs(world).break_by_force().unwrap();

        let (is_lost, message) = losses.recv_timeout(secs(60)).unwrap();
        let (took, timeout) = (begin.elapsed(), guard.timeout());
        assert!(is_lost && message.contains("lost the lock"), "{message}");
        assert!(guard.wait_lost(secs(1)));
        assert!(!guard.is_held());
        assert_eq!(guard.lost().unwrap().lost_reason(), Some(LostReason::Gone));
        assert!(losses.try_recv().is_err(), "reported twice");
        assert!(guard.release().unwrap_err().is_lost());
        if took < timeout { Ok(()) } else { Err(took) }
    });
}

pub(crate) fn wait_lost_returns_before_the_deadline<W: World>(world: &W) {
    goes_well(|_| {
        let guard = jobs(world).timeout(calm::<W>()).acquire().unwrap();
        let is_early = guard.wait_lost(guard.timeout() / 20);

        assert!(guard.wait_lost(secs(60)));

        match (is_early, guard.lost()) {
            (false, None) if guard.is_held() => Ok(()),
            (true, _) => Err("reported too early"),
            (false, _) => Err("reported too late"),
        }
    });
}

pub(crate) fn a_renewal_reports_the_new_holder<W: World>(world: &W) {
    let guard = jobs(world).acquire().unwrap();
    let other = same_jobs(world).label("usurper").timeout(secs(60));
    other.break_by_force().unwrap();
    let usurper = other.acquire().unwrap();

    let error = guard.renew().unwrap_err();

    assert!(error.is_lost(), "{error}");
    assert_eq!(error.lost_reason(), Some(LostReason::Taken));
    assert_eq!(error.holder().unwrap().label.as_deref(), Some("usurper"));
    assert!(error.to_string().contains("it is now held by"), "{error}");
    assert_eq!(guard.lost().unwrap().holder().unwrap().label.as_deref(), Some("usurper"));
    drop(guard);
    usurper.renew().unwrap();
}
