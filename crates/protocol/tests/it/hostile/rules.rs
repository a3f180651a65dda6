//! The rules that hold whatever answers a machine gets. They are written from docs/protocol.md and not
//! from the machines; each names the promise that it serves.

use std::time::Duration;

use lockbydir_protocol::promise::*;
use lockbydir_protocol::*;

use super::world::World;

/// The verb that is checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verb {
    Acquire,
    Renew,
    Release(State),
    Evict { force: bool },
    Inspect,
    Queue,
}

/// The operations and answers so far, as far as the rules need them.
pub(crate) struct Rules {
    pub(super) verb: Verb,
    pub(super) here: LocalContext,
    pub(super) nonce: Nonce,
    timeout: Duration,
    /// The entries that it may change without a look: its own.
    pub(crate) given: Vec<Entry>,
    pub(crate) until: Duration,
    /// The names that it has published, or tried to.
    pub(super) made: Vec<Entry>,
    /// The last look, if nothing was changed since.
    look: Option<Observation>,
    /// The last look that showed several entries.
    torn: Option<Listing>,
    /// When each name was shown for the first time, and when each change time of an empty D.
    pub(super) shown: Vec<(Entry, Duration)>,
    bare: Vec<(Stamp, Duration)>,
    /// The owner that is gone, by an answer since the last look.
    gone: Option<Owner>,
    /// The file system's clock, by an answer since the last look, and our boot clock at that answer.
    clock: Option<(Stamp, Duration)>,
    /// D's change times after its own unlinks.
    emptied: Vec<Stamp>,
    has_unlinked: bool,
    /// The last removal of D was refused for a reason that is not in D.
    was_refused: bool,
    pub(super) staged: Option<Entry>,
    pub(super) standing: Option<Ticket>,
    /// The ticket of ours that somebody has removed.
    removed: Option<Ticket>,
    listed: Vec<Ticket>,
    pub(super) has_rung: bool,
    pub(super) somebody: bool,
    /// Whether the answer was that it may not remove D.
    pub(super) may_not_remove: bool,
    pub(super) interrupted: bool,
    pub(super) last: Option<(Operation, Answer)>,
}

impl Rules {
    pub(crate) fn new(verb: Verb, world: &World<'_>, nonce: Nonce, timeout: Duration) -> Rules {
        Rules {
            verb,
            here: world.here,
            nonce,
            timeout,
            given: Vec::new(),
            until: Duration::MAX,
            made: Vec::new(),
            look: None,
            torn: None,
            shown: Vec::new(),
            bare: Vec::new(),
            gone: None,
            clock: None,
            emptied: Vec::new(),
            has_unlinked: false,
            was_refused: false,
            staged: None,
            standing: None,
            removed: None,
            listed: Vec::new(),
            has_rung: false,
            somebody: false,
            may_not_remove: false,
            interrupted: false,
            last: None,
        }
    }

    /// Begins a new turn.
    pub(crate) fn begun(&mut self) {
        self.look = None;
        self.has_rung = false;
        self.somebody = false;
        self.may_not_remove = false;
    }

    pub(crate) fn asked(&mut self, operation: &Operation, now: Now) {
        match operation {
            Operation::Rename(from, to) => self.asked_rename(from, to, now),
            Operation::Unlink(entry) => self.asked_unlink(entry, now),
            Operation::RemoveDir(stamp) => self.asked_remove(*stamp, now),
            Operation::Stage(entry) => {
                assert_eq!(self.look, Some(Observation::Absent), "a stage without need");
                assert_eq!(self.staged, None, "a second stage");
                assert_eq!(entry.state, State::Held);
                self.publishes(entry, now);
            }
            Operation::Reopen(entry) => {
                assert!(self.has_unlinked, "puts an entry where it has taken none away");
                let is_kept = |listing: &Listing| {
                    listing.entries.is_empty()
                        && (listing.litter.is_some() || self.was_refused)
                        && listing.foreign.is_none()
                };
                let seen = matches!(&self.look, Some(Observation::Directory(d)) if is_kept(d));
                hold!(NAMES_OF_OTHERS_ARE_NEVER_TOUCHED, seen, "not empty, or nothing keeps it");
                assert_eq!(entry.state, State::Open);
                self.publishes(entry, now);
            }
            Operation::Install(entry) => assert_eq!(self.staged.as_ref(), Some(entry)),
            Operation::Unstage(entry) => assert_eq!(entry.nonce, self.nonce),
            Operation::Enter(..)
            | Operation::Leave(..)
            | Operation::Expel(..)
            | Operation::Listen
            | Operation::Sleep(..) => self.asked_of_queue(operation, now),
            _ => {}
        }
    }

