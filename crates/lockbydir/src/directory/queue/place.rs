//! The place of one waiter in the queue. What it does there is in `mod.rs`, and how it does that on each
//! system in `pipes.rs` and `events.rs`.

use std::time::Duration;

use lockbydir_protocol::{Answer, Liveness, Owner};

#[cfg(windows)]
use super::event::Open;
#[cfg(unix)]
use super::pipe::Open;
use super::tickets::tickets;
use crate::directory::executor::{Directory, OpenHandles};
use crate::interrupt::Interrupt;
use crate::os::process::{self, Watch};
use crate::os::{Errno, Handle, clock, fault};

/// Whether the handle of the queue is kept before there is a ticket in it. On Windows the name of a
/// removed directory remains while a handle to it is open.
const KEEPS_HANDLE: bool = cfg!(unix);

/// The place of one waiter in the queue, with the handles that it keeps open.
pub(crate) struct Place<'a> {
    pub(super) directory: &'a Directory,
    pub(super) interrupts: Vec<&'a Interrupt>,
    /// The handle of the queue. While our ticket is there, it is that of the queue at the path; else that
    /// queue may have been removed, and then nothing is found in it.
    pub(super) queue: Option<Handle>,
    pub(super) open: Open,
    pub(super) kept: OpenHandles,
    /// Whether it had patience left at the beginning: then it may sleep until a process ends.
    is_patient: bool,
    /// What was last found of this owner's processes.
    watched: Option<(Owner, Watch)>,
    /// The end of the interval in which wake-ups are counted, and their number.
    pub(super) wakes: (Duration, u32),
}

impl<'a> Place<'a> {
    /// Creates the place of a waiter with patience until this time of the boot clock; `None`: for ever.
    pub(crate) fn new(
        directory: &'a Directory,
        until: Option<Duration>,
        interrupts: Vec<&'a Interrupt>,
    ) -> Place<'a> {
        Place {
            directory,
            interrupts,
            queue: None,
            open: Open::default(),
            kept: OpenHandles::default(),
            is_patient: until.is_none_or(|until| clock::boot() < until),
            watched: None,
            wakes: (Duration::ZERO, 0),
        }
    }

    /// Takes the handle of the queue, or opens the queue. If another kernel may change the queue, only a
    /// handle that is opened anew shows the change.
    pub(super) fn take_queue(&mut self) -> Result<Handle, Errno> {
        let kept = self.queue.take().filter(|_| self.directory.here().is_local);
        kept.map_or_else(|| self.directory.queue(), Ok)
    }

    /// Does this in the queue, which is opened anew if the one that we know is gone.
    pub(super) fn in_queue<T>(
        &mut self,
        act: impl Fn(&Handle) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if let Some(queue) = self.queue.as_ref().filter(|_| self.directory.here().is_local) {
            match act(queue) {
                Err(Errno::NOENT) => {}
                done => return done,
            }
        }
        let queue = self.directory.queue()?;
        let done = act(&queue);
        if KEEPS_HANDLE || self.queue.is_some() {
            self.queue = Some(queue);
        }
        done
    }

    pub(super) fn list(&mut self) -> Answer {
        match self.in_queue(tickets) {
            Ok(queue) => Answer::Queue(queue),
            Err(Errno::NOENT) => Answer::Queue(Vec::new()),
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }

    /// Returns the first of the owner's processes that is alive. Whether it is the process that the owner
    /// names is checked once, not at each sleep.
    pub(super) fn watch(&mut self, owner: Owner) -> Watch {
        let kept = self.watched.take().filter(|(known, _)| *known == owner);
        let watch = process::watch_on(owner, kept.map_or(Watch::Unwatched, |(_, watch)| watch));
        self.watched = Some((owner, watch.clone()));
        watch
    }

    /// Returns whether all of the owner's processes are gone.
    pub(super) fn life(&mut self, owner: Owner) -> Liveness {
        match self.is_patient {
            true => self.watch(owner).life(),
            false => process::life(owner),
        }
    }
}
