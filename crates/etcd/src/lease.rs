//! A lease: until when it is certainly ours.

use std::time::Duration;

use lockbydir_protocol::margin;

/// A kept lease is used as it is if it was renewed at most this part of its timeout ago: small, so that a
/// holding begins with nearly its whole timeout.
const FRESH_PART: u32 = 20;

/// A lease, from its grant on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    /// As it was granted, which may be longer than was asked for.
    pub(crate) timeout: Duration,
    /// The time to live that was asked for, in seconds, and the term of the leader that granted it; none
    /// if another process may have asked.
    grant: Option<(i64, u64)>,
    /// Whether the leader may be another than the one that granted it.
    is_of_earlier_term: bool,
    /// When the request that it counts from was sent, on the boot clock.
    sent: Duration,
    /// A later request that was answered but is not confirmed yet: when it was sent, and in which term of
    /// the leader.
    offered: Option<(Duration, u64)>,
}

impl Lease {
    /// Creates a lease whose grant was requested at this time of the boot clock.
    pub(crate) fn new(id: i64, timeout: Duration, sent: Duration) -> Lease {
        Lease { id, timeout, grant: None, is_of_earlier_term: false, sent, offered: None }
    }

    /// Notes what this process asked for, and the term of the leader that granted it.
    pub(crate) fn granted(self, seconds: i64, term: u64) -> Lease {
        Lease { grant: Some((seconds, term)), ..self }
    }

    /// Returns true if an acquisition with this timeout would ask for just this lease.
    pub(crate) fn is_for(&self, timeout: Duration) -> bool {
        self.grant.is_some_and(|(asked, _)| asked == seconds(timeout))
    }

    /// Returns true if a later holding may have it: this process was granted it, and the same leader still
    /// leads. A leader that was replaced may end it when it is back, if the server is an old one.
    pub(crate) fn may_be_kept(&self) -> bool {
        self.grant.is_some_and(|(_, term)| term != 0) && !self.is_of_earlier_term
    }

    /// Returns until when a later holding may begin with it, on the boot clock.
    pub(crate) fn usable_until(&self) -> Duration {
        self.sent.saturating_add(self.timeout / 2)
    }

    /// Returns true if nearly its whole timeout is left, so that a holding may begin without a keep-alive.
    pub(crate) fn is_fresh(&self, now: Duration) -> bool {
        now < self.sent.saturating_add(self.timeout / FRESH_PART)
    }

    /// Returns the time from which it counts as over. The servers count from a later moment, and end no
    /// lease earlier.
    pub(crate) fn deadline(&self) -> Duration {
        self.sent.saturating_add(self.timeout).saturating_sub(margin(self.timeout))
    }

    /// Returns when it is to be renewed.
    pub(crate) fn due(&self) -> Duration {
        let (sent, _) = self.offered.unwrap_or((self.sent, 0));
        sent.saturating_add(self.timeout / 3)
    }

    /// Notes the answer to a keep-alive that was sent at `sent` to a member in this term; returns whether
    /// it was in time. It does not count before it is confirmed: the member may have led once and not know
    /// that it no longer leads, and then its answer proves nothing. An answer after the deadline never
    /// counts: then the end of the lease may be under way.
    #[must_use]
    pub(crate) fn offer(&mut self, sent: Duration, term: u64, now: Duration) -> bool {
        let is_in_time = now < self.deadline();
        if is_in_time {
            self.offered = Some((sent, term));
        }
        is_in_time
    }

    /// Notes the answer of a majority to a later transaction, in this term. If that is the term of the
    /// keep-alive, the true leader had the keep-alive, and it counts; returns whether it does.
    pub(crate) fn confirm(&mut self, term: u64) -> bool {
        self.is_of_earlier_term |= self.grant.is_some_and(|(_, granted)| granted != term);
        let offered = self.offered.take();
        let sent = offered.filter(|(_, known)| *known == term && term != 0).map(|(sent, _)| sent);
        self.sent = sent.map_or(self.sent, |sent| sent.max(self.sent));
        sent.is_some()
    }
}

/// Returns a timeout as servers count it: whole seconds, rounded up.
pub(crate) fn seconds(timeout: Duration) -> i64 {
    i64::try_from(timeout.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_counts_from_the_sending_of_an_answered_request() {
        let mut lease = Lease::new(7, secs(10), secs(100));
        assert_eq!(lease.deadline(), secs(110) - Duration::from_millis(500));

        // Sent at 103, answered at 105.
        assert!(lease.offer(secs(103), 4, secs(105)));
        assert!(lease.confirm(4));

        assert_eq!(lease.deadline(), secs(113) - Duration::from_millis(500));
    }

    #[test]
    fn an_answer_after_the_deadline_does_not_count() {
        let mut lease = Lease::new(7, secs(10), secs(100));

        assert!(!lease.offer(secs(103), 4, secs(110)));
        assert!(!lease.confirm(4));

        assert_eq!(lease.deadline(), secs(110) - Duration::from_millis(500));
    }

    #[test]
    fn a_lease_is_kept_for_the_same_timeout_and_within_one_term() {
        let mut lease = Lease::new(7, secs(10), secs(100)).granted(10, 4);
        assert!(lease.is_for(secs(10)) && lease.is_for(Duration::from_millis(9_001)));
        assert!(!lease.is_for(secs(9)) && !lease.is_for(secs(11)));
        assert!(lease.is_fresh(secs(100)) && !lease.is_fresh(secs(101)));

        assert!(!lease.confirm(4));
        assert!(lease.may_be_kept());
        assert!(!lease.confirm(5) && !lease.confirm(4));
        assert!(!lease.may_be_kept());

        assert!(!Lease::new(7, secs(10), secs(100)).may_be_kept());
        assert!(!Lease::new(7, secs(10), secs(100)).granted(10, 0).may_be_kept());
    }

    #[test]
    fn an_answer_of_a_former_leader_does_not_count() {
        let mut lease = Lease::new(7, secs(10), secs(100));

        assert!(lease.offer(secs(103), 4, secs(104)));
        assert!(!lease.confirm(5));
        assert!(!lease.confirm(4));

        assert_eq!(lease.deadline(), secs(110) - Duration::from_millis(500));
    }
}
