//! One lock directory under observation: looks at it and at its queue, and tells its chronicle.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir_protocol::{
    Answer, Entry, Facts, Foreign, Listing, Liveness, LocalContext, Nonce, Observation, Owner,
    Stamp, State, Ticket, Verdict, Watch,
};

use super::event::{Contender, What};
use super::history::{Anomaly, Fate, Hold, LockHistory};
use super::sampling::Busy;
use super::waiting::Waiter;
use crate::directory::executor::Directory;
use crate::error::{foreign_reason, stranger_reason};
use crate::folder::verdict_on;
use crate::os::{clock, process};

/// As long as this an empty directory is there, or a foreign thing, before it is told.
const STAYS: Duration = Duration::from_millis(200);
/// Why somebody left the queue is settled no earlier than so long after that; where only looks tell,
/// two of them lie between.
const SETTLES: Duration = Duration::from_millis(20);
const SETTLES_BY_LOOKS: Duration = Duration::from_millis(300);
/// A listing is read anew so often while it shows two entries: a renewal shows both its names at times.
const TORN_LOOKS: u8 = 8;

/// A lock directory, and what is known of it.
pub(super) struct Watched {
    directory: Directory,
    chronicle: LockHistory,
    /// What was in it last.
    entry: Option<Entry>,
    /// Since when that very name is watched, for holders whose clock is not ours.
    watch: Option<Watch>,
    /// What is odd about it, and since when.
    odd: Option<(Anomaly, Duration)>,
    modified: Stamp,
    queue: Vec<Ticket>,
    /// Those who left it, and why is not known yet.
    left_queue: Vec<Ticket>,
    /// The name that the entry had until a moment ago: what it is called now is told next.
    renamed: Option<Entry>,
    /// When something was told of it last.
    told_at: Duration,
    /// So often it was asked whether one who waits lives.
    asked: usize,
    /// How much was heard of it since that was asked last.
    heard: u32,
    busy: Option<Busy>,
    /// Is it there, as far as its folder has told?
    is_present: bool,
    /// The nonce of the stage that came to its place: somebody held it then, whom we may not have seen.
    installed: Option<Nonce>,
}

impl Watched {
    /// Is it heard of, or do only looks show it?
    pub(super) fn new(path: &Path, hears: bool) -> Watched {
        let mut watched = Watched {
            directory: Directory::new(path.to_owned(), 0o700, None).only_looking(),
            chronicle: LockHistory::default(),
            entry: None,
            watch: None,
            odd: None,
            modified: Stamp(0),
            queue: Vec::new(),
            left_queue: Vec::new(),
            renamed: None,
            told_at: Duration::ZERO,
            asked: 0,
            heard: 0,
            busy: None,
            is_present: false,
            installed: None,
        };
        watched.by_looks(hears);
        watched
    }

    pub(super) fn queue_path(&self) -> PathBuf {
        self.directory.queue_path()
    }

    pub(super) fn told(&mut self) -> Vec<What> {
        let told = self.chronicle.told();
        if !told.is_empty() {
            self.told_at = clock::boot();
        }
        told
    }

    /// Was nothing of it there then, and nothing told since?
    pub(super) fn was_gone(&self, then: Duration) -> bool {
        let is_gone = self.entry.is_none() && self.odd.is_none() && self.queue.is_empty();
        is_gone && self.busy.is_none() && self.told_at < then
    }

    fn wants_looks(&self) -> bool {
        self.busy.is_some() || !self.directory.here().is_local
    }

    /// Something was heard of it.
    pub(super) fn heard(&mut self) {
        self.heard += 1;
    }

    /// How much was heard of it since this was asked last?
    pub(super) fn take_heard(&mut self) -> u32 {
        std::mem::take(&mut self.heard)
    }

    /// It is not to be heard of any more.
    pub(super) fn hush(&mut self) {
        self.busy = Some(Busy::default());
        self.chronicle.by_looks(true);
    }

    /// Do only looks tell what happens to it, if others are heard of, or not?
    pub(super) fn by_looks(&mut self, hears: bool) -> bool {
        let is_by_looks = !hears || self.wants_looks();
        self.chronicle.by_looks(is_by_looks);
        is_by_looks
    }

