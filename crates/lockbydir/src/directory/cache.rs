//! Lingering: a released directory stays open for a while, so that the next acquisition is one
//! rename. The parked entry is removed when its time is over or the handle goes. One thread of the
//! process sees to that for all handles, as long as something lingers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lockbydir_protocol::{Entry, Release};

use crate::directory::executor::Directory;
use crate::os::fork_local::ForkLocal;
use crate::os::{simulated, syscalls};

/// Where a handle remembers the open entry that it left behind. What a parent left is its own to
/// remove.
#[derive(Default)]
pub(crate) struct Parking(ForkLocal<Arc<Cache>>);

/// What the handle shares with the thread that attends it. The handle's end tows at once, so this
/// must not keep the handle alive.
#[derive(Default)]
struct Cache(Mutex<Parked>);

#[derive(Default)]
struct Parked {
    car: Option<CachedLock>,
    /// When the last one parked is to be removed; kept while it is out.
    until: Option<Instant>,
    /// The attendant knows of this lot.
    is_listed: bool,
}

struct CachedLock {
    directory: Directory,
    entry: Entry,
}

impl CachedLock {
    /// Removes the open entry and its directory, unless somebody has taken it.
    fn evict(self) {
        let here = self.directory.here();
        self.directory.run(&mut Release::new(self.entry, false, here));
    }
}

impl Cache {
    fn parked(&self) -> MutexGuard<'_, Parked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parking {
    fn lot(&self) -> &Arc<Cache> {
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
        parked.car = Some(CachedLock { directory, entry });
        parked.until = Some(until);
        // A test's world starts no such thread, and what its processes share by way of this one would
        // make them wait for each other.
        if simulated::world().is_some() {
            return;
        }
        let is_listed = std::mem::replace(&mut parked.is_listed, true);
        drop(parked);
        let attendant = ATTENDANT.get_or_make(Attendant::default);
        attendant.expect(until, (!is_listed).then(|| Arc::downgrade(lot)));
    }
}

/// The one thread that attends all lots of this process.
static ATTENDANT: ForkLocal<Attendant> = ForkLocal::new();

#[derive(Default)]
struct Attendant {
    list: Mutex<List>,
    changed: Condvar,
}

#[derive(Default)]
struct List {
    lots: Vec<Weak<Cache>>,
    /// How many lots make it worth a look which of them are gone.
    tidy_at: usize,
    is_attended: bool,
    /// The earliest end among those parked since the last round.
    earliest: Option<Instant>,
}

impl Attendant {
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is to be removed then, perhaps in a lot that is new.
    fn expect(&self, until: Instant, lot: Option<Weak<Cache>>) {
        let mut list = self.list();
        list.lots.extend(lot);
        if list.lots.len() > list.tidy_at {
            list.lots.retain(|lot| lot.strong_count() > 0);
            list.tidy_at = (2 * list.lots.len()).max(64);
        }
        if list.earliest.is_none_or(|earliest| until < earliest) {
            list.earliest = Some(until);
            self.changed.notify_one();
        }
        if !list.is_attended {
            // Without a thread it stays until its handle goes, or the next one is parked.
            list.is_attended = syscalls::thread("lockbydir-linger", attend).is_ok();
        }
    }
}

/// Removes what has stayed parked for its whole time, until nothing is parked.
fn attend() {
    let Some(attendant) = ATTENDANT.get() else { return };
    let mut list = attendant.list();
    loop {
        // Out of the list while they are looked at: what is parked meanwhile is listed anew.
        let lots = std::mem::take(&mut list.lots);
        if lots.is_empty() {
            list.is_attended = false;
            return;
        }
        list.earliest = None;
        drop(list);
        let kept: Vec<_> = lots
            .into_iter()
            .filter_map(|lot| {
                let until = lot.upgrade()?.attend()?;
                Some((until, lot))
            })
            .collect();
        let next = kept.iter().map(|(until, _)| *until).min();
        list = attendant.list();
        list.lots.extend(kept.into_iter().map(|(_, lot)| lot));
        if let Some(next) = next {
            let rest = next.saturating_duration_since(Instant::now());
            let is_later = |list: &mut List| list.earliest.is_none_or(|earliest| earliest >= next);
            let waited = attendant.changed.wait_timeout_while(list, rest, is_later);
            list = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Cache {
    /// Removes what is parked if its time is over; else, until when it stays.
    fn attend(&self) -> Option<Instant> {
        let mut parked = self.parked();
        match parked.until {
            Some(until) if until > Instant::now() => Some(until),
            _ => {
                if let Some(car) = parked.car.take() {
                    car.evict();
                }
                parked.is_listed = false;
                None
            }
        }
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        if let Some(car) = self.0.get().and_then(|lot| lot.parked().car.take()) {
            car.evict();
        }
    }
}