    /// Checks a name that the machine publishes.
    fn publishes(&mut self, entry: &Entry, now: Now) {
        let name = entry.to_string();
        assert!(Entry::parse(&name).is_some(), "published, and not of the grammar: {name}");
        // After a false answer the rename that opens a lock may be asked for again.
        let is_again = entry.state == State::Held && self.made.contains(entry);
        let is_again = is_again && !(self.verb == Verb::Renew && self.may_wrap());
        hold!(AT_MOST_ONE_VALID_HOLDER, !is_again, "a name comes back: {name}");
        let is_later = entry.stamp > now.boot && self.verb != Verb::Renew;
        hold!(AT_MOST_ONE_VALID_HOLDER, !is_later, "a stamp from the future: {name}");
        if self.verb == Verb::Inspect {
            panic!("a look that changes something: {name}");
        }
        self.made.push(entry.clone());
    }

    /// Returns true if the count of renewals may wrap around, as it does after 2^32 renewals.
    fn may_wrap(&self) -> bool {
        let shown = self.shown.iter().map(|(shown, _)| shown);
        self.given.iter().chain(shown).any(|entry| entry.renewals > u32::MAX - 64)
    }

    fn asked_rename(&mut self, from: &Entry, to: &Entry, now: Now) {
        let is_own = from.nonce == self.nonce;
        let is_given = self.given.contains(from) || self.made.contains(from);
        let sole = self.sole();
        // It may have seen its own entry at an earlier turn.
        let was_shown = is_own && self.shown.iter().any(|(shown, _)| shown == from);
        let is_shown = was_shown || self.is_shown(from);
        hold!(NAMES_OF_OTHERS_ARE_NEVER_TOUCHED, is_given || is_shown, "never seen: {from}");
        let may = is_own || self.given.contains(from) || sole.as_ref() == Some(from);
        hold!(NAMES_OF_OTHERS_ARE_NEVER_TOUCHED, may, "not alone, or not ours to touch: {from}");
        hold!(NUMBERS_GROW, to.fenced >= from.fenced, "no more fenced: {to}");
        match self.verb {
            // It releases what it won too slowly.
            Verb::Acquire | Verb::Queue if is_own && to.state == State::Open => {
                assert_opens(from, to, from.next(State::Open, now.boot, &self.here.origin));
            }
            Verb::Acquire | Verb::Queue => {
                assert_eq!((to.nonce, to.state), (self.nonce, State::Held));
                let is_new = from.nonce != to.nonce || from.state == State::Open;
                hold!(NUMBERS_GROW, to.token >= from.token, "{from} -> {to}");
                hold!(NUMBERS_GROW, !is_new || to.token > from.token, "{from} -> {to}");
                self.ends(from, now);
            }
            Verb::Renew | Verb::Release(_) => {
                hold!(ONLY_THE_HOLDER_ENDS_A_HOLD, is_own, "another's: {from}");
                assert_eq!((to.nonce, to.token), (from.nonce, from.token));
                assert!(to.renewals > from.renewals || self.may_wrap(), "{from} -> {to}");
                assert_eq!(to.state == State::Held, self.verb == Verb::Renew);
            }
            Verb::Evict { .. } => {
                assert!(from.fenced || self.may_not_remove, "opened, not removed: {from}");
                assert_opens(from, to, from.next(State::Open, now.boot, &self.here.origin));
                self.ends(from, now);
            }
            Verb::Inspect => panic!("a look that changes something: {from}"),
        }
        self.publishes(to, now);
    }

