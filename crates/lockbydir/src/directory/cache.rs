//! Lingering: a released directory stays open for a while, so that the next acquisition is one
//! rename. The cached entry is removed when its time is over or its handle is dropped. One thread
//! of the process does this for all handles, as long as any entry lingers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lockbydir_protocol::{Entry, Release};

use crate::directory::executor::Directory;
use crate::os::fork_local::ForkLocal;
use crate::os::{simulated, syscalls};

/// The place where a handle remembers the open entry that it left behind. A forked child leaves its
/// parent's entries to the parent.
#[derive(Default)]
pub(crate) struct Parking(ForkLocal<Arc<Cache>>);

/// The state that a handle shares with the cleanup thread. Dropping the handle removes the entry at
/// once, so this must not keep the handle alive.
#[derive(Default)]
struct Cache(Mutex<Parked>);

#[derive(Default)]
struct Parked {
    cached: Option<CachedLock>,
    /// When the last cached entry is to be removed; kept while the entry is taken out.
    until: Option<Instant>,
    /// The cleaner's list contains this cache.
    is_listed: bool,
}

struct CachedLock {
    directory: Directory,
    entry: Entry,
}

impl CachedLock {
    /// Removes the open entry and its directory, unless somebody has taken the lock.
    fn evict(self) {
        let here = self.directory.here();
        self.directory.run(&mut Release::new(self.entry, false, here));
    }
}

impl Cache {
    fn state(&self) -> MutexGuard<'_, Parked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parking {
    fn cache(&self) -> &Arc<Cache> {
        self.0.get_or_make(Arc::default)
    }

    /// Returns the entry that can be acquired without a look at the directory.
    pub(crate) fn take(&self, directory: &Directory) -> Option<Entry> {
        let mut state = self.0.get()?.state();
        let cached = state.cached.take_if(|cached| cached.directory.path() == directory.path())?;
        Some(cached.entry)
    }

    /// Remembers an open entry for a while.
    pub(crate) fn park(&self, directory: Directory, entry: Entry, linger: Duration) {
        let cache = self.cache();
        let mut state = cache.state();
        let until = Instant::now() + linger.min(Duration::from_secs(365 * 24 * 3600));
        state.cached = Some(CachedLock { directory, entry });
        state.until = Some(until);
        // A test's world does not start this thread, and processes of the test that share state
        // through it would make each other wait.
        if simulated::world().is_some() {
            return;
        }
        let is_listed = std::mem::replace(&mut state.is_listed, true);
        drop(state);
        let cleaner = CLEANER.get_or_make(Cleaner::default);
        cleaner.expect(until, (!is_listed).then(|| Arc::downgrade(cache)));
    }
}

/// The cleaner of all caches of this process.
static CLEANER: ForkLocal<Cleaner> = ForkLocal::new();

#[derive(Default)]
struct Cleaner {
    list: Mutex<List>,
    changed: Condvar,
}

#[derive(Default)]
struct List {
    caches: Vec<Weak<Cache>>,
    /// The number of caches above which the list is searched for dropped ones.
    tidy_at: usize,
    is_running: bool,
    /// The earliest end among the entries cached since the last round.
    earliest: Option<Instant>,
}

impl Cleaner {
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Schedules a removal at `until`, perhaps in a new cache.
    fn expect(&self, until: Instant, cache: Option<Weak<Cache>>) {
        let mut list = self.list();
        list.caches.extend(cache);
        if list.caches.len() > list.tidy_at {
            list.caches.retain(|cache| cache.strong_count() > 0);
            list.tidy_at = (2 * list.caches.len()).max(64);
        }
        if list.earliest.is_none_or(|earliest| until < earliest) {
            list.earliest = Some(until);
            self.changed.notify_one();
        }
        if !list.is_running {
            // Without a thread the entry stays until its handle is dropped, or until the next entry
            // is cached.
            list.is_running = syscalls::thread("lockbydir-linger", remove_expired).is_ok();
        }
    }
}

/// Removes entries whose time is over, until nothing is cached.
fn remove_expired() {
    let Some(cleaner) = CLEANER.get() else { return };
    let mut list = cleaner.list();
    loop {
        // The caches are taken out of the list while they are examined; an entry cached meanwhile
        // is listed anew.
        let caches = std::mem::take(&mut list.caches);
        if caches.is_empty() {
            list.is_running = false;
            return;
        }
        list.earliest = None;
        drop(list);
        let kept: Vec<_> = caches
            .into_iter()
            .filter_map(|cache| {
                let until = cache.upgrade()?.remove_expired()?;
                Some((until, cache))
            })
            .collect();
        let next = kept.iter().map(|(until, _)| *until).min();
        list = cleaner.list();
        list.caches.extend(kept.into_iter().map(|(_, cache)| cache));
        if let Some(next) = next {
            let rest = next.saturating_duration_since(Instant::now());
            let is_later = |list: &mut List| list.earliest.is_none_or(|earliest| earliest >= next);
            let waited = cleaner.changed.wait_timeout_while(list, rest, is_later);
            list = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Cache {
    /// Removes the cached entry if its time is over; otherwise returns until when it stays.
    fn remove_expired(&self) -> Option<Instant> {
        let mut state = self.state();
        match state.until {
            Some(until) if until > Instant::now() => Some(until),
            _ => {
                if let Some(cached) = state.cached.take() {
                    cached.evict();
                }
                state.is_listed = false;
                None
            }
        }
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        if let Some(cached) = self.0.get().and_then(|cache| cache.state().cached.take()) {
            cached.evict();
        }
    }
}
