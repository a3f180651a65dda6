//! The operations that machines ask for, and the answers to them: the only interface between the
//! protocol and file systems, fault injectors and model checkers.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::entry::{Entry, Owner};
use crate::ticket::Ticket;
use crate::time::{Now, Stamp};
use crate::verdict::Liveness;

/// One operation on the lock directory D. The part of it that others may see takes effect in one
/// system call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Open D anew and list it.
    Look,
    /// Create a directory beside D, named by the entry's nonce, with the entry in it.
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
    /// Create this open entry in the very directory that our `Unlink` emptied: litter prevents its
    /// removal, and an empty one would block everybody.
    Reopen(Entry),
    /// Ask whether the owner's processes are alive.
    AskLiveness(Owner),
    /// Read the file system's own clock.
    ReadFileClock,
    /// Ask whether the permissions of D's folder let us remove D. In a folder with the sticky bit
    /// only the owner of D and the owner of the folder may.
    AskRemovable,
    /// Ask whether there is a queue beside D with a living waiter in it.
    HasWaiters,
    /// Wake the first waiter, since D is free. [`Fault::Missing`] means that there is no queue,
    /// [`Fault::Taken`] that nobody in it listens.
    WakeFirst,
    /// List the tickets.
    ListQueue,
    /// Create our ticket, and the queue if there is none.
    Enter(Ticket),
    /// Send this handoff to the waiter behind us and remove our ticket.
    Leave(Ticket, Handoff),
    /// Remove the ticket of a waiter that is gone or had its turn, and send this handoff to the waiter
    /// behind it.
    Expel(Ticket, Handoff),
    /// Open the bell, so that every release from now on wakes us.
    Listen,
    /// Remove the queue, with the tickets of waiters that are gone, if nobody else is in it.
    CloseQueue,
    /// Sleep until the wake source reports something, or until this time of the boot clock.
    Sleep(WakeSource, Duration),
}

/// What wakes a waiter from its sleep.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WakeSource {
    /// The waiter that holds this ticket, ahead of us in the queue.
    Ticket(Ticket),
    /// The bell, and the end of these processes.
    Bell(Owner),
    /// Only the clock.
    Nothing,
}

/// The message from a waiter that leaves the queue to the next waiter behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Handoff {
    /// You are first.
    First,
    /// The waiter with this ticket is now ahead of you.
    Behind(Ticket),
}

/// The reason why a sleep ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wake {
    /// The time to wake was reached.
    Time,
    /// The bell rang: the lock is free.
    Notified,
    /// The waiter ahead left, and sent this.
    HandoffReceived(Handoff),
    /// The waiter ahead is gone and sent nothing.
    PeerGone,
    /// A process of the holder has ended.
    Ended,
    /// Our own ticket is gone.
    Expelled,
    /// Somebody asked to end the wait.
    Interrupted,
}

/// The result of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The answer to `Look`.
    Seen(Observation),
    /// Done; after `Unlink`, D's change time where it could be read.
    Done(Option<Stamp>),
    /// The call reported a failure. On a file system that is not local it may be done all the same.
    Failed(Fault),
    /// The answer to `AskLiveness`.
    Liveness(Liveness),
    /// The answer to `ReadFileClock`.
    FileClock(Stamp),
    /// The answer to `AskRemovable`.
    Removable(bool),
    /// The answer to `HasWaiters`.
    Somebody(bool),
    /// The answer to `ListQueue`; empty where there is no queue.
    Queue(Vec<Ticket>),
    /// The answer to `Sleep`.
    Woken(Wake),
}

/// Why an operation failed, in the classes that the protocol distinguishes; `code` is the system's own
/// error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The name to change is not there, or not any more.
    Missing,
    /// The name exists already, or the directory is not empty or is being deleted: look again.
    Taken,
    /// The parent folder is missing or is not a directory, or the name is too long for it.
    NoPlace {
        /// The system's error number.
        code: i32,
    },
    /// Permission denied.
    Denied {
        /// The system's error number.
        code: i32,
    },
    /// No space, over quota, too many open files, no memory, or interrupted: this may pass.
    Full {
        /// The system's error number.
        code: i32,
    },
    /// The file system is read-only.
    ReadOnly {
        /// The system's error number.
        code: i32,
    },
    /// Any other error.
    Broken {
        /// The system's error number.
        code: i32,
    },
}

/// What a look found at D's path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Observation {
    /// There is nothing.
    Absent,
    /// Something that is not ours to touch.
    Foreign(Foreign),
    /// A directory.
    Directory(Listing),
}

/// Why what is at D's path is foreign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// A symbolic link.
    Symlink,
    /// A file, or anything else that is not a directory.
    NotADirectory,
    /// A directory that contains this foreign name (escaped for terminals).
    Holds(String),
    /// A directory with more than one entry of ours, look after look.
    TwoEntries,
    /// A directory with more names than a lock directory ever has.
    TooMany,
    /// The token has reached its largest value.
    Exhausted,
}

/// A lock directory's content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listing {
    /// The names that are entries of our grammar.
    pub entries: Vec<Entry>,
    /// Why it is not a lock directory, where it contains something that none has.
    pub foreign: Option<Foreign>,
    /// The name of a file that systems leave in every directory (`.nfs*`, `.DS_Store`): tolerated and
    /// never deleted, but D cannot be removed with it; so such a D is left with an open entry.
    pub litter: Option<String>,
    /// D's change time (`st_ctime`, which no user can set), by the file system's clock. It is read after
    /// the entries, so it is never older than they are.
    pub modified: Stamp,
    /// The user that D belongs to, where that is another user and D is not shared on purpose.
    pub stranger: Option<u32>,
}

/// What a machine asks for next.
#[expect(clippy::large_enum_variant, reason = "one exists at a time, on the stack")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step<T> {
    /// Perform this and pass the answer to [`Machine::resume`].
    Perform(Operation),
    /// The verb has ended with this outcome.
    Finished(T),
}

/// A verb (acquire, renew, release, ...) as a state machine.
pub trait Machine {
    /// How the verb can end.
    type Outcome;
    /// Starts the verb and returns its first step.
    fn start(&mut self, now: Now) -> Step<Self::Outcome>;
    /// Takes the answer to the last operation and returns the next step.
    fn resume(&mut self, now: Now, answer: Answer) -> Step<Self::Outcome>;
}

/// How often a listing is read again that shows two entries, or not the entry that is expected. Each
/// rename during a listing can cause one such look, so a few are enough.
pub(crate) const TORN_LOOKS: u8 = 8;
