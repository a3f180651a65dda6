//! Signals that the caller ignores, as after `nohup`, or in a script's background, are ignored by every
//! program that is started from there. Tests send these signals to their children, so the children must
//! start with the usual actions.
//!
//! A caught signal has its usual action again in a new program. So this process catches what it should
//! ignore, and does nothing then: it is as deaf as its caller wants, and its children are not.

use std::sync::{Arc, atomic::AtomicBool};

use signal_hook::consts::{SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::consts::{SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};

/// The signals that a caller can ignore and that tests or programs under test use. `SIGPIPE` is not among
/// them: Rust's own start-up ignores it, and its `Command` resets it.
const SIGNALS: [i32; 11] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD, SIGTSTP, SIGTTIN, SIGTTOU, SIGALRM, SIGUSR1, SIGUSR2,
];

/// Returns the signals that this process ignores, as a mask.
#[must_use]
pub fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[ctor::ctor(unsafe)]
fn catch_what_is_ignored() {
    let ignored = ignored();
    for signal in SIGNALS {
        if ignored >> (signal - 1) & 1 == 1 {
            // A signal that cannot be caught is as before.
            let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
        }
    }
}
