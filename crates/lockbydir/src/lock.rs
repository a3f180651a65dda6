//! A lock as one names it: its options and its verbs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockbydir_protocol::{Entry, Evict, Eviction, Listing, Release, Renew, Renewal, Sight, Terms};

#[cfg(feature = "tokio")]
use crate::crowd::Seat;
use crate::error::Error;
use crate::guard::{self, Guard};
use crate::interrupt::Interrupt;
use crate::key::Key;
use crate::linger::Parking;
use crate::settings::{Owner, Settings};
use crate::status::{Broken, Holder, Predecessor, Status};
#[cfg(feature = "tokio")]
use crate::waiter::Waiter;
use crate::waiter::{self, Patience, Waiting};

/// A lock: a name, and how one wants to hold and to wait. Making one touches nothing.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let name = folder.path().join("jobs");
/// use std::time::Duration;
/// use lockbydir::Lock;
///
/// let lock = Lock::new(&name).timeout(Duration::from_secs(10)).patience(Duration::from_secs(30));
/// let guard = lock.acquire()?;
/// assert!(guard.is_held());
/// guard.release()?;
/// # Ok::<(), lockbydir::Error>(())
/// ```
#[derive(Clone)]
pub struct Lock {
    pub(crate) settings: Settings,
    parking: Arc<Parking>,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("name", &self.settings.name)
            .field("timeout", &self.settings.timeout)
            .field("patience", &self.settings.patience)
            .finish_non_exhaustive()
    }
}

impl Lock {
    /// The lock of this name: the directory `NAME.lockdir`. The name is a path, relative to the
    /// current directory at each use; it is checked when a verb needs it.
    #[must_use]
    pub fn new(name: impl AsRef<Path>) -> Lock {
        Lock { settings: Settings::new(name.as_ref()), parking: Arc::default() }
    }