    /// Is something in its place that was not there for long enough to be told?
    pub(super) fn is_unsure(&self) -> bool {
        self.odd.as_ref().map(|(odd, _)| odd) != self.chronicle.oddity()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// When its holdings are to be counted.
    pub(super) fn next_count(&self) -> Option<Duration> {
        self.busy.as_ref().map(Busy::next)
    }

    /// Counts them, if it is time. True: it is calm, and to be heard of again.
    pub(super) fn count(&mut self) -> bool {
        /// With fewer holdings a second than these each one can be told.
        const CALM: u32 = 100;
        let path = self.directory.path().to_owned();
        let Some(a_second) = self.busy.as_mut().and_then(|busy| busy.count(&path)) else {
            return false;
        };
        if a_second >= CALM {
            self.chronicle.busy(a_second);
            return false;
        }
        self.busy = None;
        self.chronicle.calm();
        true
    }

    /// Looks at all of it.
    pub(super) fn look(&mut self) {
        self.look_inside();
        self.look_at_queue();
    }

    pub(super) fn look_inside(&mut self) {
        match self.look_twice() {
            Answer::Seen(Observation::Absent) => {
                self.saw_oddity(None);
                self.emptied();
            }
            Answer::Seen(Observation::Foreign(why)) => self.saw_foreign(&why, &[]),
            Answer::Seen(Observation::Directory(listing)) => {
                self.chronicle.begin();
                let Listing { entries, modified, foreign, stranger, .. } = listing;
                self.modified = modified;
                match (&entries[..], foreign, stranger) {
                    (.., Some(uid)) => {
                        self.saw_oddity(Some(Anomaly::Foreign(stranger_reason(uid))));
                        self.emptied();
                    }
                    (_, Some(why), _) => self.saw_foreign(&why, &entries),
                    ([], ..) => {
                        self.saw_oddity(Some(Anomaly::Bare));
                        self.emptied();
                    }
                    ([entry], ..) => self.saw(entry.clone(), age(modified)),
                    _ => self.saw_foreign(&Foreign::TwoEntries, &entries),
                }
            }
            // Nothing that can be seen.
            _ => {}
        }
    }

    /// A listing is no snapshot: an entry that is renamed meanwhile is in it twice, or not at all. So
    /// what is seen there is looked at anew before somebody is said to have let it go.
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
        self.saw_oddity(Some(Anomaly::Foreign(foreign_reason(why))));
        // Who holds it goes on to hold it, whatever else has come into it.
        let known = self.entry.as_ref().map(|known| known.nonce);
        match entries {
            [entry] => self.saw_entry(entry.clone(), age(self.modified)),
            several if several.iter().any(|entry| Some(entry.nonce) == known) => {}
            _ => self.emptied(),
        }
    }

    /// What is odd for a moment only, such as a lock that is just being removed, is not told.
    fn saw_oddity(&mut self, seen: Option<Anomaly>) {
        let now = clock::boot();
        let since = match &self.odd {
            Some((known, since)) if Some(known) == seen.as_ref() => *since,
            _ => now,
        };
        if seen.is_none() || now >= since + STAYS {
            self.chronicle.saw_oddity(seen.clone());
        }
        self.odd = seen.map(|seen| (seen, since));
    }

    pub(super) fn look_at_queue(&mut self) {
        let queue = self.directory.queue_now();
        let waiters: Vec<Waiter> = queue.iter().map(waiter).collect();
        let known = std::mem::replace(&mut self.queue, queue);
        self.chronicle.stand(&waiters, clock::boot(), |gone| {
            let ticket = known.iter().find(|ticket| ticket.nonce.0 == gone.nonce);
            ticket.and_then(lives) == Some(true)
        });
        self.left_queue.extend(known);
        self.forget_settled();
    }

    /// Looks at all of it, for the first time or after something was not told: what is told from now
    /// on may be older than what is seen.
    pub(super) fn begin(&mut self) {
        self.chronicle.gap();
        self.look();
        self.is_present = self.directory.is_there();
    }

    /// As [`begin`](Watched::begin), where nobody has looked before.
    pub(super) fn begin_first(&mut self) {
        self.chronicle.was_there();
        self.begin();
    }

    /// The directory has come, which was this stage.
    pub(super) fn came(&mut self, stage: Option<Nonce>) {
        self.count_installed();
        self.installed = stage;
        // What was told while we looked for the first time.
        if self.is_present {
            return;
        }
        self.is_present = true;
        self.renamed = None;
        // It was not listened to from its beginning.
        self.chronicle.gap();
        self.look_inside();
    }

