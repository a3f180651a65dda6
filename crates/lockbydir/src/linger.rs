//! Lingering: a released directory stays open for a while, so that the next acquisition is one
//! rename. The parked entry is removed when its time is over or the handle goes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use lockbydir_protocol::{Entry, Release};

use crate::call;
use crate::dir::Directory;
use crate::own::Own;

/// Where a handle remembers the open entry that it left behind. What a parent left is its own to
/// remove.
#[derive(Default)]
pub(crate) struct Parking(Own<Arc<Lot>>);

/// What the handle shares with the thread that attends it. The handle's end tows at once, so this
/// must not keep the handle alive.
#[derive(Default)]
struct Lot(Mutex<Parked>);

#[derive(Default)]
struct Parked {
    car: Option<Car>,
    /// When the last one parked is to be removed; kept while it is out, so that a hot loop does
    /// not start a thread for every turn.
    until: Option<Instant>,
    attended: bool,
}

struct Car {
    directory: Directory,
    entry: Entry,
}

impl Car {
    /// Removes the open entry and its directory, unless somebody has taken it.
    fn tow(self) {
        let here = self.directory.here();
        self.directory.run(&mut Release::new(self.entry, false, here));
    }
}

impl Lot {
    fn parked(&self) -> MutexGuard<'_, Parked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parking {
    fn lot(&self) -> &Arc<Lot> {
        self.0.get_or_make(Arc::default)
    }

    /// The entry that may be taken without a look.
    pub(crate) fn take(&self, directory: &Directory) -> Option<Entry> {
        let mut parked = self.0.get()?.parked();
        let car = parked.car.take_if(|car| car.directory.path() == directory.path())?;
        Some(car.entry)
    }

    /// Remembers an open entry for a while.
    pub(crate) fn park(&self, directory: Directory, entry: Entry, linger: Duration) {
        let lot = self.lot();
        let mut parked = lot.parked();
        let until = Instant::now() + linger.min(Duration::from_secs(365 * 24 * 3600));
        parked.car = Some(Car { directory, entry });
        parked.until = Some(until);
        if !parked.attended {
            let weak = Arc::downgrade(lot);
            parked.attended = call::thread("lockbydir-linger", || attend(weak)).is_ok();
        }
    }
}

/// Waits until nothing was parked for its whole time, then removes it.
fn attend(lot: Weak<Lot>) {
    while let Some(strong) = lot.upgrade() {
        let mut parked = strong.parked();
        let now = Instant::now();
        let rest = match parked.until {
            Some(until) if until > now => until - now,
            _ => {
                if let Some(car) = parked.car.take() {
                    car.tow();
                }
                parked.attended = false;
                return;
            }
        };
        drop(parked);
        drop(strong);
        thread::sleep(rest);
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        if let Some(car) = self.0.get().and_then(|lot| lot.parked().car.take()) {
            car.tow();
        }
    }
}
