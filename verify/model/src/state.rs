//! The world at one moment.

use lockbydir_protocol::Nonce;

use crate::contender::Contender;
use crate::disk::Disk;
use crate::keyed::Keyed;
use crate::one_try::Front;
use crate::queue::TicketQueue;

/// The world at one moment, and what the promises must remember of earlier ones.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Moment {
    pub(crate) time: u16,
    pub(crate) disk: Keyed<Disk>,
    pub(crate) queue: Keyed<TicketQueue>,
    pub(crate) people: Vec<Keyed<Contender>>,
    /// The wall clock, beside the ticks: it goes on with each install, so that no two are alike.
    pub(crate) wall: u64,
    /// The largest token of all holdings.
    pub(crate) largest: Option<u64>,
    pub(crate) left: Left,
    /// Nonces broken by force, and nonces of those who gave up: a bit each.
    pub(crate) broken: u64,
    pub(crate) gave_up: u64,
    /// A look that failed: then an install may have been done unseen.
    pub(crate) is_blind: bool,
    /// Ticks that the first contender's computer has slept.
    pub(crate) slept: u16,
    /// Who queued when each one came: a bit each.
    pub(crate) came_behind: Vec<u8>,
    /// Where somebody tries once: who is the first in the queue.
    pub(crate) front: Front,
    /// Who has done something: a bit each.
    pub(crate) began: u8,
    /// Numbers as they were read at first: for a mutant.
    pub(crate) counter: (u64, Vec<u64>),
    /// The promise that is broken.
    pub(crate) fault: Option<&'static str>,
}

/// What may still happen.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct Left {
    pub(crate) crashes: u8,
    pub(crate) lies: u8,
    pub(crate) bare: Bare,
    pub(crate) foreigner: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bare {
    Nobody,
    MayCome,
    /// Made D at this tick.
    Holds(u16),
}

pub(crate) fn bit(nonce: Nonce) -> u64 {
    1 << (nonce.0 & 63)
}

impl Moment {
    pub(crate) fn is_broken(&self, nonce: Nonce) -> bool {
        self.broken & bit(nonce) != 0
    }

    /// Notes the first fault; nothing comes after it.
    pub(crate) fn blame(&mut self, promise: &'static str) {
        self.fault.get_or_insert(promise);
    }
}
