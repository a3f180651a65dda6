//! Seeing locks as they are taken, waited for and let go: an observer tells what happens to the locks
//! of a folder, from what can be seen in it. It changes nothing there, and no lock waits for it.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! use std::time::Duration;
//! use lockbydir::Lock;
//! use lockbydir::observe::{Observer, What};
//!
//! let mut observer = Observer::of(folder.path())?;
//! let guard = Lock::new(folder.path().join("jobs")).acquire()?;
//! let events = observer.next(Duration::from_secs(5))?;
//! assert!(events.iter().any(|event| matches!(event.what, What::Acquired { .. })));
//! # drop(guard);
//! # Ok::<(), lockbydir::Error>(())
//! ```
//!
//! # What it sees, and what not
//! - On a file system of this machine the kernel tells of each change (Linux). Directories that come
//!   and go within the time of a look cannot be looked into: those holdings are counted
//!   ([`What::Missed`]), each once. Only of those that follow one another in one directory before it is
//!   listened to, nothing shows those between the first and the last. A wait that ends as fast is not seen.
//! - A lock that changes hands some hundred times a second would be slowed down by that. It counts as
//!   [busy](What::Busy): then ten looks a second tell of it, and its holdings are counted for 20 ms of
//!   each second. So it costs 1 to 2 % of its speed
//!   (`cargo bench -p lockbydir-bench --bench observe`).
//! - On shared file systems and other systems only looks tell, ten a second: what happens between two
//!   is neither seen nor counted. Names of an [engine](crate::engine) are looked at twice a second.
//! - Who removes a lock cannot be seen. One that was removed while its holder lived counts as
//!   released, even if it was broken by force, or its timeout was over.
//! - A lock of another host is expired when it was watched for its whole timeout.
//! - A holder counts as dead, or its timeout as over, when its lock was still there after that was
//!   found; or when the kernel tells that another one took the lock from it. Where only looks tell, who
//!   was replaced between two of them counts as one that released.
//! - Who leaves the queue may have given up, died, or had the lock for a moment. What is not certain is
//!   told as [gone](Departure::Gone): the process had ended before it could be looked for, or is of
//!   another host; or the lock was free then, or not seen all the time. Who might come back, because its
//!   process lives, is waited for: a second, and ten where nobody held the lock.
//! - An empty directory, or a foreign thing, is told as such when it stays for 0.2 s.
//! - A lock that has not been there for a minute is forgotten, and appears anew.
//! - An engine that is out of reach is told of ([`What::Unreachable`]), and asked until it answers.
//!
//! Here is what is observed, a folder or names. `chronicle.rs` tells what happened from one look and
//! the next, `waiting.rs` of those who wait, `watched.rs` looks at one lock, `folder.rs` hears of many, `busy.rs` counts the busy
//! ones, `elsewhere.rs` looks at those of other engines, `event.rs` is what is told.

mod event;
mod folder;
mod history;
mod remote;
mod sampling;
mod waiting;
mod watched;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

pub use self::event::{Contender, Departure, Event, Gained, What};
use self::folder::Folders;
use self::remote::RemoteObserver;
use crate::engine::is_url;
use crate::error::Error;
use crate::lock::Lock;
use crate::os::clock;
use crate::os::syscalls::sleep_on;

/// A lock that has not been there for so long is forgotten: where each job has one of its own, names
/// come for ever.
const FORGET: Duration = Duration::from_secs(60);

/// Sees what happens to locks.
#[derive(Debug)]
pub struct Observer {
    folders: Option<Folders>,
    elsewhere: Vec<RemoteObserver>,
}

impl Observer {
    /// Of all locks below a folder, or below a URL that an [engine](crate::engine) keeps.
    ///
    /// # Errors
    /// When the folder cannot be read; [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable)
    /// when the engine is out of reach.
    pub fn of(folder: impl AsRef<Path>) -> Result<Observer, Error> {
        let folder = folder.as_ref();
        if is_url(folder) {
            let elsewhere = RemoteObserver::open(folder.to_owned(), true)?;
            return Ok(Observer { folders: None, elsewhere: vec![elsewhere] });
        }
        // As locks name themselves.
        let root = std::path::absolute(folder).map_err(|cause| Error::io("read", folder, cause))?;
        let folders = Folders::open(vec![root], None)?;
        Ok(Observer { folders: Some(folders), elsewhere: Vec::new() })
    }

    /// Of these locks, wherever they are. They need not be there yet.
    ///
    /// # Errors
    /// As for [`of`](Observer::of); [`ErrorKind::Usage`](crate::ErrorKind::Usage) when no lock can
    /// have one of the names.
    pub fn of_locks<P: AsRef<Path>>(names: impl IntoIterator<Item = P>) -> Result<Observer, Error> {
        let (mut roots, mut only, mut elsewhere) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for name in names {
            let name = name.as_ref();
            if is_url(name) {
                elsewhere.push(RemoteObserver::open(name.to_owned(), false)?);
                continue;
            }
            let path = Lock::new(name).path()?;
            roots.extend(path.parent().map(Path::to_owned));
            only.insert(path);
        }
        let is_any = !only.is_empty();
        let open = || Folders::open(roots.into_iter().collect(), Some(only));
        Ok(Observer { folders: is_any.then(open).transpose()?, elsewhere })
    }

    /// Which limit of the system keeps it from seeing all that happens, and what follows from that, if one
    /// does. It goes on to try.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        Some(self.folders.as_ref()?.limit()?.why())
    }

    /// Was all told that was there when it was made? What is [bare](What::Bare) or
    /// [foreign](What::Foreign) is told a moment later than what is held.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.folders.as_ref().is_none_or(Folders::is_whole)
            && self.elsewhere.iter().all(|elsewhere| elsewhere.next_look() > Duration::ZERO)
    }

    /// Waits until something happens, so long at most, and tells it in its order.
    ///
    /// # Errors
    /// When a folder cannot be read any more, or an engine refuses.
    pub fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let until = clock::boot() + up_to;
        loop {
            let mut events = Vec::new();
            for elsewhere in &mut self.elsewhere {
                events.extend(elsewhere.look()?);
            }
            let looks = self.elsewhere.iter().map(RemoteObserver::next_look).min();
            // Who has something to tell does not wait.
            let pause = match events.is_empty() {
                true => looks.map_or(until, |look| look.min(until)),
                false => Duration::ZERO,
            };
            match &mut self.folders {
                Some(folders) => events.extend(folders.next(pause)?),
                None => drop(sleep_on(&[], pause)),
            }
            if !events.is_empty() || clock::boot() >= until {
                return Ok(events);
            }
        }
    }
}
