//! How the world lies: what a file system may do to one operation.

use lockbydir_protocol::Operation;

/// How an answer lies, or what goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trick {
    /// Done; the second sending finds nothing left to do.
    DoneButMissing,
    /// Done; the second sending finds something in its way.
    DoneButTaken,
    /// Done, but the reply says that it broke.
    DoneButBroken,
    /// Said to be done, and not done.
    NotDone,
    /// Not done, and said so.
    Refused,
    /// Said to be done: the stage was moved into D.
    MovedInside,
    /// A look at what was before the last change.
    Stale,
    /// A listing that shows a renamed entry under both names.
    TornBoth,
    /// A listing that shows a renamed entry under no name.
    TornNone,
}

impl Trick {
    /// Which may be played on this operation.
    pub(crate) fn on(operation: &Operation, is_local: bool) -> &'static [Trick] {
        use Trick::{
            DoneButBroken, DoneButMissing, DoneButTaken, MovedInside, NotDone, Refused, Stale,
            TornBoth, TornNone,
        };
        match operation {
            Operation::Look if is_local => &[Refused, TornBoth, TornNone],
            Operation::Look => &[Refused, TornBoth, TornNone, Stale],
            Operation::Install(_)
            | Operation::Rename(..)
            | Operation::Unlink(_)
            | Operation::RemoveDir(_)
            | Operation::ReadFileClock
                if is_local =>
            {
                &[Refused]
            }
            Operation::Install(_) => {
                &[DoneButMissing, DoneButTaken, DoneButBroken, NotDone, Refused, MovedInside]
            }
            Operation::Rename(..) => {
                &[DoneButMissing, DoneButTaken, DoneButBroken, NotDone, Refused]
            }
            Operation::Unlink(_) | Operation::RemoveDir(_) => {
                &[DoneButMissing, DoneButTaken, DoneButBroken, Refused]
            }
            Operation::ReadFileClock => &[Refused],
            _ => &[],
        }
    }
}
