//! Several locks in one call: all of them or none. Every process acquires them in one order, so two
//! that want the same locks never wait for each other.

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{is_url, shown};
use crate::error::Error;
use crate::guard::Guard;
use crate::lock::Lock;
use crate::os::clock;
use crate::settings::OnLost;

/// Acquires several locks: all of them, or none. They may be kept by different engines.
///
/// The locks are acquired in the order of their canonical paths or URLs, whatever their order in
/// `locks` is, so that two processes that want the same locks do not wait for each other. The
/// patience of each lock counts from this call, so with the same patience for all, the call takes no
/// longer than that. Meanwhile the locks that are held already are renewed; a fixed
/// [timeout](Lock::timeout) counts from the end of the call. If one lock cannot be acquired, or the wait is
/// [interrupted](Lock::interrupt), those that are held already are released in reverse order.
///
/// A loss of one of the locks is a loss of all: see [`Guards`]. The
/// [callback](Lock::on_lost) of each lock is called for the loss of any of them.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// use lockbydir::{Lock, acquire_all};
///
/// let (a, b) = (Lock::new(folder.path().join("a")), Lock::new(folder.path().join("b")));
/// let guards = acquire_all([&b, &a])?;
/// assert!(guards.is_held() && a.is_locked()? && b.is_locked()?);
/// guards.release()?;
/// # Ok::<(), lockbydir::Error>(())
/// ```
///
/// # Errors
/// As for [`Lock::acquire`], for the first lock that cannot be acquired; [`Error::is_lost`] if one was
/// lost while the others were waited for;
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if there is no lock, or if two of them are the same
/// lock, also by different spellings of its path.
pub fn acquire_all<L: Borrow<Lock>>(locks: impl IntoIterator<Item = L>) -> Result<Guards, Error> {
    let started = clock::boot();
    let (locks, order) = sorted(locks)?;
    let mut guards = Guards { order, guards: Vec::new() };
    for lock in renewed_meanwhile(&locks) {
        guards.guards.push(lock.acquire_since(started)?);
    }
    guards.complete(&locks)
}

/// Acquires several locks like [`acquire_all`], in async code on tokio (feature `tokio`). If the
/// future is dropped, the wait ends as for [`Lock::acquire_async`], and the locks that are held
/// already are released.
///
/// # Errors
/// As for [`acquire_all`].
#[cfg(feature = "tokio")]
pub async fn acquire_all_async<L: Borrow<Lock>>(
    locks: impl IntoIterator<Item = L>,
) -> Result<Guards, Error> {
    let started = clock::boot();
    let (locks, order) = sorted(locks)?;
    let mut guards = Guards { order, guards: Vec::new() };
    for lock in renewed_meanwhile(&locks) {
        guards.guards.push(lock.remaining_since(started).acquire_async().await?);
    }
    guards.complete(&locks)
}

/// Returns the locks such that each is renewed while the next ones are waited for, which may take
/// longer than its timeout, and is free at once if one of those cannot be acquired.
fn renewed_meanwhile(locks: &[Lock]) -> impl Iterator<Item = Lock> {
    locks.iter().enumerate().map(|(nth, lock)| {
        let lock = lock.clone().at_least(Duration::ZERO);
        match nth + 1 == locks.len() {
            true => lock,
            false => lock.renew_automatically(true).begins_renewals_later(false),
        }
    })
}

