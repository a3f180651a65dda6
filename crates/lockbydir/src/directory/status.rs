//! The status of a lock directory, from one look at it: which state it is in, how old, and what keeps it
//! from being a lock.

use std::path::Path;
use std::time::Duration;

use lockbydir_protocol::{
    Listing, LocalContext, Now, Observation, Stamp, State as EntryState, Verdict, View,
    timestamp_granularity,
};

use crate::foreign::{foreign_reason, other_user_reason};
use crate::os::syscalls::is_mount;
use crate::status::{Holder, State, Status};

impl Status {
    /// Returns the status that follows from a look. A bare directory of this age counts as expired.
    pub(crate) fn of(
        name: &Path,
        path: &Path,
        view: &View,
        now: Now,
        here: &LocalContext,
        bare_timeout: Duration,
    ) -> Status {
        let mut status = Status::new(name, path);
        match &view.sight {
            Observation::Absent => {}
            Observation::Foreign(why) => {
                status.state = State::Foreign;
                status.note = Some(foreign_reason(why));
            }
            Observation::Directory(listing) => status.fill(listing, view, now, here, bare_timeout),
        }
        status
    }

    fn fill(
        &mut self,
        listing: &Listing,
        view: &View,
        now: Now,
        here: &LocalContext,
        bare_timeout: Duration,
    ) {
        let wall = Stamp(i128::try_from(now.wall.as_nanos()).unwrap_or(i128::MAX));
        let clock = view.file_clock.unwrap_or(wall);
        let by_file = u64::try_from(clock.0 - listing.modified.0).unwrap_or(0);
        let by_file = Duration::from_nanos(by_file);
        if let Some(litter) = &listing.litter {
            self.note = Some(format!("`{litter}` in it prevents its removal"));
        }
        if let Some(uid) = listing.stranger {
            self.state = State::Foreign;
            self.note = Some(other_user_reason(uid));
            return;
        }
        let Some(entry) = listing.entries.first() else {
            self.state = State::Bare;
            self.age = Some(by_file);
            let timeout = bare_timeout + timestamp_granularity(listing.modified);
            self.remaining = Some(timeout.saturating_sub(by_file));
            if is_mount(&self.path).is_ok_and(|is_one| is_one) {
                let advice =
                    "it is a mount point and cannot be removed; mount its parent folder instead";
                self.note.get_or_insert_with(|| advice.into());
            }
            return;
        };
        self.token = Some(entry.token);
        let same_clock = entry.origin.is_same_clock(&here.origin) && entry.stamp <= now.boot;
        let age = if same_clock { now.boot.saturating_sub(entry.stamp) } else { by_file };
        self.age = Some(age);
        if entry.state == EntryState::Open {
            self.state = State::Open;
            return;
        }
        self.state = match view.verdict {
            Some(Verdict::Expired(_)) => State::Expired,
            Some(Verdict::Dead(_)) => State::Dead,
            _ => State::Held,
        };
        self.timeout = Some(entry.timeout);
        self.remaining = Some(match self.state {
            State::Held => entry.timeout.saturating_sub(age),
            _ => Duration::ZERO,
        });
        self.holder = Some(Holder::of(entry));
    }
}
