//! The keeper: a thread that renews one guard's lock, and tells of its loss before the deadline.

use std::sync::Arc;
use std::time::Duration;

use lockbydir_protocol::Terms;

use crate::hold::{Hold, notice};
use crate::{call, clock};

/// Starts the keeper of a hold; it ends with the hold.
pub(crate) fn start(hold: Arc<Hold>) {
    // Without a thread the lock is simply not renewed, and its guard says when it is over.
    let run = |name: &str, work: fn(&Hold)| {
        let hold = hold.clone();
        let _ = call::thread(name, move || work(&hold));
    };
    run("lockbydir-keeper", keep);
    if hold.has_somebody_to_tell() {
        run("lockbydir-warner", warn);
    }
}

/// Tells of the loss even while a renewal hangs.
fn warn(hold: &Hold) {
    while !hold.wait_lost(Duration::from_secs(3600)) {}
    hold.give_up();
}

fn keep(hold: &Hold) {
    let mut due = clock::boot() + hold.timeout() / 3;
    loop {
        let mut state = hold.state();
        loop {
            let now = clock::boot();
            if hold.is_over() {
                return;
            }
            if now >= due {
                break;
            }
            // The wait's own clock stops in suspend: never sleep long.
            state = hold.wait(state, (due - now).min(Duration::from_millis(500)));
        }
        drop(state);

        let timeout = hold.timeout();
        match hold.renew(Terms::default()) {
            Ok(()) => due = clock::boot() + timeout / 3,
            Err(error) if error.is_lost() => return hold.give_up(),
            Err(_) if hold.remaining() <= notice(timeout) => return hold.give_up(),
            Err(_) => due = clock::boot() + (timeout / 20).min(Duration::from_secs(1)),
        }
    }
}
