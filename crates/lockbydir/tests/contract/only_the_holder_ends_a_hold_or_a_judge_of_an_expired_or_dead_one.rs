//! Only the holder ends a holding, or a judge of an expired or dead one, or a break by force.

use lockbydir::{Broken, Key};
use lockbydir_protocol::Nonce;

use super::{World, jobs, same_jobs, see};

pub(crate) fn a_living_holder_is_not_broken<W: World>(world: &W) {
    let guard = jobs(world).label("living").acquire().unwrap();

    let broken = same_jobs(world).break_stale().unwrap();

    let Broken::StillHeld(Some(holder)) = broken else { panic!("{broken:?}") };
    assert_eq!(holder.label.as_deref(), Some("living"));
    assert_eq!(holder.pid, Some(std::process::id()));
    guard.renew().unwrap();
}

pub(crate) fn breaking_a_free_lock_does_nothing<W: World>(world: &W) {
    assert_eq!(jobs(world).break_stale().unwrap(), Broken::WasFree);
    assert_eq!(jobs(world).break_by_force().unwrap(), Broken::WasFree);
}

pub(crate) fn an_expired_holding_is_broken_and_reported<W: World>(world: &W) {
    let sleeper = jobs(world).timeout(W::SHORTEST).label("sleeper").acquire().unwrap();
    let lock = same_jobs(world);

    let mut removed = None;
    see("it expires", || match lock.break_stale().unwrap() {
        Broken::Removed(before) => {
            removed = before;
            true
        }
        _ => false,
    });

    assert!(!sleeper.is_held(), "broken before its holder's deadline");
    let before = removed.expect("who it was");
    assert_eq!(before.token, Some(sleeper.token()));
    assert_eq!(before.holder.unwrap().label.as_deref(), Some("sleeper"));
    assert_eq!(lock.break_stale().unwrap(), Broken::WasFree);
    assert!(sleeper.renew().unwrap_err().is_lost());
    drop(lock.try_acquire().unwrap().expect("it is free"));
}

pub(crate) fn a_holder_notices_a_break_by_force<W: World>(world: &W) {
    let lock = same_jobs(world);
    let guard = jobs(world).acquire().unwrap();

    let broken = lock.break_by_force().unwrap();

    let token = Some(guard.token());
    assert!(matches!(&broken, Broken::Removed(Some(before)) if before.token == token));
    let next = lock.try_acquire().unwrap().expect("it is free");
    assert!(next.token() > guard.token());
    assert!(guard.renew().unwrap_err().is_lost());
    assert!(!guard.is_held() && guard.lost().is_some());
    assert!(guard.release().unwrap_err().is_lost());
    next.renew().expect("the release of the broken holder does not affect the next");
}

pub(crate) fn an_unknown_key_ends_nothing<W: World>(world: &W) {
    let guard = jobs(world).acquire().unwrap();
    let wrong = Key::new(guard.token(), Nonce(guard.key().nonce().0 ^ 1));

    for one in [jobs(world), same_jobs(world)] {
        assert!(one.renew(&wrong).unwrap_err().is_lost());
        assert!(one.release(&wrong).unwrap_err().is_lost());
    }

    guard.renew().unwrap();
    assert!(jobs(world).is_locked().unwrap());
}
