//! A lock by its name: its options and its operations.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lockbydir_protocol::RenewRequest;

use crate::directory::cache::Parking;
use crate::directory::executor::Directory;
use crate::engine::{Engine, LockDirectory, registered, shown};
use crate::error::Error;
use crate::foreign::ForeignThing;
use crate::guard::{self, Guard};
use crate::hold;
use crate::interrupt::Interrupt;
use crate::key::Key;
use crate::os::clock;
use crate::reentrant;
use crate::settings::{Owner, Settings};
use crate::status::{Broken, Status};
use crate::waiter;
use crate::waiting::{Patience, Waiting};

/// A lock: a name, and the options for holding it and waiting for it. Creating one does no I/O.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let name = folder.path().join("jobs");
/// use std::time::Duration;
/// use lockbydir::Lock;
///
/// let lock = Lock::new(&name).patience(Duration::from_secs(5)).label("nightly");
/// let guard = lock.acquire()?;
/// assert!(guard.is_held());
/// guard.release()?;
/// # Ok::<(), lockbydir::Error>(())
/// ```
#[derive(Clone)]
pub struct Lock {
    pub(crate) settings: Settings,
    parking: Arc<Parking>,
    /// The engine of a name that is a URL. For a path, the engine is looked up at each use.
    opened: Arc<OnceLock<Arc<dyn Engine>>>,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("name", &shown(&self.settings.name))
            .field("timeout", &self.settings.timeout)
            .field("patience", &self.settings.patience)
            .finish_non_exhaustive()
    }
}

impl Lock {
    /// Returns the lock of this name: the directory `NAME.lockdir`. The name is a path; it is
    /// checked when an operation needs it. A name that ends in `.lockdir` or `.lockdir/` is the
    /// lock directory itself, so it means the same lock. A relative name is resolved against the
    /// current directory of this moment, even if the program changes its directory later:
    ///
    /// ```standalone_crate
    /// # let (first, later) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    /// # std::env::set_current_dir(first.path()).unwrap();
    /// let here = std::env::current_dir()?;
    /// let lock = lockbydir::Lock::new("jobs");
    /// # let elsewhere = later.path();
    /// std::env::set_current_dir(elsewhere)?;
    /// assert_eq!(lock.path()?, here.join("jobs.lockdir"));
    /// let guard = lock.acquire()?;
    /// assert!(here.join("jobs.lockdir").exists());
    /// # guard.release()?;
    /// # std::env::set_current_dir("/").unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A name that begins with `SCHEME://` is a URL: the [engine](crate::engine) that is registered
    /// for this scheme keeps the lock, which has no directory.
    #[must_use]
    pub fn new(name: impl AsRef<Path>) -> Lock {
        Lock::of(Settings::new(name.as_ref()))
    }

    pub(crate) fn of(settings: Settings) -> Lock {
        Lock { settings, parking: Arc::default(), opened: Arc::default() }
    }

