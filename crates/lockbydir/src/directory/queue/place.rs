//! The place of one waiter in the queue. What it does there is in `mod.rs`, and how it does that on each
//! system in `pipes.rs` and `events.rs`.

use std::time::Duration;

#[cfg(windows)]
use super::event::Open;
#[cfg(unix)]
use super::pipe::Open;
use crate::directory::executor::{Directory, OpenHandles};
use crate::interrupt::Interrupt;
use crate::os::Handle;

/// The place of one waiter in the queue, with the handles that it keeps open.
pub(crate) struct Place<'a> {
    pub(super) directory: &'a Directory,
    pub(super) interrupts: Vec<&'a Interrupt>,
    /// The handle of the queue that we entered.
    pub(super) queue: Option<Handle>,
    pub(super) open: Open,
    pub(super) kept: OpenHandles,
    /// The end of the interval in which wake-ups are counted, and their number.
    pub(super) wakes: (Duration, u32),
}

impl<'a> Place<'a> {
    pub(crate) fn new(directory: &'a Directory, interrupts: Vec<&'a Interrupt>) -> Place<'a> {
        Place {
            directory,
            interrupts,
            queue: None,
            open: Open::default(),
            kept: OpenHandles::default(),
            wakes: (Duration::ZERO, 0),
        }
    }
}
