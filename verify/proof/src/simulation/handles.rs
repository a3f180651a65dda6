//! The lock as a simulated process uses it.

use std::cell::RefCell;
use std::rc::Weak;
use std::time::Duration;

use lockbydir::{Guard, Key, Lock, Owner};
use lockbydir_protocol::Nonce;

use super::plot::SimulatedProcess;
use super::scheduler::Scheduler;

/// The guard of a process, if it has one.
pub(super) type Holding = RefCell<Weak<Guard>>;

/// Returns the lock, by a path that only this process uses: so the threads of the real process do not
/// queue among themselves.
pub(super) fn lock(scheduler: &Scheduler, me: usize, part: &SimulatedProcess) -> Lock {
    let owner = if part.is_nobodys { Owner::Nobody } else { Owner::ThisProcess };
    let linger = if part.lingers { Duration::from_secs(3600) } else { Duration::ZERO };
    Lock::new(scheduler.folder.join(format!("way{me}/jobs")))
        .timeout(part.timeout)
        .fenced(part.fenced)
        .linger(linger)
        .mode(if part.shares { 0o770 } else { 0o700 })
        .owner(owner)
}

/// Returns the nonce of a key.
pub(super) fn nonce(key: &Key) -> Nonce {
    let text = key.to_string();
    let nonce = text.split_once('-').and_then(|(_, nonce)| Nonce::parse(nonce));
    nonce.unwrap_or(Nonce(0))
}
