//! What `lockbydir` and the supervisor of its command send each other: records of one size, over a
//! socket. And what lets the command begin: a deadline, through a pipe.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::{Errno, read, write};

use super::supervisor::now;

const SIZE: usize = 16;

/// From `lockbydir` to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
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

/// From the supervisor to `lockbydir`, or from the command's process before it is the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The supervisor is ready, and has this PID.
    Ready(i32),
    /// The supervisor cannot work, because of this error.
    Failed(i32),
    /// The command cannot be contained: the number of a [`Refused`](super::contain::Refused).
    Refused(i32),
    /// The command's program could not be executed, because of this error. Its end follows.
    NotStarted(i32),
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
            Order::Signal(number) => (1, u64::from(number.cast_unsigned())),
            Order::Ask => (2, 0),
            Order::End => (3, 0),
            Order::Deadline(at) => (4, at),
            Order::Leave => (5, 0),
        }
    }

    fn of((kind, value): (u64, u64)) -> Option<Order> {
        match kind {
            1 => Some(Order::Signal(number(value))),
            2 => Some(Order::Ask),
            3 => Some(Order::End),
            4 => Some(Order::Deadline(value)),
            5 => Some(Order::Leave),
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
            Report::NotStarted(errno) => (7, errno),
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
            7 => Some(Report::NotStarted(number(value))),
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

/// Lets the command begin, if it does so before this time of the boot clock, in milliseconds.
pub(super) fn open_gate(gate: impl AsFd, deadline: u64) -> Result<(), Errno> {
    write(gate, &deadline.to_ne_bytes()).map(drop)
}

/// Waits until the command may begin. If it is too late for that, waits for another deadline.
pub(super) fn wait_at_gate(gate: impl AsFd) -> Result<(), Errno> {
    let mut deadline = [0; 8];
    loop {
        match read(gate.as_fd(), &mut deadline) {
            Err(Errno::INTR) => {}
            Ok(8) if millis(now()) < u64::from_ne_bytes(deadline) => return Ok(()),
            Ok(8) => {}
            // `lockbydir` is gone.
            _ => return Err(Errno::INTR),
        }
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_lets_nobody_pass_after_the_deadline() {
        let (out, into) = std::io::pipe().unwrap();
        let later = millis(now()) + 60_000;

        for deadline in [0, later, 0, later, 0] {
            open_gate(&into, deadline).unwrap();
        }
        drop(into);

        let passed: Vec<_> = (0..3).map(|_| wait_at_gate(&out)).collect();
        assert_eq!(passed, [Ok(()), Ok(()), Err(Errno::INTR)]);
    }
}