    /// Who installed it held it. All that was told since the look that followed has been heard by now.
    fn count_installed(&mut self) {
        if let Some(nonce) = self.installed.take() {
            self.chronicle.held_by(nonce.0);
        }
    }

    /// The directory has gone; perhaps there is another one already.
    pub(super) fn went(&mut self) {
        self.count_installed();
        if std::mem::take(&mut self.is_present) {
            self.look_inside();
        }
    }

    /// This name has come into the directory.
    pub(super) fn entered(&mut self, name: &OsStr) {
        match (self.renamed.take(), name.to_str().and_then(Entry::parse)) {
            // One of ours gets another name; it does not come into a directory that is there.
            (Some(before), Some(entry)) if self.odd.is_none() => {
                let is_renewed = entry.nonce == before.nonce && entry.state == State::Held;
                if before.state == State::Held && !is_renewed {
                    self.chronicle.held_by(before.nonce.0);
                }
                self.taken(&before, &entry);
                match self.entry.is_none() && self.chronicle.has_held(entry.nonce.0) {
                    // As it seems, it was over at a look before this was heard.
                    true => self.look_inside(),
                    false => self.saw(entry, Duration::ZERO),
                }
            }
            // Whether it is ours now, all of it tells.
            _ => self.look_inside(),
        }
    }

    /// This name has gone from it, and the next one to come takes its place.
    pub(super) fn renamed(&mut self, name: &OsStr) {
        self.renamed = name.to_str().and_then(Entry::parse);
    }

    /// One entry was renamed to another. If both are held, by two, the first one was judged: it could
    /// not have let go in between.
    fn taken(&mut self, before: &Entry, after: &Entry) {
        let is_taken = before.nonce != after.nonce
            && (before.state, after.state) == (State::Held, State::Held)
            && self.entry.as_ref().is_some_and(|known| known.nonce == before.nonce);
        if !is_taken || self.chronicle.fate() != Fate::Lives {
            return;
        }
        let is_dead = match before.owner {
            Owner::Nobody => false,
            // Who took it over has read the clock when it had judged.
            _ if before.origin.is_same_clock(&after.origin) => after.stamp < before.expires_at(),
            _ => self.fate_of(before) == Fate::Dead,
        };
        self.chronicle.judged(if is_dead { Fate::Dead } else { Fate::Expired });
    }

    /// This name has gone from it, and no other has taken its place.
    pub(super) fn left(&mut self, name: &OsStr) {
        let Some(gone) = name.to_str().and_then(Entry::parse) else { return };
        if gone.state == State::Held {
            self.chronicle.held_by(gone.nonce.0);
        }
        if self.entry.as_ref() == Some(&gone) {
            self.emptied();
        }
    }

    pub(super) fn joined(&mut self, name: &OsStr) {
        if let Some(ticket) = name.to_str().and_then(Ticket::parse) {
            self.chronicle.joined(&waiter(&ticket));
            self.queue.push(ticket);
        }
    }

    pub(super) fn left_queue(&mut self, name: &OsStr) {
        let Some(gone) = name.to_str().and_then(Ticket::parse) else { return };
        self.queue.retain(|ticket| *ticket != gone);
        self.chronicle.left(gone.nonce.0, lives(&gone) == Some(true), clock::boot());
        self.left_queue.push(gone);
        self.forget_settled();
    }

    /// When to [`settle`](Watched::settle).
    pub(super) fn next_settling(&self) -> Option<Duration> {
        self.chronicle.next_settling(self.settles())
    }

    fn settles(&self) -> Duration {
        if self.chronicle.is_by_looks() { SETTLES_BY_LOOKS } else { SETTLES }
    }

    /// Tells why those left the queue of whom that is known by now, when all was heard that was told
    /// before this.
    pub(super) fn settle(&mut self, heard_until: Duration) {
        if self.left_queue.is_empty() {
            return;
        }
        let left = &self.left_queue;
        self.chronicle.settle(heard_until, self.settles(), |nonce| {
            let mut left = left.iter().filter(|ticket| ticket.nonce.0 == nonce);
            left.any(|ticket| lives(ticket) == Some(false)).then(clock::boot)
        });
        self.forget_settled();
    }

