//! Locks that change hands too fast for a report of each holding: notifications would slow them
//! down. The observer looks at them at intervals, and counts their holdings for short times.

use std::path::Path;
use std::time::Duration;

use lockbydir_protocol::{Entry, Nonce, State};

use crate::os::clock;
use crate::os::{DirEvent, DirWatcher};

/// How often holdings are counted, and for how long each time.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
const COUNT_TIME: Duration = Duration::from_millis(20);

/// A busy lock.
#[derive(Debug, Default)]
pub(super) struct Busy {
    next_count: Duration,
    counting: Option<Counting>,
}

struct Counting {
    since: Duration,
    watcher: DirWatcher,
    /// The numbers of the lock directory and of the folder that it is in.
    places: [Option<i32>; 2],
}

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counting").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Busy {
    /// Returns when the next step of counting is due.
    pub(super) fn next(&self) -> Duration {
        self.counting.as_ref().map_or(self.next_count, |counting| counting.since + COUNT_TIME)
    }

    /// Begins to count, or ends it and returns the number of holdings per second.
    pub(super) fn count(&mut self, path: &Path) -> Option<u32> {
        let now = clock::boot();
        if now < self.next() {
            return None;
        }
        self.next_count = now + COUNT_INTERVAL;
        match self.counting.take() {
            Some(counting) => {
                let holdings = f64::from(counting.holdings(path));
                let took = now.saturating_sub(counting.since).as_secs_f64();
                Some((holdings / took).round() as u32)
            }
            None => {
                self.counting = DirWatcher::new().ok().map(|watcher| {
                    let folder = path.parent().unwrap_or(path);
                    let places = [path, folder].map(|place| watcher.watch(place).ok());
                    Counting { since: now, watcher, places }
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
        self.watcher.read_events(&mut |event| {
            let DirEvent::Added(number, name, _) = event else { return };
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
