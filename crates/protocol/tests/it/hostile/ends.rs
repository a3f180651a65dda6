//! The rules for how a verb may end.

use lockbydir_protocol::promise::*;
use lockbydir_protocol::*;

use super::rules::{Rules, Verb};

impl Rules {
    pub(crate) fn acquired(&self, outcome: &Acquisition, request: &AcquireRequest, now: Now) {
        hold!(
            WHO_GIVES_UP_NEVER_GETS_IT_LATER,
            self.staged.is_none(),
            "a stage stays: {outcome:?}"
        );
        match outcome {
            Acquisition::Got(entry, _) => {
                let shown =
                    matches!(&self.last, Some((Operation::Look, _))) && self.is_shown(entry);
                let done = match &self.last {
                    Some((Operation::Install(to) | Operation::Rename(_, to), Answer::Done(_))) => {
                        self.here.is_local && to == entry
                    }
                    _ => false,
                };
                hold!(AT_MOST_ONE_VALID_HOLDER, shown || done, "it is not there: {entry}");
                assert_eq!((entry.nonce, entry.state), (request.nonce, State::Held));
                let is_forged =
                    |shown: &Entry| shown.nonce == self.nonce && !self.made.contains(shown);
                if !self.shown.iter().any(|(shown, _)| is_forged(shown)) {
                    assert_eq!((entry.timeout, entry.owner), (request.timeout, request.owner));
                    assert!(entry.fenced >= request.fenced);
                }
                let half = entry.stamp + entry.timeout / 2;
                assert!(now.boot < half, "returned with little of its time left: {entry}");
            }
            Acquisition::Blocked(Blocker::Held { entry, until }) => {
                assert!(self.is_shown(entry), "blocks, and is not there: {entry}");
                assert!(*until > now.boot, "blocked by what has expired: {entry}");
            }
            _ => {}
        }
    }

    pub(crate) fn renewed(&self, outcome: &Renewal, request: &RenewRequest, now: Now) {
        let Renewal::Renewed(entry) = outcome else {
            return;
        };
        assert_eq!((entry.nonce, entry.state), (self.nonce, State::Held));
        hold!(AT_MOST_ONE_VALID_HOLDER, self.made.contains(entry), "not what was asked: {entry}");
        assert!(entry.stamp <= now.boot);
        assert!(request.timeout.is_none_or(|timeout| timeout == entry.timeout));
        assert!(request.owner.is_none_or(|owner| owner == entry.owner));
    }

    pub(crate) fn released(&self, outcome: &Released) {
        match outcome {
            // An open entry that stays open for somebody.
            Released::Opened(_)
                if (self.somebody || self.may_not_remove)
                    && self.verb == Verb::Release(State::Open) => {}
            Released::Left | Released::Opened(_) | Released::Remains(..) => {
                hold!(THE_QUEUE_MOVES, self.has_rung, "nobody is woken: {outcome:?}");
            }
            Released::Lost(Some(by)) => assert!(by.state == State::Held, "{by}"),
            Released::Lost(None) | Released::Failed(_) => {}
        }
    }

    pub(crate) fn evicted(&self, outcome: &Eviction) {
        if let Eviction::Removed(_) | Eviction::Remains(..) = outcome {
            hold!(THE_QUEUE_MOVES, self.has_rung, "nobody is woken: {outcome:?}");
        }
    }

    pub(crate) fn inspected(&self, view: &View) {
        match (&view.sight, &view.verdict) {
            (Observation::Directory(listing), verdict) => {
                let held = listing.entries.first().is_some_and(|it| it.state == State::Held);
                assert_eq!(held, verdict.is_some());
                assert!(!matches!(verdict, Some(Verdict::Ask(_))), "no verdict");
                assert!(listing.entries.len() < 2 && listing.foreign.is_none());
            }
            (_, verdict) => assert_eq!(*verdict, None),
        }
    }

    pub(crate) fn waited(&self, outcome: &Waited, queue: &Queue, now: Now) {
        let stays = self.standing.is_some() || queue.ticket().is_some();
        hold!(WHO_GIVES_UP_NEVER_GETS_IT_LATER, !stays, "a ticket stays: {outcome:?}");
        match outcome {
            Waited::Ended(Acquisition::Blocked(_)) => panic!("{outcome:?}"),
            Waited::Ended(_) => {}
            Waited::Over(_) => assert!(now.boot >= self.until, "gives up too early"),
            Waited::Interrupted => assert!(self.interrupted, "nobody interrupted"),
        }
    }
}
