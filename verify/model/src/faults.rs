//! How the world lies: what a file system may do with one operation.

use lockbydir_protocol::Operation;

/// How an answer lies, or what goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trick {
    /// Done; the request is sent a second time and finds the object already gone.
    DoneButMissing,
    /// Done; the request is sent a second time and finds something in its way.
    DoneButTaken,
    /// Done, but the reply reports a failure.
    DoneButBroken,
    /// Reported as done, but not done.
    NotDone,
    /// Not done, and reported so.
    Refused,
    /// Reported as done, but the stage was moved into D.
    MovedInside,
    /// A look that shows the state before the last change.
    Stale,
    /// A listing that shows a renamed entry under both names.
    TornBoth,
    /// A listing that shows a renamed entry under no name.
    TornNone,
}

impl Trick {
    /// Returns the tricks that are possible for this operation.
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
