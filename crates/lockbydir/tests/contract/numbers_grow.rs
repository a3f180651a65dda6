//! Each holding has a larger token than all earlier ones.

use lockbydir::Lock;

use super::{World, jobs, patient, same_jobs, see_over};

fn token(lock: &Lock) -> u64 {
    let guard = lock.acquire().unwrap();
    assert_eq!(guard.key().token(), guard.token());
    guard.token()
}

pub(crate) fn tokens_grow_over_holdings<W: World>(world: &W) {
    let (lock, other) = (jobs(world), same_jobs(world));
    let mut last = 0;

    for turn in 0..40 {
        let token = token(if turn % 3 == 0 { &other } else { &lock });

        assert!(token > last, "{token} after {last}");
        last = token;
    }
}

pub(crate) fn tokens_grow_over_a_break_and_an_expiry<W: World>(world: &W) {
    let lock = jobs(world).timeout(W::SHORTEST);
    let broken = lock.acquire().unwrap();
    lock.break_by_force().unwrap();

    let expired = lock.acquire().unwrap();
    see_over(&expired);
    let last = token(&patient(&lock));

    assert!(broken.token() < expired.token() && expired.token() < last);
}

pub(crate) fn tokens_of_a_fenced_lock_grow_too<W: World>(world: &W) {
    let lock = jobs(world).fenced(true);

    let tokens = [token(&lock), token(&same_jobs(world)), token(&lock)];

    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}
