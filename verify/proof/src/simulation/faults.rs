//! The faults of a call, and where they are possible: which of them a call can be answered with, on a local
//! file system and elsewhere.

use std::time::Duration;

use lockbydir::simulated::Kind;
use rustix::io::Errno;

/// A fault of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It is not done, and fails with this error.
    Refused(Errno),
    /// It is done, but fails with this error.
    DoneBut(Errno),
    /// It is not done, but reported as done.
    NotDone,
    /// A rename of a stage to D is answered by moving the stage into D.
    MovedInto,
    /// The process is stopped for this time before the call.
    StalledBefore(Duration),
    /// The process is stopped for this time after the call.
    StalledAfter(Duration),
    /// The process dies before the call.
    DiedBefore,
    /// The process dies after the call.
    DiedAfter,
    /// Another process performs all its actions before the call.
    Meanwhile,
    /// The same, after the call.
    MeanwhileAfter,
}

impl Lie {
    /// Whether this is a lie of the file system; a stall, a death and another process are not.
    #[must_use]
    pub fn is_of_the_file_system(self) -> bool {
        matches!(self, Lie::Refused(_) | Lie::DoneBut(_) | Lie::NotDone | Lie::MovedInto)
    }

    /// Returns the name under which it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Lie::Refused(_) => "refused",
            Lie::DoneBut(_) => "done, but said to have failed",
            Lie::NotDone => "not done, but said to be",
            Lie::MovedInto => "moved into, or so meant",
            Lie::StalledBefore(_) | Lie::StalledAfter(_) => "stalled",
            Lie::DiedBefore | Lie::DiedAfter => "died",
            Lie::Meanwhile | Lie::MeanwhileAfter => "somebody else meanwhile",
        }
    }

    /// Returns the error that it reports.
    #[must_use]
    pub fn errno(self) -> Option<Errno> {
        match self {
            Lie::Refused(errno) | Lie::DoneBut(errno) => Some(errno),
            Lie::MovedInto => Some(Errno::EXIST),
            _ => None,
        }
    }

    /// Returns every fault that is possible for such a call.
    ///
    /// On a local file system, "done" means done and "no such file" is true: the protocol requires that
    /// much of a kernel (docs/protocol.md, "Bad answers"). Other errors may be wrong there, too.
    #[must_use]
    pub fn all(kind: Kind, is_local: bool, stall: Duration) -> Vec<Lie> {
        let mut lies: Vec<Lie> =
            refusals(kind, is_local).iter().copied().map(Lie::Refused).collect();
        if kind == Kind::Install {
            // A file system without a rename that refuses to replace returns this.
            lies.push(Lie::Refused(Errno::INVAL));
        }
        lies.extend([Lie::StalledBefore(stall), Lie::StalledAfter(stall)]);
        lies.extend([Lie::DiedBefore, Lie::DiedAfter]);
        if kind.is_change() {
            lies.extend([Errno::IO, Errno::INTR].map(Lie::DoneBut));
            if !is_local {
                lies.push(Lie::NotDone);
                // The reply was lost, and the call sent once more.
                lies.push(Lie::DoneBut(second_answer(kind)));
                lies.push(Lie::DoneBut(Errno::STALE));
            }
        }
        if kind == Kind::Install && !is_local {
            lies.push(Lie::MovedInto);
        }
        lies
    }
}

/// Returns the error of a call that was done and is then done once more.
fn second_answer(kind: Kind) -> Errno {
    match kind {
        Kind::MakeDir | Kind::MakeFile | Kind::MakePipe => Errno::EXIST,
        _ => Errno::NOENT,
    }
}

/// Returns the errors with which such a call may fail.
fn refusals(kind: Kind, is_local: bool) -> &'static [Errno] {
    const CHANGE: &[Errno] = &[
        Errno::IO,
        Errno::ACCESS,
        Errno::INTR,
        Errno::STALE,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::EXIST,
        Errno::NOTEMPTY,
        Errno::NOENT,
    ];
    const QUESTION: &[Errno] = &[Errno::IO, Errno::ACCESS, Errno::INTR, Errno::STALE, Errno::NOENT];
    let all = if kind.is_change() { CHANGE } else { QUESTION };
    // `NOENT` is last, because a kernel's "no such file" is true.
    if is_local { &all[..all.len() - 1] } else { all }
}

/// A fault that is injected into a particular call.
#[derive(Clone, Copy, Debug)]
pub struct InjectedFault {
    /// The process whose call it is.
    pub who: usize,
    /// The number of the process's action, from 1.
    pub deed: usize,
    /// The number of the call in that action, from 1.
    pub call: u32,
    /// Whether it applies to every call of the same kind from then on.
    pub persists: bool,
    /// The fault.
    pub lie: Lie,
}

/// The rates of random events, in a thousand calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultRates {
    /// The call gets a fault.
    pub lies: u64,
    /// The turn passes to another process.
    pub turns: u64,
}
