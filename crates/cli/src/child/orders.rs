//! What `lockbydir` and the supervisor of its command send each other: records of one size, over a
//! socket.

use std::os::fd::AsFd;

use rustix::io::{Errno, read, write};

/// The byte that lets the command's process begin once the lock names its supervisor.
pub(super) const GO: u8 = b'+';
const SIZE: usize = 16;

/// From `lockbydir` to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The command may begin: the lock names the supervisor.
    Go,
    /// Send this signal to the command and those of its descendants that are in its process group.
    Signal(i32),
    /// Ask the command and all that it started to end.
    Ask,
    /// End the command and all that it started.
    End,
    /// The command has ended: leave what it started in the background.
    Leave,
    /// The lock is held until this time, in milliseconds of the boot clock.
    Deadline(u64),
}

/// From the supervisor to `lockbydir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The supervisor is ready, and has this PID.
    Ready(i32),
    /// The supervisor cannot work, because of this error.
    Failed(i32),
    /// The command cannot be contained: the number of a [`Refused`](super::contain::Refused).
    Refused(i32),
    /// The command has ended, with this status.
    Ended(i32),
    /// This process could not be ended.
    Survivor(i32),
    /// All processes were ended except those that were reported.
    Done,
}

impl Order {
    fn record(self) -> (u64, u64) {
        match self {
            Order::Go => (1, 0),
            Order::Signal(number) => (2, u64::from(number.cast_unsigned())),
            Order::Ask => (3, 0),
            Order::End => (4, 0),
            Order::Deadline(at) => (5, at),
            Order::Leave => (6, 0),
        }
    }

    fn of((kind, value): (u64, u64)) -> Option<Order> {
        match kind {
            1 => Some(Order::Go),
            2 => Some(Order::Signal(number(value))),
            3 => Some(Order::Ask),
            4 => Some(Order::End),
            5 => Some(Order::Deadline(value)),
            6 => Some(Order::Leave),
            _ => None,
        }
    }

    pub(super) fn send(self, to: impl AsFd) -> Result<(), Errno> {
        send(to, self.record())
    }

    /// Reads the next order; `None` when `lockbydir` is gone.
    pub(super) fn receive(from: impl AsFd) -> Option<Order> {
        receive(from).ok().flatten().and_then(Order::of)
    }
}

impl Report {
    fn record(self) -> (u64, u64) {
        let (kind, value) = match self {
            Report::Ready(pid) => (1, pid),
            Report::Failed(errno) => (2, errno),
            Report::Ended(status) => (3, status),
            Report::Survivor(pid) => (4, pid),
            Report::Done => (5, 0),
            Report::Refused(number) => (6, number),
        };
        (kind, u64::from(value.cast_unsigned()))
    }

    fn of((kind, value): (u64, u64)) -> Option<Report> {
        match kind {
            1 => Some(Report::Ready(number(value))),
            2 => Some(Report::Failed(number(value))),
            3 => Some(Report::Ended(number(value))),
            4 => Some(Report::Survivor(number(value))),
            5 => Some(Report::Done),
            6 => Some(Report::Refused(number(value))),
            _ => None,
        }
    }

    pub(super) fn send(self, to: impl AsFd) {
        // An error means that no reader is left.
        let _ = send(to, self.record());
    }

    /// Reads the next report; `None` when the supervisor is gone.
    pub(super) fn receive(from: impl AsFd) -> Result<Option<Report>, Errno> {
        Ok(receive(from)?.and_then(Report::of))
    }
}

fn number(value: u64) -> i32 {
    // It was sent as 32 bits.
    (value & u64::from(u32::MAX)) as u32 as i32
}

fn send(to: impl AsFd, (kind, value): (u64, u64)) -> Result<(), Errno> {
    let mut bytes = [0; SIZE];
    bytes[..8].copy_from_slice(&kind.to_ne_bytes());
    bytes[8..].copy_from_slice(&value.to_ne_bytes());
    loop {
        match write(to.as_fd(), &bytes) {
            Err(Errno::INTR) => {}
            done => return done.map(drop),
        }
    }
}

/// Reads a record; `None` at the end of the stream.
fn receive(from: impl AsFd) -> Result<Option<(u64, u64)>, Errno> {
    let mut bytes = [0; SIZE];
    let mut filled = 0;
    while filled < SIZE {
        match read(from.as_fd(), &mut bytes[filled..]) {
            Ok(0) => return Ok(None),
            Ok(more) => filled += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let mut halves = [[0; 8]; 2];
    halves[0].copy_from_slice(&bytes[..8]);
    halves[1].copy_from_slice(&bytes[8..]);
    Ok(Some((u64::from_ne_bytes(halves[0]), u64::from_ne_bytes(halves[1]))))
}