    fn asked_unlink(&mut self, entry: &Entry, now: Now) {
        let is_own = entry.nonce == self.nonce;
        let was_shown = is_own && self.shown.iter().any(|(shown, _)| shown == entry);
        let is_given = self.given.contains(entry) || is_own && self.made.contains(entry);
        let is_shown = was_shown || is_given || self.is_shown(entry) || self.is_surplus(entry);
        hold!(NAMES_OF_OTHERS_ARE_NEVER_TOUCHED, is_shown, "never seen: {entry}");
        // Of several entries one stays, so D is not emptied.
        let empties = !self.is_surplus(entry);
        assert!(!(empties && self.may_not_remove), "empties what it may not remove");
        let is_lost = entry.fenced && !self.is_surplus(entry);
        hold!(NUMBERS_GROW, !is_lost, "a fenced one's number is lost: {entry}");
        match self.verb {
            Verb::Evict { .. } => {
                let may = self.sole().as_ref() == Some(entry) || self.is_surplus(entry);
                hold!(NAMES_OF_OTHERS_ARE_NEVER_TOUCHED, may, "not alone, or foreign: {entry}");
                self.ends(entry, now);
            }
            Verb::Release(state) => {
                // Also the open entry that it kept for waiters who are gone.
                let is_ours = entry.state == state || entry.state == State::Open;
                let is_own = entry.nonce == self.nonce && is_ours;
                hold!(ONLY_THE_HOLDER_ENDS_A_HOLD, is_own, "another's: {entry}");
            }
            // It releases what it won too slowly.
            Verb::Acquire | Verb::Queue if is_own => {}
            // The last to leave a queue removes the lock that was opened for it.
            Verb::Queue => {
                hold!(ONLY_THE_HOLDER_ENDS_A_HOLD, entry.state == State::Open, "{entry}");
                assert!(self.standing.is_none(), "unlinks while in the queue");
            }
            _ => panic!("unlinks: {entry}"),
        }
        self.has_unlinked = true;
    }

    fn asked_remove(&mut self, stamp: Stamp, now: Now) {
        let own = self.emptied.contains(&stamp) && self.look.is_none();
        let seen = match &self.look {
            Some(Observation::Directory(listing)) if listing.entries.is_empty() => {
                assert_eq!(listing.modified, stamp, "a stamp that no look has shown");
                let is_clean = listing.foreign.is_none() && listing.stranger.is_none();
                self.has_unlinked || is_clean && self.is_old(stamp, now)
            }
            _ => false,
        };
        hold!(NAMES_OF_OTHERS_ARE_NEVER_TOUCHED, own || seen, "rmdir of {stamp:?}");
    }

    /// Returns true if a bare D of this change time is old enough to be removed.
    fn is_old(&self, stamp: Stamp, now: Now) -> bool {
        let by_clock = |(clock, _): (Stamp, Duration)| {
            clock.0.saturating_sub(stamp.0) > i128::try_from(self.timeout.as_nanos()).unwrap_or(0)
        };
        let watched = |since: Duration| now.boot.saturating_sub(since) >= self.timeout;
        match self.verb {
            Verb::Evict { force } => force || self.clock.is_some_and(by_clock),
            Verb::Acquire | Verb::Queue => {
                let since = self.bare.iter().find(|(seen, _)| *seen == stamp).map(|(_, at)| *at);
                self.clock.is_some_and(by_clock) || since.is_some_and(watched)
            }
            _ => false,
        }
    }

    /// Checks that this hold may be ended now (docs/protocol.md, "The verdict").
    fn ends(&self, entry: &Entry, now: Now) {
        let (theirs, here) = (entry.origin, self.here.origin);
        if entry.state == State::Open || matches!(self.verb, Verb::Evict { force: true }) {
            return;
        }
        // A machine recognizes its own entry by the nonce alone.
        if entry.nonce == self.nonce && !self.made.is_empty() {
            return;
        }
        let known = theirs.boot != 0 && here.boot != 0;
        let same_boot = known && theirs.boot == here.boot;
        let same_pids = same_boot && theirs.pids != 0 && theirs.pids == here.pids;
        let same_clock = same_boot && theirs.time != 0 && theirs.time == here.time;
        let pids = |owner: Owner| owner.processes().map(|process| process.pid).collect::<Vec<_>>();
        let modified = match &self.look {
            Some(Observation::Directory(listing)) => listing.modified,
            _ => panic!("ends a hold that it has not seen: {entry}"),
        };
        let dead = same_pids && self.gone.is_some_and(|owner| pids(owner) == pids(entry.owner));
        let rebooted = known
            && !same_boot
            && self.here.is_local
            && entry.host == self.here.host
            && self.here.booted.is_some_and(|booted| modified < booted);
        let by_our_clock = same_clock && now.boot >= entry.stamp + entry.timeout;
        let since = self.shown.iter().find(|(shown, _)| shown == entry).map(|(_, at)| *at);
        let is_foreign = |at: Duration| !same_clock || entry.stamp > at;
        let watched =
            is_foreign(now.boot) && since.is_some_and(|at| now.boot - at >= entry.timeout);
        let minute = Duration::from_secs(60);
        let age = i128::try_from((entry.timeout + minute).as_nanos()).unwrap_or(i128::MAX);
        // It is judged when the answer arrives: our clock may reach the stamp before the entry is unlinked.
        let by_theirs = self
            .clock
            .is_some_and(|(clock, at)| is_foreign(at) && clock.0.saturating_sub(modified.0) > age);
        hold!(
            ONLY_THE_HOLDER_ENDS_A_HOLD,
            dead || rebooted || by_our_clock || watched || by_theirs,
            "{A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS}: {entry} lives, at {now:?}"
        );
    }

