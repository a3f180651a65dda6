//! One lock directory under observation: looks at it and at its line, and tells its chronicle.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir_protocol::{
    Answer, Entry, Facts, Here, Life, Listing, Owner, Sight, Stamp, State, Ticket, Verdict, Watch,
};

use super::busy::Busy;
use super::chronicle::{Chronicle, Fate, Hold, Oddity, Waiter};
use super::event::{Contender, What};
use crate::dir::Directory;
use crate::error::{foreign_reason, stranger_reason};
use crate::folder::verdict_on;
use crate::{clock, process};

/// As long as this an empty directory is there, or a foreign thing, before it is told.
const STAYS: Duration = Duration::from_millis(200);
/// Who left the line holds the lock, or stands in another place of it, within this time; else it will not.
const SETTLES: Duration = Duration::from_millis(20);

/// A lock directory, and what is known of it.
pub(super) struct Watched {
    directory: Directory,
    chronicle: Chronicle,
    /// What was in it last.
    entry: Option<Entry>,
    /// Since when that very name is watched, for holders whose clock is not ours.
    watch: Option<Watch>,
    /// What is odd about it, and since when.
    odd: Option<(Oddity, Duration)>,
    modified: Stamp,
    line: Vec<Ticket>,
    /// When something was told of it last.
    told_at: Duration,
    /// So often it was asked whether one who waits lives.
    asked: usize,
    /// How much was heard of it since that was asked last.
    heard: u32,
    busy: Option<Busy>,
    /// Is it there, as far as its folder has told?
    is_present: bool,
    /// It has come, and nothing was seen in it yet.
    is_unseen: bool,
    /// Something was seen in so many whose coming is not told yet.
    seen_ahead: u32,
}

impl Watched {
    pub(super) fn new(path: &Path) -> Watched {
        Watched {
            directory: Directory::new(path.to_owned(), 0o700, None).only_looking(),
            chronicle: Chronicle::default(),
            entry: None,
            watch: None,
            odd: None,
            modified: Stamp(0),
            line: Vec::new(),
            told_at: Duration::ZERO,
            asked: 0,
            heard: 0,
            busy: None,
            is_present: false,
            is_unseen: false,
            seen_ahead: 0,
        }
    }

    pub(super) fn line_path(&self) -> PathBuf {
        self.directory.line_path()
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
        let is_gone = self.entry.is_none() && self.odd.is_none() && self.line.is_empty();
        is_gone && self.busy.is_none() && self.told_at < then
    }

    /// Does only looking tell of what happens to it?
    pub(super) fn wants_looks(&self) -> bool {
        self.busy.is_some() || !self.directory.here().one_kernel
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
        self.look_at_line();
    }

    pub(super) fn look_inside(&mut self) {
        match self.directory.look() {
            Answer::Seen(Sight::Absent) => {
                self.saw_oddity(None);
                self.emptied();
            }
            Answer::Seen(Sight::Foreign(why)) => self.saw_foreign(foreign_reason(&why)),
            Answer::Seen(Sight::Directory(listing)) => {
                self.chronicle.begin();
                let Listing { entries, modified, foreign, stranger, .. } = listing;
                self.modified = modified;
                match (&entries[..], foreign, stranger) {
                    (.., Some(uid)) => self.saw_foreign(stranger_reason(uid)),
                    (_, Some(why), _) => self.saw_foreign(foreign_reason(&why)),
                    ([], ..) => {
                        self.saw_oddity(Some(Oddity::Bare));
                        self.emptied();
                    }
                    ([entry], ..) => self.saw(entry.clone()),
                    // Torn: the next look will tell.
                    _ => {}
                }
            }
            // Nothing that can be seen.
            _ => {}
        }
    }

    fn saw_foreign(&mut self, why: String) {
        self.saw_oddity(Some(Oddity::Foreign(why)));
        self.emptied();
    }

    /// What is odd for a moment only, such as a lock that is just being removed, is not told.
    fn saw_oddity(&mut self, seen: Option<Oddity>) {
        let now = clock::boot();
        let since = match &self.odd {
            Some((known, since)) if Some(known) == seen.as_ref() => *since,
            _ => now,
        };
        if seen.is_none() || now >= since + STAYS {
            // No holding was missed, if nobody holds it as one of us.
            self.is_unseen &= seen.is_none();
            self.chronicle.saw_oddity(seen.clone());
        }
        self.odd = seen.map(|seen| (seen, since));
    }

    pub(super) fn look_at_line(&mut self) {
        let line = self.directory.line_now();
        let waiters = line.iter().map(waiter).collect();
        let known = std::mem::replace(&mut self.line, line);
        self.chronicle.stand(waiters, clock::boot(), |gone| {
            known.iter().find(|ticket| ticket.nonce.0 == gone.nonce).is_none_or(lives)
        });
    }

    /// Looks at all of it, for the first time or after something was not told: what is told from now
    /// on may be older than what is seen.
    pub(super) fn begin(&mut self) {
        self.look();
        self.is_present = self.directory.is_there();
        (self.is_unseen, self.seen_ahead) = (false, 0);
    }

    /// As [`begin`](Watched::begin), where nobody has looked before.
    pub(super) fn begin_first(&mut self) {
        self.chronicle.was_there();
        self.begin();
    }

