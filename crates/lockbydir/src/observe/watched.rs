//! One observed lock directory: looks at it and at its queue, and records its history.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir_protocol::{
    Answer, Entry, Facts, Foreign, Listing, Nonce, Observation, Owner, Stamp, State, Ticket,
    Verdict, Watch,
};

use super::event::What;
use super::history::{Anomaly, Fate, LockHistory};
use super::holders::{age, hold, is_alive, waiter};
use super::sampling::Busy;
use super::waiting::Waiter;
use crate::directory::executor::Directory;
use crate::folder::verdict_on;
use crate::foreign::{foreign_reason, other_user_reason};
use crate::os::clock;

/// How long an empty directory, or a foreign thing, must be there before it is reported.
const ANOMALY_DELAY: Duration = Duration::from_millis(200);
/// How long after a waiter left the queue the reason is settled, at the earliest. Where the
/// observer only looks, this is long enough for two looks in between.
const SETTLE_DELAY: Duration = Duration::from_millis(20);
const SETTLE_DELAY_BY_LOOKS: Duration = Duration::from_millis(300);
/// How often a listing is repeated at most while it shows two entries: a renewal sometimes shows
/// both its names.
const TORN_LOOKS: u8 = 8;

/// A lock directory, and what is known about it.
pub(super) struct Watched {
    directory: Directory,
    history: LockHistory,
    /// The entry that was in it last.
    entry: Option<Entry>,
    /// Since when that very name is watched, for holders whose clock is not comparable with ours.
    watch: Option<Watch>,
    /// The anomaly in its place, and since when it is there.
    anomaly: Option<(Anomaly, Duration)>,
    modified: Stamp,
    queue: Vec<Ticket>,
    /// The waiters that have left the queue for a reason that is not known yet.
    left_queue: Vec<Ticket>,
    /// The previous name of an entry that is being renamed: the next event has its new name.
    renamed: Option<Entry>,
    /// When an event was last reported.
    reported_at: Duration,
    /// How often the observer has checked whether a waiter is alive.
    ask_count: usize,
    /// The number of events since that number was last taken.
    event_count: u32,
    busy: Option<Busy>,
    /// Whether the directory exists, as far as its folder's events show.
    is_present: bool,
    /// The nonce of the stage that became this directory: its owner held the lock then, perhaps
    /// without being seen.
    installed: Option<Nonce>,
}

impl Watched {
    /// Creates the state of a lock, which is notified of changes or found only by looking.
    pub(super) fn new(path: &Path, is_notified: bool) -> Watched {
        let mut watched = Watched {
            directory: Directory::new(path.to_owned(), 0o700, None).only_looking(),
            history: LockHistory::default(),
            entry: None,
            watch: None,
            anomaly: None,
            modified: Stamp(0),
            queue: Vec::new(),
            left_queue: Vec::new(),
            renamed: None,
            reported_at: Duration::ZERO,
            ask_count: 0,
            event_count: 0,
            busy: None,
            is_present: false,
            installed: None,
        };
        watched.by_looks(is_notified);
        watched
    }

    pub(super) fn queue_path(&self) -> PathBuf {
        self.directory.queue_path()
    }

    pub(super) fn take_events(&mut self) -> Vec<What> {
        let events = self.history.take_events();
        if !events.is_empty() {
            self.reported_at = clock::boot();
        }
        events
    }

    /// Returns true if nothing of it is there now, and nothing has been reported since `then`.
    pub(super) fn was_gone(&self, then: Duration) -> bool {
        let is_gone = self.entry.is_none() && self.anomaly.is_none() && self.queue.is_empty();
        is_gone && self.busy.is_none() && self.reported_at < then
    }

    fn wants_looks(&self) -> bool {
        self.busy.is_some() || !self.directory.here().is_local
    }

    /// Counts an event.
    pub(super) fn count_event(&mut self) {
        self.event_count += 1;
    }

    /// Returns the number of events since the last call.
    pub(super) fn take_event_count(&mut self) -> u32 {
        std::mem::take(&mut self.event_count)
    }

    /// Marks it as busy: it is no longer watched.
    pub(super) fn set_busy(&mut self) {
        self.busy = Some(Busy::default());
        self.history.by_looks(true);
    }

    /// Determines and returns whether changes to it are found only by looking, given whether other
    /// locks are notified of changes.
    pub(super) fn by_looks(&mut self, is_notified: bool) -> bool {
        let is_by_looks = !is_notified || self.wants_looks();
        self.history.by_looks(is_by_looks);
        is_by_looks
    }

