//! The state of the world at one moment.

use lockbydir_protocol::Nonce;

use crate::contender::Contender;
use crate::disk::Disk;
use crate::keyed::Keyed;
use crate::one_try::Front;
use crate::queue::TicketQueue;

/// The state of the world at one moment, and what the promises must remember of earlier ones.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Moment {
    pub(crate) time: u16,
    pub(crate) disk: Keyed<Disk>,
    pub(crate) queue: Keyed<TicketQueue>,
    pub(crate) people: Vec<Keyed<Contender>>,
    /// The wall clock, apart from the ticks: each install advances it, so that no two holdings are alike.
    pub(crate) wall: u64,
    /// The largest token of all holdings so far.
    pub(crate) largest: Option<u64>,
    pub(crate) left: Left,
    /// Nonces whose holdings were broken by force, and nonces of contenders that gave up: one bit each.
    pub(crate) broken: u64,
    pub(crate) gave_up: u64,
    /// Whether a look has failed: then an install may have been done unseen.
    pub(crate) is_blind: bool,
    /// The number of ticks that the first contender's computer has slept.
    pub(crate) slept: u16,
    /// For each contender, those that were in the queue when it arrived: one bit each.
    pub(crate) came_behind: Vec<u8>,
    /// The first waiter in the queue, in worlds where a process tries once.
    pub(crate) front: Front,
    /// The contenders that have done something: one bit each.
    pub(crate) began: u8,
    /// The next number, and the number that each contender read at first: for a mutant.
    pub(crate) counter: (u64, Vec<u64>),
    /// The promise that is broken.
    pub(crate) fault: Option<&'static str>,
}

/// The numbers of those events that may still happen.
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
    /// It made D at this tick.
    Holds(u16),
}

pub(crate) fn bit(nonce: Nonce) -> u64 {
    1 << (nonce.0 & 63)
}

impl Moment {
    pub(crate) fn is_broken(&self, nonce: Nonce) -> bool {
        self.broken & bit(nonce) != 0
    }

    /// Records the first fault; no step follows it.
    pub(crate) fn blame(&mut self, promise: &'static str) {
        self.fault.get_or_insert(promise);
    }
}
