//! The engine of plain directories: the lock directory `NAME.lockdir`, and beside it the queue of
//! its waiters.

pub(crate) mod cache;
#[cfg(target_os = "linux")]
mod deadlock;
#[cfg(not(target_os = "linux"))]
#[path = "no_deadlock.rs"]
mod deadlock;
pub(crate) mod engine;
pub(crate) mod executor;
mod foreign;
pub(crate) mod inspect;
pub(crate) mod queue;
mod status;
