//! The lock directory as an engine: runs the protocol's machines on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockbydir_protocol::{
    Acquire, AcquireRequest, Acquisition, Answer, Blocker, Entry, Evict, Eviction, Fault, Host,
    Inspect, Listing, Machine, Observation, Operation, Owner, Queue, Release, Released, Renew,
    RenewRequest, Renewal, Step, View, Waited, Wake,
};

use crate::directory::cache::Parking;
use crate::directory::deadlock::DeadlockWatch;
use crate::directory::executor::Directory;
use crate::directory::queue::Place;
use crate::doctor;
use crate::engine::{Engine, Holding, Wait};
use crate::error::Error;
use crate::key::Key;
use crate::os::{clock, process};
use crate::status::{Broken, Holder, How, Predecessor, Status, Ticket};

/// A lock directory, and the options for its use.
pub(crate) struct LockDirectory {
    pub(crate) directory: Directory,
    /// The lock's name as it was given.
    pub(crate) name: PathBuf,
    /// The age from which a bare directory counts as expired.
    pub(crate) timeout: Duration,
    /// How often a waiter looks where it is not notified of changes.
    pub(crate) poll_interval: Duration,
    pub(crate) linger: Duration,
    pub(crate) parking: Arc<Parking>,
}

impl LockDirectory {
    fn look(&self, directory: &Directory) -> (View, Status) {
        let here = directory.here();
        let view = directory.run(&mut Inspect::new(here));
        let mut status =
            Status::of(&self.name, directory.path(), &view, clock::now(), &here, self.timeout);
        status.queue = directory.queue_now().iter().map(Ticket::of).collect();
        (view, status)
    }

    /// Returns the status that waiters see, and our place among the tickets.
    fn seen_from(&self, queue: &Queue) -> (Status, Option<usize>) {
        let own = queue.ticket();
        let mut status = self.glance();
        if let Some(fault) = queue.blocker().and_then(lasting) {
            status.note = Some(Error::cause(fault));
        }
        let queue = self.directory.queue_now();
        let before = own.and_then(|own| queue.iter().position(|ticket| ticket == own));
        (status, before.map(|before| before + 1))
    }

    /// Returns what a look shows that changes nothing.
    fn examine(&self) -> Result<(View, Status), Error> {
        let (view, status) = self.look(&self.directory.clone().only_looking());
        match view.fault {
            Some(fault) => Err(Error::fault("look at", self.path(), fault)),
            None if view.sight == Observation::Absent => {
                self.check_folder("look at").map(|()| (view, status))
            }
            None => Ok((view, status)),
        }
    }

    /// Returns an error if the folder does not exist: a lock there is not free, since nobody can
    /// acquire it.
    fn check_folder(&self, verb: &str) -> Result<(), Error> {
        let Some(Err(source)) = self.path().parent().map(std::fs::metadata) else { return Ok(()) };
        match (source.kind(), source.raw_os_error()) {
            (std::io::ErrorKind::NotFound, Some(code)) => {
                Err(Error::fault(verb, self.path(), Fault::NoPlace { code }))
            }
            _ => Ok(()),
        }
    }

    /// Returns the error of a wait whose patience is over: somebody holds the lock, or a call kept
    /// failing.
    fn given_up(&self, wait: &Wait<'_>, blocker: Blocker) -> Error {
        match (lasting(&blocker), blocker) {
            (Some(fault), _) => Error::fault("acquire", self.path(), fault),
            (None, Blocker::Stranger(uid)) => Error::other_user(self.path(), uid),
            (None, Blocker::Remains(fault)) => Error::remains("acquire", self.path(), fault),
            (None, _) => wait.given_up(self.path(), &self.glance()),
        }
    }
}

/// Returns the fault if it blocks for longer than a race: a full disk, for example.
fn lasting(blocker: &Blocker) -> Option<Fault> {
    match blocker {
        Blocker::Busy(fault) if !matches!(fault, Fault::Missing | Fault::Taken) => Some(*fault),
        _ => None,
    }
}

