//! A lease: how long it is ours for certain.

use std::time::Duration;

use lockbydir_protocol::margin;

/// A lease, from its grant on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    /// As it was granted, which may be longer than was asked for.
    pub(crate) timeout: Duration,
    /// When the request was sent that it counts from, on the boot clock.
    sent: Duration,
    /// A later one that was answered, when it was sent, and in which term of the leader.
    offered: Option<(Duration, u64)>,
}

impl Lease {
    /// One whose grant was asked for at this time of the boot clock.
    pub(crate) fn new(id: i64, timeout: Duration, sent: Duration) -> Lease {
        Lease { id, timeout, sent, offered: None }
    }

    /// From then on it counts as over. The servers count from a later moment, and end no lease
    /// before.
    pub(crate) fn deadline(&self) -> Duration {
        self.sent.saturating_add(self.timeout).saturating_sub(margin(self.timeout))
    }

    /// When it is to be renewed.
    pub(crate) fn due(&self) -> Duration {
        let (sent, _) = self.offered.unwrap_or((self.sent, 0));
        sent.saturating_add(self.timeout / 3)
    }

    /// A keep-alive was answered, which was sent at `sent` to a member that knew this term. It
    /// does not count yet: a member may have led once and not know that it leads no more, and
    /// then its answer is worth nothing. Nor if the answer came `now`, after the deadline: then
    /// the lease's end may be under way.
    #[must_use]
    pub(crate) fn offer(&mut self, sent: Duration, term: u64, now: Duration) -> bool {
        let is_in_time = now < self.deadline();
        if is_in_time {
            self.offered = Some((sent, term));
        }
        is_in_time
    }

    /// A transaction was answered after that, by a majority, in this term. If it is the same, the
    /// one who led then had the keep-alive.
    pub(crate) fn confirm(&mut self, term: u64) -> bool {
        let offered = self.offered.take();
        let sent = offered.filter(|(_, told)| *told == term && term != 0).map(|(sent, _)| sent);
        self.sent = sent.map_or(self.sent, |sent| sent.max(self.sent));
        sent.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_counts_from_the_sending_of_what_was_answered_less_a_margin() {
        let mut lease = Lease::new(7, secs(10), secs(100));
        assert_eq!(lease.deadline(), secs(110) - Duration::from_millis(500));

        // Sent at 103, answered at 105.
        assert!(lease.offer(secs(103), 4, secs(105)));
        assert!(lease.confirm(4));

        assert_eq!(lease.deadline(), secs(113) - Duration::from_millis(500));
    }

    #[test]
    fn an_answer_that_comes_after_the_deadline_does_not_count() {
        let mut lease = Lease::new(7, secs(10), secs(100));

        assert!(!lease.offer(secs(103), 4, secs(110)));
        assert!(!lease.confirm(4));

        assert_eq!(lease.deadline(), secs(110) - Duration::from_millis(500));
    }

    #[test]
    fn an_answer_of_one_who_leads_no_more_does_not_count() {
        let mut lease = Lease::new(7, secs(10), secs(100));

        assert!(lease.offer(secs(103), 4, secs(104)));
        assert!(!lease.confirm(5));
        assert!(!lease.confirm(4));

        assert_eq!(lease.deadline(), secs(110) - Duration::from_millis(500));
    }
}
