//! The engine of plain directories: one folder `NAME.lockdir`, and beside it the queue of those who wait.

pub(crate) mod cache;
pub(crate) mod engine;
pub(crate) mod executor;
pub(crate) mod inspect;
pub(crate) mod queue;
