//! The engine of plain directories: the lock directory `NAME.lockdir`, and beside it the queue of
//! its waiters.

pub(crate) mod cache;
pub(crate) mod engine;
pub(crate) mod executor;
mod foreign;
pub(crate) mod inspect;
pub(crate) mod queue;
mod status;