/// Returns the locks in the order in which they are acquired, each with the callbacks of all; and for
/// each of them its place in `locks`.
fn sorted<L: Borrow<Lock>>(
    locks: impl IntoIterator<Item = L>,
) -> Result<(Vec<Lock>, Vec<usize>), Error> {
    let locks: Vec<Lock> = locks.into_iter().map(|lock| lock.borrow().clone()).collect();
    match locks.len() {
        0 => return Err(Error::usage("there is no lock to acquire; name one at least")),
        1 => {
            locks[0].settings.check_at_least(false)?;
            return Ok((locks, vec![0]));
        }
        _ => {}
    }
    let mut found: Vec<(PathBuf, usize, Lock)> = Vec::new();
    for (place, lock) in locks.into_iter().enumerate() {
        lock.settings.check_at_least(false)?;
        found.push((canonical(&lock)?, place, lock));
    }
    // Where names of different case are one file, all spellings of a lock must have one place.
    found.sort_by_cached_key(|(path, ..)| (folded(path), path.clone()));
    for pair in found.windows(2) {
        if let [(one, _, first), (other, _, second)] = pair
            && (one == other || HAS_ONE_CASE && folded(one) == folded(other))
        {
            let [first, second] = [first, second].map(|lock| shown(lock.name()));
            let (path, names) = (shown(one), format!("`{first}` and `{second}`"));
            let twice = if first == second { format!("`{first}` twice") } else { names };
            return Err(Error::usage(format!(
                "cannot acquire {twice} in one call: that is the lock {path}, which would wait for itself; name it once"
            )));
        }
    }
    let callbacks: Vec<_> =
        found.iter().filter_map(|(.., lock)| lock.settings.on_lost.clone()).collect();
    if !callbacks.is_empty() {
        let all: OnLost =
            Arc::new(move |error: &Error| callbacks.iter().for_each(|one| one(error)));
        for (.., lock) in &mut found {
            lock.settings.on_lost = Some(all.clone());
        }
    }
    Ok(found.into_iter().map(|(_, place, lock)| (lock, place)).unzip())
}

/// Whether names that differ in case alone may be the same file.
const HAS_ONE_CASE: bool = cfg!(any(windows, target_os = "macos"));

fn folded(path: &Path) -> String {
    path.to_string_lossy().to_lowercase()
}