    /// Returns true if there is an anomaly in its place that has not been there long enough to be
    /// reported.
    pub(super) fn is_unsure(&self) -> bool {
        self.anomaly.as_ref().map(|(anomaly, _)| anomaly) != self.history.anomaly()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// Returns when its holdings are to be counted.
    pub(super) fn next_count(&self) -> Option<Duration> {
        self.busy.as_ref().map(Busy::next)
    }

    /// Counts its holdings, if that is due. Returns true if it is calm, and to be watched again.
    pub(super) fn count(&mut self) -> bool {
        /// With fewer holdings per second than this, each one can be reported.
        const CALM: u32 = 100;
        let path = self.directory.path().to_owned();
        let Some(a_second) = self.busy.as_mut().and_then(|busy| busy.count(&path)) else {
            return false;
        };
        if a_second >= CALM {
            self.history.busy(a_second);
            return false;
        }
        self.busy = None;
        self.history.calm();
        true
    }

    /// Looks at the directory and the queue.
    pub(super) fn look(&mut self) {
        self.look_inside();
        self.look_at_queue();
    }

    pub(super) fn look_inside(&mut self) {
        match self.look_twice() {
            Answer::Seen(Observation::Absent) => {
                self.saw_anomaly(None);
                self.emptied();
            }
            Answer::Seen(Observation::Foreign(why)) => self.saw_foreign(&why, &[]),
            Answer::Seen(Observation::Directory(listing)) => {
                self.history.begin();
                let Listing { entries, modified, foreign, stranger, .. } = listing;
                self.modified = modified;
                match (&entries[..], foreign, stranger) {
                    (.., Some(uid)) => {
                        self.saw_anomaly(Some(Anomaly::Foreign(other_user_reason(uid))));
                        self.emptied();
                    }
                    (_, Some(why), _) => self.saw_foreign(&why, &entries),
                    ([], ..) => {
                        self.saw_anomaly(Some(Anomaly::Bare));
                        self.emptied();
                    }
                    ([entry], ..) => self.saw(entry.clone(), age(modified)),
                    _ => self.saw_foreign(&Foreign::TwoEntries, &entries),
                }
            }
            // There is nothing to see.
            _ => {}
        }
    }

    /// Looks again if a listing may be torn. A listing is not a snapshot: an entry that is renamed
    /// meanwhile is in it twice, or not at all. So it is repeated before a holder is reported to
    /// have released the lock.
    fn look_twice(&self) -> Answer {
        let mut answer = self.directory.look();
        for nth in 0..TORN_LOOKS {
            let is_torn = match &answer {
                Answer::Seen(Observation::Directory(listing)) => match listing.entries.len() {
                    0 => nth == 0 && self.entry.is_some(),
                    1 => false,
                    _ => true,
                },
                _ => false,
            };
            if !is_torn {
                break;
            }
            answer = self.directory.look();
        }
        answer
    }

    fn saw_foreign(&mut self, why: &Foreign, entries: &[Entry]) {
        self.saw_anomaly(Some(Anomaly::Foreign(foreign_reason(why))));
        // The holder continues to hold the lock, whatever else has been added to the directory.
        let known = self.entry.as_ref().map(|known| known.nonce);
        match entries {
            [entry] => self.saw_entry(entry.clone(), age(self.modified)),
            several if several.iter().any(|entry| Some(entry.nonce) == known) => {}
            _ => self.emptied(),
        }
    }

    /// Records an anomaly. One that lasts only for a moment, such as a lock that is just being
    /// removed, is not reported.
    fn saw_anomaly(&mut self, seen: Option<Anomaly>) {
        let now = clock::boot();
        let since = match &self.anomaly {
            Some((known, since)) if Some(known) == seen.as_ref() => *since,
            _ => now,
        };
        if seen.is_none() || now >= since + ANOMALY_DELAY {
            self.history.saw_anomaly(seen.clone());
        }
        self.anomaly = seen.map(|seen| (seen, since));
    }

    pub(super) fn look_at_queue(&mut self) {
        let queue = self.directory.queue_now();
        let waiters: Vec<Waiter> = queue.iter().map(waiter).collect();
        let known = std::mem::replace(&mut self.queue, queue);
        self.history.saw_queue(&waiters, clock::boot(), |gone| {
            let ticket = known.iter().find(|ticket| ticket.nonce.0 == gone.nonce);
            ticket.and_then(is_alive) == Some(true)
        });
        self.left_queue.extend(known);
        self.forget_settled();
    }

    /// Looks at the directory and the queue, for the first time or after events were lost: events
    /// that are read from now on may be older than what is seen.
    pub(super) fn begin(&mut self) {
        self.history.gap();
        self.look();
        self.is_present = self.directory.is_there();
    }

    /// Begins like [`begin`](Watched::begin), for a lock that was never examined before.
    pub(super) fn begin_first(&mut self) {
        self.history.was_there();
        self.begin();
    }

    /// The directory has appeared; it was this stage before.
    pub(super) fn appeared(&mut self, stage: Option<Nonce>) {
        self.count_installed();
        self.installed = stage;
        // The event occurred while we looked for the first time.
        if self.is_present {
            return;
        }
        self.is_present = true;
        self.renamed = None;
        // The directory was not watched from its beginning.
        self.history.gap();
        self.look_inside();
    }

    /// The process that installed the directory held the lock. All events up to the look that
    /// followed have been read by now.
    fn count_installed(&mut self) {
        if let Some(nonce) = self.installed.take() {
            self.history.held_by(nonce.0);
        }
    }

    /// The directory has vanished; perhaps there is another one already.
    pub(super) fn vanished(&mut self) {
        self.count_installed();
        if std::mem::take(&mut self.is_present) {
            self.look_inside();
        }
    }

    /// This name was added to the directory.
    pub(super) fn entered(&mut self, name: &OsStr) {
        match (self.renamed.take(), name.to_str().and_then(Entry::parse)) {
            // An entry of ours gets another name; it is not new in a directory that is there.
            (Some(before), Some(entry)) if self.anomaly.is_none() => {
                let is_renewed = entry.nonce == before.nonce && entry.state == State::Held;
                if before.state == State::Held && !is_renewed {
                    self.history.held_by(before.nonce.0);
                }
                self.taken(&before, &entry);
                match self.entry.is_none() && self.history.has_held(entry.nonce.0) {
                    // It seems that the holding was over at a look before this event was read.
                    true => self.look_inside(),
                    false => self.saw(entry, Duration::ZERO),
                }
            }
            // Only a look at the whole directory shows whether it is ours now.
            _ => self.look_inside(),
        }
    }

    /// This name was removed from the directory, and the next name that is added takes its place.
    pub(super) fn renamed(&mut self, name: &OsStr) {
        self.renamed = name.to_str().and_then(Entry::parse);
    }

    /// One entry was renamed to another. If both are held, by two processes, the first one was
    /// judged stale: it could not have released in between.
    fn taken(&mut self, before: &Entry, after: &Entry) {
        let is_taken = before.nonce != after.nonce
            && (before.state, after.state) == (State::Held, State::Held)
            && self.entry.as_ref().is_some_and(|known| known.nonce == before.nonce);
        if !is_taken || self.history.fate() != Fate::Lives {
            return;
        }
        let is_dead = match before.owner {
            Owner::Nobody => false,
            // The process that took the lock over read the clock after it had judged.
            _ if before.origin.is_same_clock(&after.origin) => after.stamp < before.expires_at(),
            _ => self.fate_of(before) == Fate::Dead,
        };
        self.history.judged(if is_dead { Fate::Dead } else { Fate::Expired });
    }

    /// This name was removed from the directory, and no other has taken its place.
    pub(super) fn left(&mut self, name: &OsStr) {
        let Some(gone) = name.to_str().and_then(Entry::parse) else { return };
        if gone.state == State::Held {
            self.history.held_by(gone.nonce.0);
        }
        if self.entry.as_ref() == Some(&gone) {
            self.emptied();
        }
    }

    pub(super) fn joined(&mut self, name: &OsStr) {
        if let Some(ticket) = name.to_str().and_then(Ticket::parse) {
            self.history.joined(&waiter(&ticket));
            self.queue.push(ticket);
        }
    }

    pub(super) fn left_queue(&mut self, name: &OsStr) {
        let Some(gone) = name.to_str().and_then(Ticket::parse) else { return };
        self.queue.retain(|ticket| *ticket != gone);
        self.history.left(gone.nonce.0, is_alive(&gone) == Some(true), clock::boot());
        self.left_queue.push(gone);
        self.forget_settled();
    }

    /// Returns when to [`settle`](Watched::settle).
    pub(super) fn next_settling(&self) -> Option<Duration> {
        self.history.next_settling(self.settle_delay())
    }

    fn settle_delay(&self) -> Duration {
        if self.history.is_by_looks() { SETTLE_DELAY_BY_LOOKS } else { SETTLE_DELAY }
    }

    /// Reports why waiters left the queue, as far as that is known by now. All events before
    /// `read_until` must have been read.
    pub(super) fn settle(&mut self, read_until: Duration) {
        if self.left_queue.is_empty() {
            return;
        }
        let left = &self.left_queue;
        self.history.settle(read_until, self.settle_delay(), |nonce| {
            let mut left = left.iter().filter(|ticket| ticket.nonce.0 == nonce);
            left.any(|ticket| is_alive(ticket) == Some(false)).then(clock::boot)
        });
        self.forget_settled();
    }

    fn forget_settled(&mut self) {
        self.left_queue.retain(|ticket| self.history.is_leaving(ticket.nonce.0));
    }

    fn emptied(&mut self) {
        (self.entry, self.watch) = (None, None);
        self.history.saw(None);
    }

    /// Records this entry; `by_file` is its age by the file system's clock.
    fn saw(&mut self, entry: Entry, by_file: Duration) {
        self.saw_anomaly(None);
        self.saw_entry(entry, by_file);
    }

    fn saw_entry(&mut self, entry: Entry, by_file: Duration) {
        // Events that are reported late are already known: tokens only grow, and so do renewal
        // counts.
        let is_old = self.entry.as_ref().is_some_and(|known| {
            known.token > entry.token
                || known.nonce == entry.nonce && known.renewals > entry.renewals
        });
        if is_old {
            if entry.state == State::Held {
                self.history.saw_late(entry.nonce.0);
            }
            return;
        }
        if self.entry.as_ref() != Some(&entry) {
            let watched = Watch::on(&mut self.watch, &entry, clock::now());
            let hold = hold(&entry, self.directory.here(), watched.max(by_file));
            self.entry = Some(entry);
            self.history.saw(Some(hold));
        }
    }

    /// Judges the holder and the waiters. Performs no operation that would change anything.
    pub(super) fn judge(&mut self) {
        self.count_installed();
        self.judge_queue();
        if self.anomaly.is_some() {
            self.look_inside();
        }
        let Some(entry) = self.entry.clone().filter(|entry| entry.state == State::Held) else {
            return;
        };
        let fate = self.fate_of(&entry);
        // A release or renewal may be reported only later; so the entry must still be there after
        // it was judged.
        if fate == Fate::Lives || fate == self.history.fate() || self.is_there(&entry) {
            self.history.judged(fate);
        }
    }

    fn fate_of(&mut self, entry: &Entry) -> Fate {
        let now = clock::now();
        let watched = Watch::on(&mut self.watch, entry, now);
        let (modified, file_clock) = (self.modified, Some(self.modified));
        let facts = Facts { now, watched, modified, life: None, file_clock };
        let here = self.directory.here();
        let is_known = entry.owner != Owner::Nobody && entry.origin.is_same_pids(&here.origin);
        match verdict_on(entry, &here, facts) {
            // The judge has already checked whether a process that we can see is alive.
            Verdict::Expired(_) if is_known => Fate::Overdue,
            Verdict::Expired(_) => Fate::Expired,
            Verdict::Dead(_) => Fate::Dead,
            _ => Fate::Lives,
        }
    }

    /// Returns true if this is the only entry in the directory now.
    fn is_there(&self, entry: &Entry) -> bool {
        match self.directory.look() {
            Answer::Seen(Observation::Directory(listing)) => listing.entries == [entry.clone()],
            _ => false,
        }
    }

    /// Checks waiters. The end of a waiter is noticed by the waiter behind it; that of the last one
    /// by nobody, so it is checked each time. All others are checked in turn.
    fn judge_queue(&mut self) {
        let Some(last) = self.queue.len().checked_sub(1) else { return };
        self.ask_count += 1;
        let other = self.ask_count.checked_rem(last);
        for index in std::iter::once(last).chain(other) {
            let ticket = &self.queue[index];
            let nonce = ticket.nonce.0;
            if is_alive(ticket) == Some(false)
                && !self.history.is_dead_waiter(nonce)
                // Otherwise it left before it ended, and that event is read later.
                && self.directory.queue_now().contains(ticket)
            {
                self.history.died_waiting(nonce);
            }
        }
    }
}