impl Engine for LockDirectory {
    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Waits in the queue beside the lock directory.
    fn acquire(
        &self,
        request: AcquireRequest,
        wait: &mut Wait<'_>,
    ) -> Result<(Box<dyn Holding>, How), Error> {
        let path = self.path();
        // Asked before the copy is made, so that both know it.
        let is_local = self.directory.here().is_local;
        let mut directory = self.directory.clone();
        if !is_local {
            let longest_name = doctor::check(path.parent().unwrap_or(path))?;
            directory = directory.with_names_of(longest_name);
        }
        let here = directory.here();
        let excess = directory.excess_of_name();
        if excess > 0 {
            return Err(Error::name_too_long(path, here.longest_name, excess));
        }
        let own_ticket = lockbydir_protocol::Ticket {
            order: 0,
            nonce: request.nonce,
            stamp: Duration::ZERO,
            origin: here.origin,
            process: process::here().1,
            host: Host::new(&process::host()),
            label: request.label.clone(),
        }
        .fit(here.longest_name);
        let acquire = Acquire::new(request, here, self.parking.take(&directory));
        let mut queue =
            Queue::new(acquire, own_ticket, here, wait.until()).poll_interval(self.poll_interval);
        let mut place = Place::new(&directory, wait.until(), wait.interrupts().collect());
        let mut watch = DeadlockWatch::new(wait.is_of_thread());
        let mut deadlock = None;
        let mut step = queue.start(clock::now());
        let waited = loop {
            let answer = match step {
                Step::Finished(waited) => break waited,
                Step::Perform(Operation::Sleep(wake_source, until)) => {
                    let wake = wait.pause(|| {
                        loop {
                            let next_look = wait.next_report().min(watch.next());
                            let wake = place.sleep(&wake_source, until.min(next_look));
                            wait.report(|| self.seen_from(&queue));
                            if wake == Wake::Time {
                                deadlock = watch.look(&directory, queue.ticket());
                                if deadlock.is_some() {
                                    break Wake::Interrupted;
                                }
                            }
                            if wake != Wake::Time || clock::boot() >= until {
                                break wake;
                            }
                        }
                    });
                    Answer::Woken(wake.unwrap_or(Wake::Interrupted))
                }
                Step::Perform(operation) => place.perform(&operation),
            };
            step = queue.resume(clock::now(), answer);
        };
        match waited {
            Waited::Ended(Acquisition::Got(entry, from)) => {
                let held = Held {
                    directory: directory.clone(),
                    entry,
                    unsure: None,
                    releasing: None,
                    is_released: false,
                    linger: self.linger,
                    parking: self.parking.clone(),
                };
                Ok((Box::new(held), How::of(&from)))
            }
            Waited::Ended(Acquisition::Blocked(blocker)) | Waited::Over(blocker) => {
                Err(self.given_up(wait, blocker))
            }
            Waited::Ended(Acquisition::Stranger(uid)) => Err(Error::other_user(path, uid)),
            Waited::Ended(Acquisition::Foreign(why)) => Err(Error::foreign(path, &why)),
            Waited::Ended(Acquisition::NameTooLong(needed)) => {
                Err(Error::entry_too_long(path, here.longest_name, needed))
            }
            Waited::Ended(Acquisition::Failed(fault)) => Err(Error::fault("acquire", path, fault)),
            Waited::Interrupted => Err(deadlock.unwrap_or_else(|| wait.interrupted(path))),
        }
    }

    fn status(&self) -> Result<Status, Error> {
        self.examine().map(|(_, status)| status)
    }

    fn status_of(&self, key: Key) -> Result<Option<Status>, Error> {
        let (view, status) = self.examine()?;
        let Observation::Directory(listing) = view.sight else { return Ok(None) };
        let is_by_key = |entry: &Entry| entry.token == key.token() && entry.nonce == key.nonce();
        let is_held = status.holder.is_some() && listing.entries.first().is_some_and(is_by_key);
        Ok(is_held.then_some(status))
    }

    fn glance(&self) -> Status {
        self.look(&self.directory).1
    }

    fn is_locked(&self) -> Result<bool, Error> {
        let path = self.path();
        let (view, status) = self.look(&self.directory.clone().only_looking());
        match view.sight {
            _ if view.fault.is_some() => self.status().map(|status| status.is_locked()),
            Observation::Foreign(why) => Err(Error::foreign(path, &why)),
            Observation::Directory(Listing { stranger: Some(uid), .. }) => {
                Err(Error::other_user(path, uid))
            }
            Observation::Absent => self.check_folder("look at").map(|()| false),
            Observation::Directory(_) => Ok(status.is_locked()),
        }
    }

    fn evict(&self, force: bool) -> Result<Broken, Error> {
        let mut machine = Evict::new(self.directory.here(), force, self.timeout);
        let predecessor = |entry: &Entry| Predecessor::new(Holder::of(entry), entry.token);
        let path = self.path();
        match self.directory.run(&mut machine) {
            Eviction::WasFree => self.check_folder("break").map(|()| Broken::WasFree),
            Eviction::Removed(entry) => Ok(Broken::Removed(entry.as_ref().map(predecessor))),
            Eviction::StillHeld(entry) => Ok(Broken::StillHeld(entry.as_ref().map(Holder::of))),
            Eviction::Stranger(uid) => Err(Error::other_user(path, uid)),
            Eviction::Foreign(why) => Err(Error::foreign(path, &why)),
            Eviction::Remains(_, fault) => Err(Error::remains("remove the emptied", path, fault)),
            Eviction::Failed(fault) => Err(Error::fault("break", path, fault)),
        }
    }

