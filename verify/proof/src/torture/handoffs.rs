//! How long handoffs between two hosts take, from the histories of a run.

use std::time::Duration;

use super::worker_pool::client;
use crate::history::Record;

/// Returns the times from the start of a release until a waiter had the lock, sorted: on the same host,
/// and between two.
#[must_use]
pub fn handoffs(record: &Record) -> [Vec<Duration>; 2] {
    let mut by_start: Vec<_> = record.holds.iter().filter(|hold| hold.end > hold.start).collect();
    by_start.sort_by_key(|hold| hold.start);
    let place = |worker: &str| worker.split('.').next().and_then(|place| place.parse().ok());
    let host = |worker: &str| place(worker).map(client);
    let mut between = [Vec::new(), Vec::new()];
    for pair in by_start.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        // A waiter that arrived when the lock was already free is no measure, nor is one after a fault.
        let is_calm =
            !record.faults.iter().any(|fault| fault.from <= after.start && before.end <= fault.to);
        if after.since < before.end
            && before.end <= after.start
            && is_calm
            && after.how != "after-expiry"
        {
            let other = usize::from(host(&before.worker) != host(&after.worker));
            between[other].push(Duration::from_nanos(after.start - before.end));
        }
    }
    between.iter_mut().for_each(|gaps| gaps.sort());
    between
}
