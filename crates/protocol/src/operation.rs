//! What machines ask of the world, and what it answers: the one seam between the protocol and
//! file systems, fault injectors and model checkers.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::entry::{Entry, Owner};
use crate::ticket::Ticket;
use crate::verdict::Liveness;

/// The time, read just before a machine is asked for its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Now {
    /// A clock that runs while the machine is suspended, and is never set.
    pub boot: Duration,
    /// The wall clock, since 1970. Never decides who lives; numbers start from it.
    pub wall: Duration,
}

/// A directory's change time in nanoseconds since 1970: tells whether it changed in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp(pub i128);

/// One thing to do to the lock directory D. Whatever others may see of it takes effect at one
/// system call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Open D anew and list it.
    Look,
    /// Make a directory beside D, named by the entry's nonce, with the entry inside.
    Stage(Entry),
    /// Rename that directory to D, without replacing anything.
    Install(Entry),
    /// Remove that directory, wherever the attempt left it.
    Unstage(Entry),
    /// Rename one entry of D to another.
    Rename(Entry, Entry),
    /// Unlink one entry of D.
    Unlink(Entry),
    /// Remove D if it is still empty and was not changed since this stamp.
    RemoveDir(Stamp),
    /// Make this open entry in the very directory that our `Unlink` emptied: litter keeps it from
    /// vanishing, and an empty one would block everybody.
    Reopen(Entry),
    /// Are the owner's processes alive?
    AskLiveness(Owner),
    /// What does the file system's own clock say?
    ReadFileClock,
    /// May we remove D, as far as the permissions of its folder say? In a folder with the sticky bit
    /// only D's owner may, and the folder's.
    AskRemovable,
    /// Is there a queue beside D, with somebody in it who lives?
    HasWaiters,
    /// Wake the first in the queue: D is free. "Missing" says that there is no queue, "taken" that
    /// nobody in it listens.
    WakeFirst,
    /// List the tickets.
    ListQueue,
    /// Make our ticket, and the queue if there is none.
    Enter(Ticket),
    /// Tell this to the one behind us and remove our ticket.
    Leave(Ticket, Handoff),
    /// Remove the ticket of one that is gone or had its turn, and tell this to the one behind.
    Expel(Ticket, Handoff),
    /// From now on, hear the bell that a release rings.
    Listen,
    /// Remove the queue, with the tickets of those who are gone, if nobody is in it.
    CloseQueue,
    /// Sleep until something is heard, or until this time of the boot clock.
    Sleep(WakeSource, Duration),
}

/// What one who sleeps listens to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WakeSource {
    /// To the one ahead in the queue.
    Ticket(Ticket),
    /// To the bell, and to the end of these processes.
    Bell(Owner),
    /// To nothing but the clock.
    Nothing,
}

/// What one who leaves the queue tells the one behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Handoff {
    /// Nobody is before you.
    First,
    /// This one is before you.
    Behind(Ticket),
}

/// What ended a sleep.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wake {
    /// The time has come.
    Time,
    /// The bell: the lock is free.
    Notified,
    /// The one ahead, leaving.
    HandoffReceived(Handoff),
    /// The one ahead is gone without a word.
    PeerGone,
    /// A process of the holder has ended.
    Ended,
    /// Our own ticket is gone.
    Expelled,
    /// Somebody asked to end the wait.
    Interrupted,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// To `Look`.
    Seen(Observation),
    /// Done; after `Unlink`, D's change time where it could be read.
    Done(Option<Stamp>),
    /// Not done, as far as the answer tells.
    Failed(Fault),
    /// To `AskLiveness`.
    Liveness(Liveness),
    /// To `ReadFileClock`.
    FileClock(Stamp),
    /// To `AskRemovable`.
    Removable(bool),
    /// To `HasWaiters`.
    Somebody(bool),
    /// To `ListQueue`; empty where there is no queue.
    Queue(Vec<Ticket>),
    /// To `Sleep`.
    Woken(Wake),
}

/// Why an operation failed, as far as the protocol cares; `code` is the system's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The thing to change is not there (any more).
    Missing,
    /// Something is already there, or not empty, or being deleted: look again.
    Taken,
    /// The parent folder is missing or no directory, or the name is too long for it.
    NoPlace {
        /// The system's error number.
        code: i32,
    },
    /// Permission denied.
    Denied {
        /// The system's error number.
        code: i32,
    },
    /// No space, over quota, too many open files, no memory, or interrupted: may pass.
    Full {
        /// The system's error number.
        code: i32,
    },
    /// The file system is read-only.
    ReadOnly {
        /// The system's error number.
        code: i32,
    },
    /// Anything else.
    Broken {
        /// The system's error number.
        code: i32,
    },
}

/// What a look found at D's path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Observation {
    /// Nothing there.
    Absent,
    /// Something that is not ours to touch.
    Foreign(Foreign),
    /// A directory.
    Directory(Listing),
}

/// Why a thing at D's path is foreign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// A symbolic link.
    Symlink,
    /// A file, or anything else that is no directory.
    NotADirectory,
    /// A directory that holds a thing of this name (escaped for terminals).
    Holds(String),
    /// More than one entry of ours, look after look.
    TwoEntries,
    /// More things than a lock directory ever has.
    TooMany,
    /// The token has reached its largest value.
    Exhausted,
}

/// A lock directory's content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listing {
    /// Entries of our grammar.
    pub entries: Vec<Entry>,
    /// Why it is no lock directory, where it holds what none does.
    pub foreign: Option<Foreign>,
    /// The name of a leftover that systems strew about (`.nfs*`, `.DS_Store`): tolerated, never
    /// deleted, but it keeps D from vanishing; so such a D is left with an open entry.
    pub litter: Option<String>,
    /// D's change time (`st_ctime`: no user can set it), by the file system's clock; read after the
    /// entries, so that it is never older than they are.
    pub modified: Stamp,
    /// The user D belongs to, where that is neither this one nor shared on purpose.
    pub stranger: Option<u32>,
}

/// What a machine wants next.
#[expect(clippy::large_enum_variant, reason = "one exists at a time, on the stack")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step<T> {
    /// Perform this and tell the answer to [`Machine::resume`].
    Perform(Operation),
    /// The verb is over.
    Finished(T),
}

/// A verb, step by step.
pub trait Machine {
    /// How the verb can end.
    type Outcome;
    /// The first step.
    fn start(&mut self, now: Now) -> Step<Self::Outcome>;
    /// The next step, told what came of the last.
    fn resume(&mut self, now: Now, answer: Answer) -> Step<Self::Outcome>;
}

/// How often a listing that shows two entries, or none that should be there, is read again.
pub(crate) const TORN_LOOKS: u8 = 8;
