//! The lies that a file system tells, and where they fit: which of them a call can be answered
//! with, on a file system that one kernel owns and elsewhere.

use std::time::Duration;

use lockbydir::simulated::Kind;
use rustix::io::Errno;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It is not done, and fails with this.
    Refused(Errno),
    /// It is done, and fails with this all the same.
    DoneBut(Errno),
    /// It is not done, and said to be.
    NotDone,
    /// A rename of a stage to D is answered by moving the stage into D.
    MovedInto,
    /// The process is stopped for so long before it.
    StalledBefore(Duration),
    /// The call is done, and the process stopped for so long after it.
    StalledAfter(Duration),
    /// The process dies before it.
    DiedBefore,
    /// The process dies after it.
    DiedAfter,
    /// Somebody else does something from its beginning to its end before it.
    Meanwhile,
    /// The same, after it.
    MeanwhileAfter,
}

impl Lie {
    /// A lie is told by the file system; a stall, a death and a neighbour are no lies.
    #[must_use]
    pub fn is_of_the_file_system(self) -> bool {
        matches!(self, Lie::Refused(_) | Lie::DoneBut(_) | Lie::NotDone | Lie::MovedInto)
    }

    /// How it is counted.
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

    /// The error number it tells.
    #[must_use]
    pub fn errno(self) -> Option<Errno> {
        match self {
            Lie::Refused(errno) | Lie::DoneBut(errno) => Some(errno),
            Lie::MovedInto => Some(Errno::EXIST),
            _ => None,
        }
    }

    /// Everything that can become of such a call.
    ///
    /// Where one kernel owns the file system, "done" is done and "no such file" is true: that much
    /// the protocol asks of a kernel (docs/protocol.md, "Bad answers"). Other errors may be wrong there,
    /// too.
    #[must_use]
    pub fn all(kind: Kind, is_local: bool, stall: Duration) -> Vec<Lie> {
        let mut lies: Vec<Lie> =
            refusals(kind, is_local).iter().copied().map(Lie::Refused).collect();
        if kind == Kind::Install {
            // So says a file system that has no rename that refuses to replace.
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

/// What a call that was done answers when it is done once more.
fn second_answer(kind: Kind) -> Errno {
    match kind {
        Kind::MakeDir | Kind::MakeFile | Kind::MakePipe => Errno::EXIST,
        _ => Errno::NOENT,
    }
}

/// The errors with which such a call may fail.
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
    // It is last, for a kernel's "no such file" is true.
    if is_local { &all[..all.len() - 1] } else { all }
}
