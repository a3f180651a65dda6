//! What is recorded of tries by processes without patience; `passing_over` has the rule.

use lockbydir_protocol::{Entry, Ticket};

/// The first waiter in the queue of a free lock, and the tick since which it has been first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Front {
    pub(crate) first: Option<Ticket>,
    /// The free object: an entry, or a directory with this change time.
    pub(crate) free: Option<(Option<Entry>, Option<u16>)>,
    pub(crate) since: u16,
}

/// The observations and actions of one try.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OneTry {
    /// The waiter whose moment was over when the try last looked.
    pub(crate) is_late: Option<Ticket>,
    pub(crate) pauses: u8,
}
