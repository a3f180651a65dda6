//! The keeper: a thread that renews one guard's lock, and tells of its loss before the deadline.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lockbydir_protocol::Terms;

use crate::clock;
use crate::guard::{Hold, notice};

/// Starts the keeper of a hold; it ends with the hold.
pub(crate) fn start(hold: Arc<Hold>) {
    let keep = move || keep(&hold);
    // Without a thread the lock is simply not renewed, and its guard says when it is over.
    let _ = thread::Builder::new().name("lockbydir-keeper".into()).spawn(keep);
}

fn keep(hold: &Hold) {
    let mut due = clock::boot() + hold.timeout() / 3;
    loop {
        let mut state = hold.state();
        loop {
            let now = clock::boot();
            if state.is_over {
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