    /// The directory has come. Each one counts once: seen, or missed.
    pub(super) fn came(&mut self) {
        // What was told while we looked for the first time.
        if self.is_present {
            return;
        }
        self.is_present = true;
        self.is_unseen = self.seen_ahead == 0;
        self.seen_ahead = self.seen_ahead.saturating_sub(1);
        let before = self.entry.clone();
        self.look_ahead();
        if self.is_unseen && self.entry.is_some() && self.entry == before {
            // It was seen already when an earlier one was told of.
            self.is_unseen = false;
            self.chronicle.missed();
        }
    }

    /// Looks inside of a directory that may be a later one than that which was told of.
    fn look_ahead(&mut self) {
        let (before, was_unseen) = (self.entry.clone(), self.is_unseen);
        self.look_inside();
        if !was_unseen && self.entry.is_some() && self.entry != before {
            self.seen_ahead += 1;
        }
    }

    /// The directory has gone; perhaps there is another one already.
    pub(super) fn went(&mut self) {
        if !self.is_present {
            return;
        }
        self.is_present = false;
        if std::mem::take(&mut self.is_unseen) {
            self.chronicle.missed();
        }
        self.look_ahead();
    }

    /// This name has come into the directory.
    pub(super) fn entered(&mut self, name: &OsStr) {
        match name.to_str().and_then(Entry::parse) {
            // Whether it is ours now, all of it tells.
            Some(_) if self.odd.is_some() => self.look_inside(),
            Some(entry) => self.saw(entry),
            None => {}
        }
    }

    /// This name has gone from it, and no other has taken its place.
    pub(super) fn left(&mut self, name: &OsStr) {
        let gone = name.to_str().and_then(Entry::parse);
        if gone.is_some() && gone == self.entry {
            self.emptied();
        }
    }

    pub(super) fn joined(&mut self, name: &OsStr) {
        if let Some(ticket) = name.to_str().and_then(Ticket::parse) {
            self.chronicle.joined(waiter(&ticket));
            self.line.push(ticket);
        }
    }

    pub(super) fn left_line(&mut self, name: &OsStr) {
        let Some(gone) = name.to_str().and_then(Ticket::parse) else { return };
        self.line.retain(|ticket| *ticket != gone);
        self.chronicle.left(gone.nonce.0, lives(&gone), clock::boot());
    }

    /// When to [`settle`](Watched::settle).
    pub(super) fn next_settling(&self) -> Option<Duration> {
        self.chronicle.unsettled_since().map(|since| since + SETTLES)
    }

    /// Tells why those left the line who have left it long enough before now.
    pub(super) fn settle(&mut self, now: Duration) {
        self.chronicle.settle(now.saturating_sub(SETTLES));
    }

    fn emptied(&mut self) {
        (self.entry, self.watch) = (None, None);
        self.chronicle.saw(None);
    }

    fn saw(&mut self, entry: Entry) {
        self.saw_oddity(None);
        // What is told late is known already: numbers only grow, and so do changes.
        let is_old = self.entry.as_ref().is_some_and(|known| {
            known.token > entry.token
                || known.nonce == entry.nonce && known.renewals > entry.renewals
        });
        if is_old {
            return;
        }
        // Who was there before may have come to its end since it was looked at last.
        if self.entry.as_ref().is_some_and(|known| known.nonce != entry.nonce) {
            self.judge();
        }
        if self.entry.as_ref() != Some(&entry) {
            self.is_unseen = false;
            let watched = Watch::on(&mut self.watch, &entry, clock::now());
            let hold = hold(&entry, self.directory.here(), watched);
            self.entry = Some(entry);
            self.chronicle.saw(Some(hold));
        }
    }

    /// What has become of the holder, and of those who wait? Nothing is asked that would change
    /// anything.
    pub(super) fn judge(&mut self) {
        self.judge_line();
        if self.odd.is_some() {
            self.look_inside();
        }
        let Some(entry) = self.entry.as_ref().filter(|entry| entry.state == State::Held) else {
            return;
        };
        let now = clock::now();
        let watched = Watch::on(&mut self.watch, entry, now);
        let (modified, file_clock) = (self.modified, Some(self.modified));
        let facts = Facts { now, watched, modified, life: None, file_clock };
        let verdict = verdict_on(entry, &self.directory.here(), facts);
        self.chronicle.judged(match verdict {
            Verdict::Lapsed(_) => Fate::Lapsed,
            Verdict::Dead(_) => Fate::Dead,
            _ => Fate::Lives,
        });
    }

    /// The end of one who waits is noticed by who stands behind it; of the last one by nobody. All
    /// others are asked in turn.
    fn judge_line(&mut self) {
        let Some(last) = self.line.len().checked_sub(1) else { return };
        self.asked += 1;
        let other = self.asked.checked_rem(last);
        for index in std::iter::once(last).chain(other) {
            if !lives(&self.line[index]) {
                self.chronicle.died_waiting(self.line[index].nonce.0);
            }
        }
    }
}

fn hold(entry: &Entry, here: Here, watched: Duration) -> Hold {
    let age = match entry.origin.is_same_clock(&here.origin) {
        true => clock::boot().saturating_sub(entry.stamp),
        false => watched,
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

fn waiter(ticket: &Ticket) -> Waiter {
    Waiter { who: Contender::waiting(ticket), nonce: ticket.nonce.0 }
}

/// Does the one of this ticket live, as far as we can tell?
fn lives(ticket: &Ticket) -> bool {
    !ticket.origin.is_same_pids(&process::here().0)
        || process::life(Owner::One(ticket.process)) == Life::Alive
}
