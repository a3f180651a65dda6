//! Locks that change hands too fast to be told each time: to hear of each would slow them down. They
//! are looked at now and then, and counted for short whiles.

use std::path::Path;
use std::time::Duration;

use lockbydir_protocol::{Entry, Nonce, State};

use crate::os::clock;
use crate::os::{DirWatcher, Heard};

/// How often holdings are counted, and for how long.
const EVERY: Duration = Duration::from_secs(1);
const WHILE: Duration = Duration::from_millis(20);

/// A busy lock.
#[derive(Debug, Default)]
pub(super) struct Busy {
    next_count: Duration,
    counting: Option<Counting>,
}

struct Counting {
    since: Duration,
    ears: DirWatcher,
    /// The numbers of the lock directory and of the folder that it is in.
    places: [Option<i32>; 2],
}

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counting").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Busy {
    /// When there is something to do.
    pub(super) fn next(&self) -> Duration {
        self.counting.as_ref().map_or(self.next_count, |counting| counting.since + WHILE)
    }

    /// Begins to count, or ends it: how many holdings were there a second?
    pub(super) fn count(&mut self, path: &Path) -> Option<u32> {
        let now = clock::boot();
        if now < self.next() {
            return None;
        }
        self.next_count = now + EVERY;
        match self.counting.take() {
            Some(counting) => {
                let holdings = f64::from(counting.holdings(path));
                let took = now.saturating_sub(counting.since).as_secs_f64();
                Some((holdings / took).round() as u32)
            }
            None => {
                self.counting = DirWatcher::new().ok().map(|ears| {
                    let folder = path.parent().unwrap_or(path);
                    let places = [path, folder].map(|place| ears.listen(place).ok());
                    Counting { since: now, ears, places }
                });
                None
            }
        }
    }
}

impl Counting {
    fn holdings(&self, path: &Path) -> u32 {
        let (mut holdings, mut last) = (0, None::<Nonce>);
        let [lock, folder] = self.places;
        self.ears.heard(&mut |heard| {
            let Heard::AcquiredFrom(number, name, _) = heard else { return };
            if Some(number) == folder && Some(&*name) == path.file_name() {
                holdings += 1;
            } else if Some(number) == lock
                && let Some(entry) = name.to_str().and_then(Entry::parse)
                && entry.state == State::Held
                && last.replace(entry.nonce) != Some(entry.nonce)
            {
                holdings += 1;
            }
        });
        holdings
    }
}