    /// How long the lock lasts unless renewed: 10 ms to ten years; 10 s if not set. It is the
    /// holder's, lives in the lock, and all obey it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Lock {
        self.settings.timeout = timeout;
        self.settings.has_timeout = true;
        self
    }

    /// How long to wait for the lock; 30 s if not set.
    #[must_use]
    pub fn patience(mut self, patience: impl Into<Patience>) -> Lock {
        self.settings.patience = patience.into();
        self
    }

    /// What the lock is held for, told to those who wait: at most 40 printable ASCII characters.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Lock {
        self.settings.label = label.into();
        self
    }

    /// Keeps the lock directory for ever, so that tokens only grow whatever clocks do.
    #[must_use]
    pub fn fenced(mut self, fenced: bool) -> Lock {
        self.settings.fenced = fenced;
        self
    }

    /// Keeps the released directory in place for this long, so that this handle and its clones
    /// (and others) acquire it anew by one rename.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Lock {
        self.settings.linger = linger;
        self
    }

    /// Permissions of the lock directory; `0o700` if not set. Write permission for group or
    /// others says that the lock is shared with other users on purpose.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Lock {
        self.settings.mode = mode & 0o777;
        self
    }

    /// The group that the lock directory is given to.
    #[must_use]
    pub fn group(mut self, gid: u32) -> Lock {
        self.settings.group = Some(gid);
        self
    }

    /// Lets a thread of the guard's own renew the lock, every third of its timeout.
    #[must_use]
    pub fn renew_automatically(mut self, renews: bool) -> Lock {
        self.settings.renews = renews;
        self
    }

    /// Called from the renewing thread when the lock is lost, before others may hold it.
    #[must_use]
    pub fn on_lost(mut self, told: impl Fn(&Error) + Send + Sync + 'static) -> Lock {
        self.settings.on_lost = Some(Arc::new(told));
        self
    }

    /// Called while waiting, after half a second and then about ten times a second.
    #[must_use]
    pub fn on_wait(mut self, told: impl Fn(&Waiting<'_>) + Send + Sync + 'static) -> Lock {
        self.settings.on_wait = Some(Arc::new(told));
        self
    }

    /// Ends a wait at once when this is raised, with [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted).
    #[must_use]
    pub fn interrupt(mut self, interrupt: Interrupt) -> Lock {
        self.settings.interrupt = Some(interrupt);
        self
    }

    /// While waiting, looks at least this often where nothing tells of a change: on another
    /// host, in a folder without a line. From 1 ms; 50 ms if not set.
    #[must_use]
    pub fn pace(mut self, pace: Duration) -> Lock {
        self.settings.pace = pace;
        self
    }

    /// Whose life the lock depends on; this process if not set.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Lock {
        self.settings.owner = owner;
        self
    }

    /// The name as given.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.settings.name
    }

    /// The lock directory, as an absolute path.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if no lock can have this name.
    pub fn path(&self) -> Result<PathBuf, Error> {
        self.settings.path()
    }

    /// Waits while patience lasts, then holds the lock.
    ///
    /// # Errors
    /// [`Error::is_patience_over`] when the lock stayed taken; [`Error::is_foreign`] when what is
    /// at its path is not ours; [`ErrorKind::OtherUser`](crate::ErrorKind::OtherUser), [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied),
    /// [`ErrorKind::CannotMake`](crate::ErrorKind::CannotMake), [`ErrorKind::Io`](crate::ErrorKind::Io) when it cannot be made; [`ErrorKind::Usage`](crate::ErrorKind::Usage)
    /// for a name, timeout or label that cannot be.
    pub fn acquire(&self) -> Result<Guard, Error> {
        self.acquire_within(self.settings.patience)
    }

    /// One try, without waiting; `None` when the lock is taken.
    ///
    /// # Errors
    /// As for [`acquire`](Lock::acquire), except that a taken lock is no error.
    pub fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        match self.acquire_within(Patience::NONE) {
            Ok(guard) => Ok(Some(guard)),
            Err(error) if error.is_patience_over() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn acquire_within(&self, patience: Patience) -> Result<Guard, Error> {
        let settings = &self.settings;
        let directory = settings.directory()?;
        let wish = settings.wish()?;
        let shortcut = self.parking.take(&directory);
        let (entry, came) = waiter::acquire(settings, &directory, wish, shortcut, patience)?;
        Ok(guard::hold(settings, directory, entry, &came, self.parking.clone()))
    }

    /// Waits by the calling thread for a task whose turn it is; the next one's comes when `seat`
    /// goes.
    #[cfg(feature = "tokio")]
    pub(crate) fn stand_for_task(
        &self,
        seat: Seat,
        interrupt: &Interrupt,
        around_sleep: &mut dyn FnMut(
            &mut dyn FnMut() -> lockbydir_protocol::Wake,
        ) -> lockbydir_protocol::Wake,
    ) -> Result<Guard, Error> {
        let settings = &self.settings;
        let directory = settings.directory()?;
        let wish = settings.wish()?;
        let shortcut = self.parking.take(&directory);
        let mut waiter = Waiter::new(settings, &directory, settings.patience);
        let (entry, came) = waiter.stand_in_line(wish, shortcut, Some(interrupt), around_sleep)?;
        drop(seat);
        Ok(guard::hold(settings, directory, entry, &came, self.parking.clone()))
    }

    /// What can be seen of the lock.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage), [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) or [`ErrorKind::Io`](crate::ErrorKind::Io).
    pub fn status(&self) -> Result<Status, Error> {
        let directory = self.settings.directory()?.only_looking();
        waiter::status(&self.settings, &directory)
    }

    /// Must the next one wait?
    ///
    /// # Errors
    /// As for [`status`](Lock::status), and for what nobody could acquire:
    /// [`Error::is_foreign`], [`ErrorKind::OtherUser`](crate::ErrorKind::OtherUser).
    pub fn is_locked(&self) -> Result<bool, Error> {
        let directory = self.settings.directory()?.only_looking();
        let (view, status) = self.settings.look(&directory);
        match view.sight {
            _ if view.fault.is_some() => self.status(),
            Sight::Foreign(why) => Err(Error::foreign(directory.path(), &why)),
            Sight::Directory(Listing { stranger: Some(uid), .. }) => {
                Err(Error::stranger(directory.path(), uid))
            }
            _ => Ok(status),
        }
        .map(|status| status.is_locked())
    }

    /// Removes a lapsed or dead holder's lock.
    ///
    /// # Errors
    /// As for [`acquire`](Lock::acquire), except that a living holder is no error.
    pub fn break_lapsed(&self) -> Result<Broken, Error> {
        self.evict(false)
    }

    /// Removes the lock, whoever holds it. The holder learns of it only at its next renewal, so
    /// until then two may believe that they hold it.
    ///
    /// # Errors
    /// As for [`break_lapsed`](Lock::break_lapsed).
    pub fn break_by_force(&self) -> Result<Broken, Error> {
        self.evict(true)
    }

    fn evict(&self, force: bool) -> Result<Broken, Error> {
        let directory = self.settings.directory()?;
        let mut machine = Evict::new(directory.here(), force, self.settings.timeout);
        let predecessor =
            |entry: &Entry| Predecessor { holder: Holder::of(entry), token: entry.token };
        let path = directory.path();
        match directory.run(&mut machine) {
            Eviction::WasFree => Ok(Broken::WasFree),
            Eviction::Removed(entry) => Ok(Broken::Removed(entry.as_ref().map(predecessor))),
            Eviction::StillHeld(entry) => Ok(Broken::StillHeld(entry.as_ref().map(Holder::of))),
            Eviction::Stranger(uid) => Err(Error::stranger(path, uid)),
            Eviction::Foreign(why) => Err(Error::foreign(path, &why)),
            Eviction::Remains(_, fault) => Err(Error::fault("remove the emptied", path, fault)),
            Eviction::Failed(fault) => Err(Error::fault("break", path, fault)),
        }
    }

    /// Renews the holding of this key, with this lock's timeout if it was set.
    ///
    /// # Errors
    /// [`Error::is_lost`] if the key no longer holds the lock.
    pub fn renew(&self, key: &Key) -> Result<(), Error> {
        let directory = self.settings.directory()?;
        let timeout =
            if self.settings.has_timeout { Some(self.settings.checked_timeout()?) } else { None };
        let terms = Terms { timeout, owner: None };
        let mut machine = Renew::by_nonce(key.nonce, terms, directory.here());
        match directory.run(&mut machine) {
            Renewal::Renewed(_) => Ok(()),
            Renewal::Lost(by) => Err(Error::lost(directory.path(), by.as_ref().map(Holder::of))),
            Renewal::Failed(fault) => Err(Error::fault("renew", directory.path(), fault)),
        }
    }

    /// Releases the holding of this key.
    ///
    /// # Errors
    /// [`Error::is_lost`] if the key no longer holds the lock.
    pub fn release(&self, key: &Key) -> Result<(), Error> {
        let directory = self.settings.directory()?;
        let mut machine = Release::by_nonce(key.nonce, false, directory.here());
        guard::released(directory.path(), directory.run(&mut machine)).map(|_| ())
    }
}