    pub(super) fn is_shown(&self, entry: &Entry) -> bool {
        matches!(&self.look, Some(Observation::Directory(listing)) if listing.entries.contains(entry))
    }

    /// Returns true if, by force, this is one of several entries, of which one with a larger token stays.
    fn is_surplus(&self, entry: &Entry) -> bool {
        let thins = |listing: &Listing| {
            let number =
                |entry: &Entry| (entry.token, entry.nonce, entry.renewals, entry.to_string());
            listing.entries.contains(entry)
                && listing.entries.iter().any(|other| number(other) > number(entry))
                && listing.foreign.is_none()
                && listing.stranger.is_none()
        };
        self.verb == Verb::Evict { force: true } && self.torn.as_ref().is_some_and(thins)
    }

    /// Returns the only entry of a directory that is ours to change.
    fn sole(&self) -> Option<Entry> {
        match &self.look {
            Some(Observation::Directory(listing))
                if listing.entries.len() == 1
                    && listing.foreign.is_none()
                    && listing.stranger.is_none() =>
            {
                listing.entries.first().cloned()
            }
            _ => None,
        }
    }

    fn asked_of_queue(&mut self, operation: &Operation, now: Now) {
        assert_eq!(self.verb, Verb::Queue, "{operation:?}");
        let behind = |handoff: &Handoff, ticket: &Ticket| match handoff {
            Handoff::First => true,
            Handoff::Behind(before) => before < ticket,
        };
        match (operation, &self.standing) {
            (Operation::Enter(ticket), None) => {
                let is_last = self.listed.iter().all(|other| other < ticket);
                hold!(THE_QUEUE_MOVES, is_last || ticket.order == MAX_TOKEN, "pushes in: {ticket}");
                assert_eq!(ticket.nonce, self.nonce);
            }
            (Operation::Leave(ticket, handoff), Some(own)) => {
                assert_eq!(ticket, own);
                hold!(THE_QUEUE_MOVES, behind(handoff, ticket), "a circle: {ticket}");
            }
            (Operation::Expel(ticket, handoff), Some(own)) => {
                let may = ticket < own && self.listed.contains(ticket);
                hold!(THE_QUEUE_MOVES, may, "expels one that it may not: {ticket}");
                hold!(THE_QUEUE_MOVES, behind(handoff, ticket), "a circle: {ticket}");
            }
            // A try without patience passes over a first waiter that had its time.
            (Operation::Expel(ticket, handoff), None) => {
                let may = self.listed.contains(ticket) && now.boot >= self.until;
                hold!(THE_QUEUE_MOVES, may, "expels one that it may not: {ticket}");
                hold!(THE_QUEUE_MOVES, behind(handoff, ticket), "a circle: {ticket}");
            }
            // A ticket that is gone already may be removed all the same.
            (Operation::Leave(ticket, handoff), None) => {
                assert_eq!(Some(ticket), self.removed.as_ref());
                hold!(THE_QUEUE_MOVES, behind(handoff, ticket), "a circle: {ticket}");
            }
            (Operation::Listen, Some(_)) => {}
            (Operation::Sleep(source, wake), own) => {
                if let (WakeSource::Ticket(ahead), Some(own)) = (source, own) {
                    hold!(THE_QUEUE_MOVES, ahead < own, "waits for one behind: {ahead}");
                }
                let soon = now.boot.saturating_add(Duration::from_millis(100));
                let is_pause = own.is_none() && *source == WakeSource::Nothing && *wake <= soon;
                assert!(*wake <= self.until || is_pause, "sleeps over its patience");
                assert!(*wake > now.boot || *wake >= self.until, "sleeps into the past");
            }
            _ => panic!("without a ticket, or with two: {operation:?}"),
        }
    }