    fn renew(&self, key: Key, timeout: Option<Duration>) -> Result<(), Error> {
        let request = RenewRequest { timeout, owner: None };
        let own = process::here().1;
        let mut machine = Renew::by_key(key.nonce(), request, self.directory.here(), own);
        match self.directory.run(&mut machine) {
            Renewal::Renewed(_) => Ok(()),
            Renewal::Lost(by) => Err(Error::lost(self.path(), by.as_ref().map(Holder::of))),
            Renewal::Shorter(entry) => {
                Err(Error::shorter(self.path(), &Holder::of(&entry), entry.timeout))
            }
            Renewal::Failed(fault) => Err(Error::fault("renew", self.path(), fault)),
        }
    }

    fn release(&self, key: Key) -> Result<(), Error> {
        let mut machine = Release::by_nonce(key.nonce(), false, self.directory.here());
        released(self.path(), self.directory.run(&mut machine)).map(|_| ())
    }
}

/// The holding of a lock directory.
struct Held {
    directory: Directory,
    entry: Entry,
    /// A renewal whose outcome is unknown.
    unsure: Option<Renew>,
    /// A release that failed.
    releasing: Option<Release>,
    /// We hold it no longer, although its emptied directory may remain.
    is_released: bool,
    linger: Duration,
    parking: Arc<Parking>,
}

impl Holding for Held {
    fn key(&self) -> Key {
        Key::new(self.entry.token, self.entry.nonce)
    }

    fn deadline(&self) -> Duration {
        self.entry.deadline()
    }

    fn timeout(&self) -> Duration {
        self.entry.timeout
    }

    fn owner(&self) -> Owner {
        self.entry.owner
    }

    fn renew(&mut self, request: RenewRequest) -> Result<(), Error> {
        let here = self.directory.here();
        let mut machine = match self.unsure.take() {
            Some(machine) if request == RenewRequest::default() => machine,
            Some(_) => Renew::by_nonce(self.entry.nonce, request, here),
            None => Renew::new(self.entry.clone(), request, here),
        };
        let path = self.directory.path();
        let mut outcome = self.directory.run(&mut machine);
        // A temporary fault may be over by now, and the next renewal is far away, or there is none.
        if let Renewal::Failed(Fault::Full { .. } | Fault::Broken { .. } | Fault::Taken) = outcome {
            outcome = self.directory.run(&mut machine);
        }
        match outcome {
            Renewal::Renewed(entry) => {
                self.entry = entry;
                Ok(())
            }
            Renewal::Lost(by) => Err(Error::lost(path, by.as_ref().map(Holder::of))),
            Renewal::Shorter(entry) => {
                Err(Error::shorter(path, &Holder::of(&entry), entry.timeout))
            }
            Renewal::Failed(fault) => {
                self.unsure = Some(machine);
                Err(Error::fault("renew", path, fault))
            }
        }
    }

    fn release(&mut self) -> Result<(), Error> {
        if self.is_released {
            return Ok(());
        }
        let (directory, linger) = (&self.directory, self.linger);
        let mut machine = self.releasing.take().unwrap_or_else(|| {
            Release::new(self.entry.clone(), !linger.is_zero(), directory.here())
        });
        let mut outcome = directory.run(&mut machine);
        if matches!(outcome, Released::Failed(_)) {
            outcome = directory.run(&mut machine);
        }
        match outcome {
            Released::Failed(_) => self.releasing = Some(machine),
            _ => self.is_released = true,
        }
        if let Some(open) = released(directory.path(), outcome)?
            && !linger.is_zero()
            && !open.fenced
        {
            self.parking.park(directory.clone(), open, linger);
        }
        Ok(())
    }
}

/// Converts the result of a release; returns the open entry that remains, if there is one.
fn released(path: &Path, outcome: Released) -> Result<Option<Entry>, Error> {
    match outcome {
        Released::Left => Ok(None),
        Released::Opened(open) => Ok(Some(open)),
        Released::Lost(by) => Err(Error::lost(path, by.as_ref().map(Holder::of))),
        Released::Remains(_, Some(name)) => Err(Error::littered(path, &name)),
        Released::Remains(fault, None) => Err(Error::remains("remove the released", path, fault)),
        Released::Failed(fault) => Err(Error::fault("release", path, fault)),
    }
}
