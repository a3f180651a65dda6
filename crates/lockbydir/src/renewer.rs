//! The renewer: threads that renew the lock of one guard, and report its loss.

use std::sync::Arc;

use crate::hold::Hold;
use crate::os::Errno;
use crate::os::syscalls;

/// Starts the renewer of a hold; its threads end with the hold.
pub(crate) fn start(hold: &Arc<Hold>) -> Result<(), Errno> {
    let run = |name: &str, work: fn(&Hold)| {
        let hold = hold.clone();
        syscalls::thread(name, move || work(&hold))
    };
    run("lockbydir-keeper", renew)?;
    if hold.reports_loss() {
        run("lockbydir-warner", report_unanswered)?;
    }
    Ok(())
}

/// Reports the loss even while a renewal hangs.
fn report_unanswered(hold: &Hold) {
    while hold.wait_unanswered() {
        hold.give_up_unanswered();
    }
}

/// Renews the lock when it is due, and after a failure again until the deadline. A last try begins
/// at the deadline: it succeeds if nobody has taken the lock, and only its failure is a loss. After
/// a pause of the process the same try decides.
fn renew(hold: &Hold) {
    while hold.wait_due() {
        if let Err(cause) = hold.renew_in_time() {
            hold.give_up(cause);
        }
    }
    hold.report_loss();
}