    fn forget_settled(&mut self) {
        self.left_queue.retain(|ticket| self.chronicle.is_leaving(ticket.nonce.0));
    }

    fn emptied(&mut self) {
        (self.entry, self.watch) = (None, None);
        self.chronicle.saw(None);
    }

    /// By the file system's clock it is so old.
    fn saw(&mut self, entry: Entry, by_file: Duration) {
        self.saw_oddity(None);
        self.saw_entry(entry, by_file);
    }

    fn saw_entry(&mut self, entry: Entry, by_file: Duration) {
        // What is told late is known already: numbers only grow, and so do changes.
        let is_old = self.entry.as_ref().is_some_and(|known| {
            known.token > entry.token
                || known.nonce == entry.nonce && known.renewals > entry.renewals
        });
        if is_old {
            if entry.state == State::Held {
                self.chronicle.saw_late(entry.nonce.0);
            }
            return;
        }
        if self.entry.as_ref() != Some(&entry) {
            let watched = Watch::on(&mut self.watch, &entry, clock::now());
            let hold = hold(&entry, self.directory.here(), watched.max(by_file));
            self.entry = Some(entry);
            self.chronicle.saw(Some(hold));
        }
    }

    /// What has become of the holder, and of those who wait? Nothing is asked that would change
    /// anything.
    pub(super) fn judge(&mut self) {
        self.count_installed();
        self.judge_queue();
        if self.odd.is_some() {
            self.look_inside();
        }
        let Some(entry) = self.entry.clone().filter(|entry| entry.state == State::Held) else {
            return;
        };
        let fate = self.fate_of(&entry);
        // Who has let go, or renewed, is heard of later; so it must be there after it was judged.
        if fate == Fate::Lives || fate == self.chronicle.fate() || self.is_there(&entry) {
            self.chronicle.judged(fate);
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
            // Whether a process of ours lives is asked first.
            Verdict::Expired(_) if is_known => Fate::Overdue,
            Verdict::Expired(_) => Fate::Expired,
            Verdict::Dead(_) => Fate::Dead,
            _ => Fate::Lives,
        }
    }

    /// Is this, and nothing else of ours, in the directory now?
    fn is_there(&self, entry: &Entry) -> bool {
        match self.directory.look() {
            Answer::Seen(Observation::Directory(listing)) => listing.entries == [entry.clone()],
            _ => false,
        }
    }

    /// The end of one who waits is noticed by who stands behind it; of the last one by nobody. All
    /// others are asked in turn.
    fn judge_queue(&mut self) {
        let Some(last) = self.queue.len().checked_sub(1) else { return };
        self.asked += 1;
        let other = self.asked.checked_rem(last);
        for index in std::iter::once(last).chain(other) {
            let ticket = &self.queue[index];
            let nonce = ticket.nonce.0;
            if lives(ticket) == Some(false)
                && !self.chronicle.is_dead_waiter(nonce)
                // Else it has left before it ended, and that is heard of later.
                && self.directory.queue_now().contains(ticket)
            {
                self.chronicle.died_waiting(nonce);
            }
        }
    }
}

fn hold(entry: &Entry, here: LocalContext, seen_age: Duration) -> Hold {
    let age = match entry.origin.is_same_clock(&here.origin) {
        true => clock::boot().saturating_sub(entry.stamp),
        false => seen_age,
    };
    Hold {
        by: Contender::holding(entry),
        token: entry.token,
        nonce: entry.nonce.0,
        changes: Some(entry.renewals),
        timeout: entry.timeout,
        remaining: entry.timeout.saturating_sub(age),
        age,
        is_open: entry.state == State::Open,
    }
}

/// How old what was changed then is by the wall clock, which files are stamped with here; on a server,
/// nearly.
fn age(modified: Stamp) -> Duration {
    let wall = i128::try_from(clock::now().wall.as_nanos()).unwrap_or(0);
    Duration::from_nanos(u64::try_from(wall - modified.0).unwrap_or(0))
}

fn waiter(ticket: &Ticket) -> Waiter {
    Waiter { who: Contender::waiting(ticket), nonce: ticket.nonce.0 }
}

/// Does the one of this ticket live? None where we cannot know.
fn lives(ticket: &Ticket) -> Option<bool> {
    ticket
        .origin
        .is_same_pids(&process::here().0)
        .then(|| process::life(Owner::One(ticket.process)) == Liveness::Alive)
}