    /// Sets a fixed timeout: the lock lasts this long, from [`MIN_TIMEOUT`](crate::MIN_TIMEOUT)
    /// (100 ms) to [`MAX_TIMEOUT`](crate::MAX_TIMEOUT) (ten years), and then others may take it,
    /// unless it is renewed. The holder chooses it, it is stored in the lock, and everybody obeys
    /// it.
    ///
    /// Without this call the lock is renewed automatically, for 10 s at a time, as long as the
    /// process and the guard live. Add [`renew_automatically`](Lock::renew_automatically) for
    /// another timeout that is renewed.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Lock {
        self.settings.timeout = timeout;
        self.settings.has_timeout = true;
        self.opened = Arc::default();
        self
    }

    /// Sets how long to wait for the lock; 30 s by default.
    #[must_use]
    pub fn patience(mut self, patience: impl Into<Patience>) -> Lock {
        self.settings.patience = patience.into();
        self
    }

    /// Sets what the lock is held for, which waiters see: at most 40 printable ASCII characters.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Lock {
        self.settings.label = label.into();
        self
    }

    /// Keeps the lock directory forever, so that tokens always grow, even if a clock is set back.
    /// Other engines may always do so.
    #[must_use]
    pub fn fenced(mut self, fenced: bool) -> Lock {
        self.settings.fenced = fenced;
        self
    }

    /// Keeps the released directory in place for this long, so that this handle and its clones (and
    /// others) can acquire it again by one rename. Other engines ignore it.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Lock {
        self.settings.linger = linger;
        self
    }

    /// Sets the permissions of the lock directory; `0o700` by default. Write permission for group
    /// or others means that the lock is shared with other users on purpose. Refused for a URL.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Lock {
        self.settings.mode = mode & 0o777;
        self
    }

    /// Sets the group of the lock directory. Refused for a URL.
    #[must_use]
    pub fn group(mut self, gid: u32) -> Lock {
        self.settings.group = Some(gid);
        self
    }

    /// Sets whether the lock is renewed automatically, at every third of its timeout. By default it
    /// is, unless a [`timeout`](Lock::timeout) was chosen.
    ///
    /// One thread of the process renews the locks of all its guards; if it cannot be started,
    /// acquiring fails. A renewal that fails is tried again until the deadline, and once more at
    /// the deadline. After a pause of the whole process the lock is renewed at once, although late:
    /// if nobody has taken it, the guard is held again. If the last try fails, the lock is lost. It
    /// is renewed again only once [`Guard::renew`] or [`Guard::set_timeout`] has succeeded.
    #[must_use]
    pub fn renew_automatically(mut self, renews: bool) -> Lock {
        self.settings.renews = Some(renews);
        self
    }

    /// Sets a callback for the loss of the lock. A thread of the library calls it once for each
    /// loss:
    /// - when a renewal finds that somebody has ended the holding: at once;
    /// - when renewals fail: never before the deadline. Renewals are tried again until then, and
    ///   once more at the deadline. If that try fails too, the callback is called. If it succeeds,
    ///   nobody has had the lock in between, and nothing is lost;
    /// - when a renewal does not answer (a file system or server that hangs): at the deadline, or
    ///   an eighth of the timeout (half a second at most) after that try began. The reason then
    ///   says that the renewal call has not returned. If it answers later and the lock is still
    ///   ours, the lock is held again;
    /// - when the lock is not renewed automatically: at the deadline, with
    ///   [`LostReason::Expired`](crate::LostReason::Expired).
    ///
    /// Others may take the lock a margin after the deadline: half of a timeout up to 0.2 s, 0.1 s up
    /// to 0.4 s, a quarter up to 2 s, 0.5 s up to 10 s, a twentieth up to 20 s, and 1 s for longer
    /// timeouts. To learn of a possible loss earlier, while a quarter of the timeout is left, use
    /// [`Guard::wait_lost`] and [`Guard::renewal_failure`]. [`Guard::is_held`] is false from the
    /// deadline on. After a pause of the whole process the callback is called when the first try
    /// after the pause has failed.
    #[must_use]
    pub fn on_lost(mut self, callback: impl Fn(&Error) + Send + Sync + 'static) -> Lock {
        self.settings.on_lost = Some(Arc::new(callback));
        self
    }

    /// Sets a callback for the wait, called after half a second and then about ten times a second.
    #[must_use]
    pub fn on_wait(mut self, callback: impl Fn(&Waiting<'_>) + Send + Sync + 'static) -> Lock {
        self.settings.on_wait = Some(Arc::new(callback));
        self
    }

    /// Sets a callback for the wait, called after `first` and then once in every `every`: for a log
    /// rather than a live display. Each call costs a look at the lock.
    #[must_use]
    pub fn on_wait_every(
        mut self,
        first: Duration,
        every: Duration,
        callback: impl Fn(&Waiting<'_>) + Send + Sync + 'static,
    ) -> Lock {
        self.settings.calls = (first, every);
        self.on_wait(callback)
    }

    /// Ends a wait at once when `interrupt` is raised, with
    /// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted).
    #[must_use]
    pub fn interrupt(mut self, interrupt: Interrupt) -> Lock {
        self.settings.interrupt = Some(interrupt);
        self
    }

    /// Keeps the lock held for at least this long from its acquisition on, at most ten years: for a job
    /// that several hosts start at the same time by clocks that differ. Zero by default.
    ///
    /// A release before that (also a drop of the guard) leaves the lock without a process, to expire
    /// at that time, or after 100 ms if that is later. It costs one renewal and nobody waits for it:
    /// the call returns at once, and the guard is over. The next holder then finds
    /// [`How::AfterExpiry`](crate::How::AfterExpiry) from a [`Holder`](crate::Holder) without a
    /// process. While the guard lives, nothing changes: timeout and renewals are as without it.
    ///
    /// What ends earlier: a lock that is lost, broken by force, or released by its key; and the lock of
    /// a process that was killed, since its work is not done. A lock that must last even then has no
    /// process, and a timeout that is at least as long: [`Owner::Nobody`].
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let name = folder.path().join("jobs");
    /// use std::time::Duration;
    /// use lockbydir::Lock;
    ///
    /// let lock = Lock::new(&name).at_least(Duration::from_secs(30));
    /// lock.acquire()?.release()?;
    /// assert!(lock.try_acquire()?.is_none());
    /// # Ok::<(), lockbydir::Error>(())
    /// ```
    #[must_use]
    pub fn at_least(mut self, at_least: Duration) -> Lock {
        self.settings.at_least = at_least;
        self
    }

    /// Sets how often a waiter looks at least where it is not notified of a change: on another
    /// host, or in a folder without a queue. From 1 ms; 50 ms by default.
    #[must_use]
    pub fn poll_interval(mut self, poll_interval: Duration) -> Lock {
        self.settings.poll_interval = poll_interval;
        self
    }

    /// Sets whose life the lock depends on; this process by default.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Lock {
        self.settings.owner = owner;
        self
    }

    /// Reserves room in the entry's name for [`Guard::name_child`] where the file system allows
    /// only short names, and refuses the lock if there is too little. `false` by default. Other
    /// engines ignore it.
    #[must_use]
    pub fn names_child(mut self, names_child: bool) -> Lock {
        self.settings.names_child = names_child;
        self
    }

    /// Lets a thread that holds the lock acquire it again, by this handle, a clone, or another
    /// reentrant handle of the same path: it gets another guard of the same holding at once, and
    /// the last of these guards releases the lock. In async code on tokio, the task counts instead
    /// of the thread. `false` by default: then such a thread waits for itself.
    ///
    /// The options of the first acquisition count. A renewal or a new timeout by any of the guards is
    /// for all of them, a loss ends all, and [`Guard::keep`] hands over the whole holding. Other
    /// threads and tasks wait as usual, also if a guard was moved to them. A forked child owns
    /// nothing of its parent.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let name = folder.path().join("jobs");
    /// let lock = lockbydir::Lock::new(&name).reentrant(true);
    /// let outer = lock.acquire()?;
    /// let inner = lock.acquire()?;
    /// outer.release()?;
    /// assert!(lock.is_locked()?);
    /// inner.release()?;
    /// assert!(!lock.is_locked()?);
    /// # Ok::<(), lockbydir::Error>(())
    /// ```
    #[must_use]
    pub fn reentrant(mut self, reentrant: bool) -> Lock {
        self.settings.reentrant = reentrant;
        self
    }

    /// Leaves the start of automatic renewals to [`Guard::begin_renewals`]: a holder that releases long
    /// before the first one is due needs no thread for them. `false` by default.
    #[doc(hidden)]
    #[must_use]
    pub fn begins_renewals_later(mut self, later: bool) -> Lock {
        self.settings.begins_renewals_later = later;
        self
    }

    /// Returns the name as given, without a `.lockdir` at its end; a URL may contain secrets.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.settings.name
    }

    /// Returns the lock directory as an absolute path; or the URL without user, password and query,
    /// ending in `.lockdir` too.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if no lock can have this name.
    pub fn path(&self) -> Result<PathBuf, Error> {
        Ok(self.engine()?.path().to_owned())
    }

    /// Returns the engine that keeps this lock.
    pub(crate) fn engine(&self) -> Result<Arc<dyn Engine>, Error> {
        if let Some(engine) = self.opened.get() {
            return Ok(engine.clone());
        }
        let settings = &self.settings;
        let Some((scheme, url)) = registered(&settings.name)? else {
            return Ok(Arc::new(LockDirectory {
                directory: settings.directory()?,
                name: settings.name.clone(),
                timeout: settings.timeout,
                poll_interval: settings.poll_interval,
                linger: settings.linger,
                parking: self.parking.clone(),
            }));
        };
        settings.check_for_url()?;
        let engine = (scheme.open)(url, settings.checked_timeout()?)?;
        Ok(self.opened.get_or_init(|| engine).clone())
    }

    /// Returns the same, if it can grant a holding of this kind.
    pub(crate) fn engine_for(&self, shared: bool) -> Result<Arc<dyn Engine>, Error> {
        let engine = self.engine()?;
        match shared && !engine.can_share() {
            true => Err(Error::cannot_share(Some(engine.path()))),
            false => Ok(engine),
        }
    }

    /// Waits while patience lasts, then holds the lock until the guard is released or dropped. Keep
    /// the guard: `let _ = lock.acquire()?;` drops it at once.
    ///
    /// # Errors
    /// [`Error::is_patience_over`] if the lock stayed taken; [`Error::is_deadlock`] if this process and
    /// others wait for each other (Linux, programs with one thread); [`Error::is_foreign`] if what is at
    /// its path is not ours; [`ErrorKind::OtherUser`](crate::ErrorKind::OtherUser),
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied),
    /// [`ErrorKind::CannotMake`](crate::ErrorKind::CannotMake) or
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if it cannot be created;
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) for an invalid name, timeout or label;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if its engine is out of reach.
    pub fn acquire(&self) -> Result<Guard, Error> {
        self.acquire_since(clock::boot())
    }

    /// Acquires the lock like [`acquire`](Lock::acquire), in a wait that began at this time of the
    /// boot clock.
    pub(crate) fn acquire_since(&self, started: Duration) -> Result<Guard, Error> {
        self.acquire_within(started, self.settings.patience, false)
    }

    /// Waits while patience lasts, then holds the lock as a reader, until the guard is released or
    /// dropped: together with other readers, but never together with an exclusive holder. Readers
    /// and exclusive waiters stand in the same queue, so neither kind starves.
    ///
    /// # Errors
    /// As for [`acquire`](Lock::acquire); [`ErrorKind::Usage`](crate::ErrorKind::Usage) if the
    /// lock's engine cannot share it.
    pub fn acquire_shared(&self) -> Result<Guard, Error> {
        self.acquire_within(clock::boot(), self.settings.patience, true)
    }

    /// Tries once to hold the lock as a reader, without waiting; returns `None` if it is held
    /// exclusively, or somebody waits for it.
    ///
    /// # Errors
    /// As for [`acquire_shared`](Lock::acquire_shared), except that a taken lock is no error.
    pub fn try_acquire_shared(&self) -> Result<Option<Guard>, Error> {
        or_none(self.acquire_within(clock::boot(), Patience::NONE, true))
    }

    /// Tries once, without waiting; returns `None` if the lock is taken.
    ///
    /// Keep the guard, as by `if let Some(guard) = lock.try_acquire()? { ... }`. With
    /// `if lock.try_acquire()?.is_some() { ... }` it is dropped before the block, which then runs
    /// without the lock.
    ///
    /// # Errors
    /// As for [`acquire`](Lock::acquire), except that a taken lock is no error.
    pub fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        or_none(self.acquire_within(clock::boot(), Patience::NONE, false))
    }

    fn acquire_within(
        &self,
        started: Duration,
        patience: Patience,
        shared: bool,
    ) -> Result<Guard, Error> {
        let engine = self.engine_for(shared)?;
        if self.settings.reentrant
            && let Some(guard) = reentrant::again(engine.path(), shared)?
        {
            return Ok(guard);
        }
        let request = self.settings.acquire_request(shared)?;
        let (holding, how) = waiter::acquire(&self.settings, &*engine, request, started, patience)?;
        let guard = guard::hold(&self.settings, engine, holding, how)?.handed_over(&self.settings);
        if self.settings.reentrant {
            guard.remember();
        }
        Ok(guard)
    }

    /// Returns what can be seen of the lock.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage), [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) or [`ErrorKind::Io`](crate::ErrorKind::Io).
    pub fn status(&self) -> Result<Status, Error> {
        self.engine()?.status()
    }

    /// Returns the lock's status if this key has the lock, and `None` if the lock is free or
    /// another holding has it. If [`state`](Status::state) is not [`Held`](crate::State::Held), the
    /// holding has expired or its processes are dead, so another may take the lock at any moment.
    ///
    /// # Errors
    /// As for [`status`](Lock::status).
    pub fn status_of(&self, key: &Key) -> Result<Option<Status>, Error> {
        self.engine()?.status_of(*key)
    }

    /// Returns true if a new waiter would have to wait.
    ///
    /// # Errors
    /// As for [`status`](Lock::status); also for a lock that nobody could acquire:
    /// [`Error::is_foreign`], [`ErrorKind::OtherUser`](crate::ErrorKind::OtherUser).
    pub fn is_locked(&self) -> Result<bool, Error> {
        self.engine()?.is_locked()
    }

    /// Removes an expired or dead holder's lock.
    ///
    /// # Errors
    /// As for [`acquire`](Lock::acquire), except that a living holder is no error.
    pub fn break_stale(&self) -> Result<Broken, Error> {
        self.engine()?.evict(false)
    }

    /// Removes the lock, whoever holds it. The holder notices this only at its next renewal, so
    /// until then two processes may believe that they hold it.
    ///
    /// # Errors
    /// As for [`break_stale`](Lock::break_stale).
    pub fn break_by_force(&self) -> Result<Broken, Error> {
        self.engine()?.evict(true)
    }

    /// Returns what is in the lock directory and is not an entry of a lock, sorted by name: the
    /// things that make it [foreign](Error::is_foreign), and litter. At most 64 of them.
    ///
    /// # Errors
    /// If the directory cannot be listed, or is another user's;
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) for a URL.
    pub fn foreign_things(&self) -> Result<Vec<ForeignThing>, Error> {
        self.own_directory()?.foreign_things()
    }

    /// Removes such things from the lock directory: plain files and empty directories, by their
    /// names. If one of them has become anything else, nothing is removed. The lock itself stays as
    /// it is: [`break_by_force`](Lock::break_by_force) ends it.
    ///
    /// # Errors
    /// As for [`foreign_things`](Lock::foreign_things); [`Error::is_foreign`] for what cannot be
    /// removed.
    pub fn remove_foreign_things(&self, things: &[ForeignThing]) -> Result<(), Error> {
        self.own_directory()?.remove_foreign_things(things)
    }

    fn own_directory(&self) -> Result<Directory, Error> {
        match registered(&self.settings.name)? {
            None => self.settings.directory(),
            Some(_) => Err(Error::usage(format!(
                "`{}` is no directory, so nothing foreign is in it",
                shown(&self.settings.name)
            ))),
        }
    }

    /// Renews the holding of this key, with this lock's timeout if it was set. If a guard of this
    /// process has the holding, that guard is renewed.
    ///
    /// # Errors
    /// [`Error::is_lost`] if the key no longer holds the lock;
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) for a timeout that is shorter than that of a
    /// holding which depends on the life of another process: that process may have a guard, which
    /// would not notice the change.
    pub fn renew(&self, key: &Key) -> Result<(), Error> {
        let timeout =
            if self.settings.has_timeout { Some(self.settings.checked_timeout()?) } else { None };
        let engine = self.engine()?;
        match hold::of(key).filter(|hold| is_same_lock(hold.path(), engine.path())) {
            Some(hold) => hold.renew(RenewRequest { timeout, owner: None }),
            None => engine.renew(*key, timeout),
        }
    }

    /// Releases the holding of this key.
    ///
    /// # Errors
    /// [`Error::is_lost`] if the key no longer holds the lock.
    pub fn release(&self, key: &Key) -> Result<(), Error> {
        self.engine()?.release(*key)
    }
}

/// Returns `None` for a lock that is taken.
fn or_none(acquired: Result<Guard, Error>) -> Result<Option<Guard>, Error> {
    match acquired {
        Ok(guard) => Ok(Some(guard)),
        Err(error) if error.is_patience_over() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns true if these paths of a key's lock and of another handle lead to the same lock. Paths
/// that are not files are URLs, whose servers may be named in several ways.
fn is_same_lock(held: &Path, asked: &Path) -> bool {
    held == asked
        || match (held.canonicalize(), asked.canonicalize()) {
            (Ok(held), Ok(asked)) => held == asked,
            (Err(_), Err(_)) => held.file_name() == asked.file_name(),
            _ => false,
        }
}
