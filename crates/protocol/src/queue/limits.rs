//! The times and counts of waiting.

use core::time::Duration;

/// A first waiter that leaves a lock free for this long is passed over: it is stopped or too slow. A
/// waiter that runs takes a free lock within a few milliseconds.
pub const PASS_OVER_AFTER: Duration = Duration::from_millis(100);
/// How long a waiter may take to open its new ticket. A ticket that is older and that nobody has open
/// is of a waiter that is gone.
pub(super) const ENTERING_TIME: Duration = Duration::from_secs(1);
/// How many orders a waiter takes at most when it enters the queue: a limit, so that others who enter
/// all the time cannot keep it from its place.
pub(super) const MAX_ORDERS: u8 = 8;
/// After this many removals of its ticket by others a waiter waits without one: another user who may
/// write in the queue could remove every new ticket.
pub(super) const MAX_EXPULSIONS: u8 = 4;
/// After this many removals of dead tickets, or attempts, without a sleep in between, a waiter waits
/// without a ticket: there may be thousands of them, and nobody looks at D meanwhile.
pub(super) const MAX_REMOVALS: u8 = 16;
/// How many tries in a row may end with a [`Fault::Broken`](crate::Fault::Broken): a disk may fail once, and the next failure
/// after this many is reported, so that a dead disk is reported soon.
pub(super) const MAX_BROKEN_TRIES: u8 = 8;
/// How long a waiter sleeps before it looks again whether the waiter ahead has opened its new ticket.
pub(super) const NAP: Duration = Duration::from_millis(5);
/// The time between two looks of the first waiter where a release rings the bell: long, since a look
/// then only finds what the bell missed.
pub(super) const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two looks of all other waiters together: each waits this long for every ticket in
/// the queue, so the cost does not grow with the queue.
pub(super) const INTERVAL_PER_TICKET: Duration = Duration::from_millis(20);
/// The shortest and the longest time between two looks of a waiter that is not first.
pub(super) const OTHERS_INTERVAL: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(10));
/// The shortest time between two looks where nothing reports a change.
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
/// The longest such time, unless [`Queue::poll_interval`](crate::Queue::poll_interval) sets another.
pub const PACE: Duration = Duration::from_millis(50);
