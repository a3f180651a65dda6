//! The keeper: threads that renew one guard's lock, and report its loss.

use std::sync::Arc;

use crate::hold::Hold;
use crate::os::Errno;
use crate::os::syscalls;

/// Starts the keeper of a hold; it ends with the hold.
pub(crate) fn start(hold: &Arc<Hold>) -> Result<(), Errno> {
    let run = |name: &str, work: fn(&Hold)| {
        let hold = hold.clone();
        syscalls::thread(name, move || work(&hold))
    };
    run("lockbydir-keeper", keep)?;
    if hold.has_somebody_to_tell() {
        run("lockbydir-warner", warn)?;
    }
    Ok(())
}

/// Reports the loss even while a renewal hangs.
fn warn(hold: &Hold) {
    while hold.wait_unanswered() {
        hold.give_up_unanswered();
    }
}

/// Renews when it is due, and where that fails again until the deadline. One try begins then: it succeeds
/// where nobody has taken the lock. Only its failure is a loss. A pause of the process ends in the
/// same try.
fn keep(hold: &Hold) {
    while hold.wait_due() {
        if let Err(cause) = hold.renew_in_time() {
            hold.give_up(cause);
        }
    }
    hold.report_loss();
}