/// Returns the path of the lock directory without symbolic links, `.` and `..`; or the URL. If its
/// folder does not exist, acquiring the lock reports that.
fn canonical(lock: &Lock) -> Result<PathBuf, Error> {
    let path = lock.path()?;
    if is_url(lock.name()) {
        return Ok(path);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
    Ok(folder.canonicalize().map(|folder| folder.join(name)).unwrap_or(path))
}

/// Proof that several locks are held, until the first of their deadlines.
///
/// They are released when this is dropped, in the reverse of the order in which they were acquired.
#[must_use = "the locks are released when their guards are dropped, here at once: keep them in a variable like `_guards`"]
#[derive(Debug)]
pub struct Guards {
    /// The place of each guard in the caller's list.
    order: Vec<usize>,
    /// In the order of acquisition.
    guards: Vec<Guard>,
}

impl From<Guard> for Guards {
    /// Makes a set of one.
    fn from(guard: Guard) -> Guards {
        Guards { order: vec![0], guards: vec![guard] }
    }
}

impl Guards {
    /// Ends the renewals of those locks that were renewed only while the others were waited for: their
    /// timeouts count from now. Fails if a lock was lost meanwhile.
    fn complete(mut self, locks: &[Lock]) -> Result<Guards, Error> {
        if let [others @ .., _last] = locks {
            for (lock, guard) in others.iter().zip(&self.guards) {
                if !lock.settings.renews() {
                    guard.end_renewals();
                    guard.renew()?;
                }
            }
        }
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        let guards = std::mem::take(&mut self.guards).into_iter().zip(locks);
        self.guards = guards.map(|(guard, lock)| guard.handed_over(&lock.settings)).collect();
        Ok(self)
    }

    /// Returns the guards in the order in which the locks were given to [`acquire_all`].
    #[must_use]
    pub fn as_given(&self) -> Vec<&Guard> {
        let mut guards: Vec<_> = self.order.iter().zip(&self.guards).collect();
        guards.sort_by_key(|(place, _)| **place);
        guards.into_iter().map(|(_, guard)| guard).collect()
    }

    /// Returns the guard whose lock ends first, unless it is renewed.
    #[must_use]
    pub fn first_to_end(&self) -> Option<&Guard> {
        self.guards.iter().min_by_key(|guard| guard.remaining())
    }

    /// Returns how long all locks are still held for certain, as [`Guard::remaining`].
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.first_to_end().map(Guard::remaining).unwrap_or_default()
    }

    /// Returns true if all locks are still held, as [`Guard::is_held`].
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Returns the shortest of the timeouts, as [`Guard::timeout`].
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.guards.iter().map(Guard::timeout).min().unwrap_or_default()
    }

    /// Returns why one of the locks is lost, if one is known to be, as [`Guard::lost`].
    #[must_use]
    pub fn lost(&self) -> Option<Error> {
        self.guards.iter().find_map(Guard::lost)
    }

    /// Returns why the last renewal of one of the locks failed, as [`Guard::renewal_failure`]: of the
    /// one that ends first, if there are several.
    #[must_use]
    pub fn renewal_failure(&self) -> Option<String> {
        self.first_to_end().and_then(Guard::renewal_failure)
    }

    /// Begins the automatic renewals of all locks, as [`Guard::begin_renewals`].
    ///
    /// # Errors
    /// As for [`Guard::begin_renewals`].
    #[doc(hidden)]
    pub fn begin_renewals(&self) -> Result<(), Error> {
        self.guards.iter().try_for_each(Guard::begin_renewals)
    }

    /// Lets the release free all locks at once, as [`Guard::end_at_once`].
    #[doc(hidden)]
    pub fn end_at_once(&self) {
        self.guards.iter().for_each(Guard::end_at_once);
    }

    /// Waits until one of the locks is known to be lost or is about to end, as [`Guard::wait_lost`];
    /// returns false if none is within `up_to`. With several locks, the end of one is noticed up to
    /// 50 ms late.
    #[must_use]
    pub fn wait_lost(&self, up_to: Duration) -> bool {
        /// The longest wait for one lock before the next one is looked at.
        const TURN: Duration = Duration::from_millis(50);
        let until = clock::boot().saturating_add(up_to);
        loop {
            let rest = until.saturating_sub(clock::boot());
            let Some((last, others)) = self.guards.split_last() else { return true };
            if others.iter().any(|guard| guard.wait_lost(Duration::ZERO)) {
                return true;
            }
            let turn = if others.is_empty() { rest } else { rest.min(TURN) };
            if last.wait_lost(turn) {
                return true;
            }
            if rest <= turn {
                return false;
            }
        }
    }

    /// Renews all locks, as [`Guard::renew`]. All are tried, even if one fails.
    ///
    /// # Errors
    /// As for [`Guard::renew`], for the first lock whose renewal failed.
    pub fn renew(&self) -> Result<(), Error> {
        let renewed: Vec<_> = self.guards.iter().map(Guard::renew).collect();
        renewed.into_iter().collect()
    }

    /// Releases all locks in the reverse of the order in which they were acquired. All are tried, even
    /// if one fails.
    ///
    /// # Errors
    /// As for [`Guard::release`], for the first lock whose release failed.
    pub fn release(mut self) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(guard) = self.guards.pop() {
            result = result.and(guard.release());
        }
        result
    }

    /// Returns the guards, in the order in which the locks were given to [`acquire_all`], as guards
    /// that no longer depend on each other.
    pub fn into_guards(mut self) -> Vec<Guard> {
        let order = std::mem::take(&mut self.order);
        let guards = std::mem::take(&mut self.guards);
        let mut guards: Vec<_> = order.into_iter().zip(guards).collect();
        guards.sort_by_key(|(place, _)| *place);
        guards.into_iter().map(|(_, guard)| guard).collect()
    }
}

impl Drop for Guards {
    fn drop(&mut self) {
        while let Some(guard) = self.guards.pop() {
            drop(guard);
        }
    }
}