    pub(crate) fn answered(&mut self, operation: &Operation, answer: &Answer, now: Now) {
        match (operation, answer) {
            (Operation::Look, Answer::Seen(sight)) => {
                (self.gone, self.clock, self.look) = (None, None, Some(sight.clone()));
                if let Observation::Directory(listing) = sight {
                    self.torn = Some(listing.clone()).filter(|seen| seen.entries.len() > 1);
                    self.note_listing(listing, now);
                }
            }
            (Operation::AskLiveness(owner), Answer::Liveness(Liveness::Gone)) => {
                self.gone = Some(*owner)
            }
            (Operation::ReadFileClock, Answer::FileClock(clock)) => {
                self.clock = Some((*clock, now.boot));
            }
            (Operation::ListQueue, Answer::Queue(queue)) => self.listed = queue.clone(),
            (Operation::ListQueue, _) => self.listed.clear(),
            (Operation::HasWaiters, _) => self.somebody = *answer == Answer::Somebody(true),
            (Operation::AskRemovable, _) => {
                self.may_not_remove = *answer == Answer::Removable(false);
            }
            (Operation::WakeFirst, _) => self.has_rung = true,
            (Operation::Enter(ticket), Answer::Done(_)) => self.standing = Some(ticket.clone()),
            (Operation::Leave(..), _) => self.standing = None,
            (Operation::Sleep(..), Answer::Woken(wake)) => match wake {
                Wake::Expelled => self.removed = self.standing.take(),
                Wake::Interrupted => self.interrupted = true,
                _ => {}
            },
            (Operation::Stage(entry), Answer::Done(_)) => self.staged = Some(entry.clone()),
            (Operation::Install(_), Answer::Done(_)) if self.here.is_local => self.staged = None,
            (Operation::Unstage(_), _) => (self.staged, self.look) = (None, None),
            (Operation::Unlink(_), Answer::Done(Some(stamp))) => {
                self.emptied.push(*stamp);
                self.look = None;
            }
            (Operation::RemoveDir(_), answer) => {
                let refused = |fault| !matches!(fault, Fault::Taken | Fault::Missing);
                self.was_refused = matches!(answer, Answer::Failed(fault) if refused(*fault));
                self.look = None;
            }
            (Operation::Stage(_), _) => {}
            (Operation::Look | Operation::Install(_), _)
            | (Operation::Rename(..) | Operation::Unlink(_) | Operation::Reopen(_), _) => {
                self.look = None;
            }
            _ => {}
        }
        self.last = Some((operation.clone(), answer.clone()));
    }

    fn note_listing(&mut self, listing: &Listing, now: Now) {
        for entry in &listing.entries {
            if !self.shown.iter().any(|(shown, _)| shown == entry) {
                self.shown.push((entry.clone(), now.boot));
            }
        }
        let is_own = |entry: &Entry| entry.nonce == self.nonce && entry.state == State::Held;
        if listing.stranger.is_none() && listing.entries.len() == 1 && is_own(&listing.entries[0]) {
            self.staged = None;
        }
        let stamp = listing.modified;
        if listing.entries.is_empty() && !self.bare.iter().any(|(known, _)| *known == stamp) {
            self.bare.push((stamp, now.boot));
        }
    }
}

/// Asserts that `to` is the same holding, opened; its texts may be cut where the name has no room.
fn assert_opens(from: &Entry, to: &Entry, next: Entry) {
    assert_eq!(*to, Entry { host: to.host, label: to.label.clone(), ..next });
    assert!(from.host.as_str().starts_with(to.host.as_str()), "{from} -> {to}");
    assert!(from.label.as_str().starts_with(to.label.as_str()), "{from} -> {to}");
}
