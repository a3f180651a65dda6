//! The lock on etcd as an engine of the library: one engine for each lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use lockbydir::engine::{Engine, Holding, Scheme, Wait, boot, here};
use lockbydir::{Broken, Error, ErrorKind, How, Key, State, Status, printable};
use lockbydir_protocol::{AcquireRequest, Owner, RenewRequest};

use crate::acquire::acquire;
use crate::address::{Access, Address, EXTENSION, SCHEME};
use crate::api::{RangeRequest, end_of_prefix};
use crate::cluster::{Answered, Limit, cluster};
use crate::contender::Contender;
use crate::error::EngineError;
use crate::holding::Held;
use crate::keys::{Done, Keys, QueueKey, Record, View};
use crate::lease::Lease;
use crate::runtime;

/// How long a verb that does not wait for a lock tries to get an answer; then it fails.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a look may take whose result is only shown to a person: short, so that it does not hold up
/// the wait.
const GLANCE: Duration = Duration::from_millis(500);
/// The revision of a key that does not exist: none of its guards is ever true.
const NEVER: i64 = -1;
/// The number of keys that one request of `list` reads.
const PAGE: i64 = 1000;

/// What `register` was given, for all that an address leaves unsaid.
static ACCESS: OnceLock<Access> = OnceLock::new();

/// Lets `Lock::new("etcd://...")` work in this process; `access` is what addresses leave unsaid.
/// The first call counts.
///
/// ```no_run
/// use lockbydir::Lock;
///
/// lockbydir_etcd::register(lockbydir_etcd::Access::default());
/// let guard = Lock::new("etcd://host1:2379,host2:2379/jobs").acquire()?;
/// guard.release()?;
/// # Ok::<(), lockbydir::Error>(())
/// ```
pub fn register(access: Access) {
    let _ = ACCESS.set(access);
    lockbydir::engine::register(Scheme::new(SCHEME, open, list, clean));
}

/// Returns the number of calls that this process has sent to the servers of this address, by method. Not
/// part of this crate's interface: public only for its tests and benches.
///
/// # Errors
/// If the address is wrong.
#[doc(hidden)]
pub fn calls(url: &str) -> Result<BTreeMap<&'static str, u64>, Error> {
    Ok(cluster(&Address::parse_prefix(url, access())?.servers).calls())
}

fn access() -> &'static Access {
    ACCESS.get_or_init(Access::default)
}

fn open(url: &str, timeout: Duration) -> Result<Arc<dyn Engine>, Error> {
    let address = Address::parse(url, access())?;
    let path = address.path();
    Ok(Arc::new(Etcd { address, path, timeout }))
}

/// Lists the locks whose names begin as the address says.
fn list(url: &str) -> Result<Vec<Status>, Error> {
    let address = Address::parse_prefix(url, access())?;
    let shown = PathBuf::from(format!("{SCHEME}://{}/", address.servers.hosts.join(",")));
    let cluster = cluster(&address.servers);
    let limit = Limit::new(boot() + PATIENCE, PATIENCE);
    let prefix = address.name.clone();
    let names = runtime::wait(async move {
        let mut names: Vec<String> = Vec::new();
        let mut from = prefix.clone();
        loop {
            // A key cannot be empty: the smallest is a zero byte.
            let request = RangeRequest {
                key: if from.is_empty() { vec![0] } else { from.clone().into_bytes() },
                range_end: end_of_prefix(prefix.as_bytes()),
                keys_only: true,
                limit: PAGE,
                ..RangeRequest::default()
            };
            let Answered { what: page, .. } = cluster.call(limit, request).await?;
            for found in &page.kvs {
                from = format!("{}\0", String::from_utf8_lossy(&found.key));
                if let Some(name) = name_of(&found.key).filter(|name| names.last() != Some(name)) {
                    names.push(name);
                }
            }
            if !page.more {
                names.sort();
                names.dedup();
                return Ok(names);
            }
        }
    })?;
    let names = names.map_err(|trouble: EngineError| trouble.error("list", &shown))?;
    names
        .into_iter()
        .map(|name| {
            let address = Address { servers: address.servers.clone(), name };
            let path = address.path();
            Etcd { address, path, timeout: PATIENCE }.status()
        })
        .collect()
}

/// Returns the name of the lock that this key belongs to.
fn name_of(key: &[u8]) -> Option<String> {
    let key = std::str::from_utf8(key).ok()?;
    let record = key
        .rsplit_once('/')
        .map_or(key, |(before, _)| if before.ends_with(EXTENSION) { before } else { key });
    let name = record.strip_suffix(EXTENSION)?;
    (!name.is_empty() && !name.ends_with('/')).then(|| name.to_owned())
}

/// Removes nothing: whatever a crash leaves behind ends with its lease.
fn clean(url: &str) -> Result<Vec<PathBuf>, Error> {
    list(url).map(|_| Vec::new())
}

/// The engine of one lock.
pub(crate) struct Etcd {
    pub(crate) address: Address,
    pub(crate) path: PathBuf,
    /// The timeout of the lock; it limits how long a member may take to answer.
    timeout: Duration,
}

impl Etcd {
    pub(crate) fn keys(&self) -> Keys {
        Keys::new(cluster(&self.address.servers), self.address.record())
    }

    fn limit(&self, patience: Duration) -> Limit {
        Limit::new(boot() + patience, self.timeout)
    }

    /// Reads the lock, and the rest and the whole of its holder's lease.
    fn view(&self, own: Option<&str>, patience: Duration) -> Result<Seen, EngineError> {
        let (keys, limit) = (self.keys(), self.limit(patience));
        let own = own.map(String::from);
        let seen = runtime::wait(async move {
            let view = keys.look(limit, own.as_deref()).await?;
            let lease = match view.queue.first() {
                Some(first) if first.lease != 0 => keys.rest(limit, first.lease).await?,
                _ => None,
            };
            Ok((view, lease))
        });
        seen.unwrap_or_else(|error| Err(EngineError::Refused(error.to_string())))
    }

    fn try_status(
        &self,
        own: Option<&str>,
        patience: Duration,
    ) -> Result<(Status, Option<usize>), EngineError> {
        let (view, lease) = self.view(own, patience)?;
        let place = own.and_then(|own| {
            let ahead = view.queue.iter().position(|key| key.key == own)?;
            // The holder's key is the first of the queue.
            Some(if view.holder().is_some() { ahead } else { ahead + 1 })
        });
        Ok((self.status_of(&view, lease), place))
    }

    /// Returns the status of the lock, and our own place in its queue, to show while we wait.
    pub(crate) fn glance_at(&self, own: Option<&str>) -> (Status, Option<usize>) {
        self.try_status(own, GLANCE).unwrap_or_else(|trouble| {
            let mut status = Status::new(&self.path, &self.path);
            status.note = Some(format!("etcd servers are unreachable: {}", trouble.cause()));
            (status, None)
        })
    }

    fn status_of(&self, view: &View, lease: Option<(Duration, Duration)>) -> Status {
        let mut status = Status::new(self.path.with_extension(""), &self.path);
        let record = view.record.as_ref();
        let recorded = record.and_then(|record| Some((record, record.who.as_ref()?)));
        let mut queue = view.queue.as_slice();
        match (view.queue.split_first(), recorded) {
            (Some((_, rest)), Some((record, who))) if view.holder().is_some() => {
                queue = rest;
                status.state = if who.is_dead() { State::Dead } else { State::Held };
                status.token = Some(record.token());
                status.holder = Some(who.to_holder());
                status.timeout = Some(who.timeout());
            }
            (Some((first, rest)), _) if first.who.is_none() => {
                queue = rest;
                status.state = if first.lease == 0 { State::Foreign } else { State::Bare };
                status.note = Some(match first.lease {
                    0 => format!(
                        "the key `{}` has no lease, so it never goes",
                        printable(&first.key)
                    ),
                    _ => "its holder is not a lock of lockbydir, but is in the same queue".into(),
                });
            }
            (_, Some((record, who))) => {
                status.state = if who.is_dead() { State::Dead } else { State::Expired };
                status.token = Some(record.token());
                status.holder = Some(who.to_holder());
                status.timeout = Some(who.timeout());
                status.age = who.age();
                status.remaining = Some(Duration::ZERO);
            }
            (Some(_), None) => status.state = State::Open,
            (None, None) => status.state = State::Free,
        }
        if let (Some((rest, whole)), State::Held | State::Dead | State::Bare) =
            (lease, status.state)
        {
            // The servers count in seconds; a clock that we share is exact.
            let age = view.holder().and_then(|(_, who)| who.age());
            let age = age.unwrap_or(whole.saturating_sub(rest));
            status.age = Some(age);
            status.remaining = Some(match status.state {
                State::Dead => Duration::ZERO,
                _ => whole.saturating_sub(age),
            });
        }
        let tickets = queue.iter().filter_map(|key| Some(key.who.as_ref()?.to_ticket()));
        status.queue = tickets.collect();
        status
    }

    /// Returns the error for a key in the queue without a lease; `None` if it has one.
    pub(crate) fn foreign(&self, key: &QueueKey) -> Option<Error> {
        let message = format!(
            "will not use {}: the key `{}` in its queue has no lease, so it would never go; delete it, or use another name",
            printable(&self.path),
            printable(&key.key),
        );
        (key.lease == 0).then(|| Error::new(ErrorKind::Foreign, message).at(&self.path))
    }

    /// Returns the holding of this key.
    fn held(&self, key: Key, verb: &str) -> Result<Held, Error> {
        let keys = self.keys();
        let own = match i64::try_from(key.nonce().0) {
            Ok(nonce) if nonce > 0 => keys.key(nonce),
            _ => return Err(Error::lost(&self.path, None)),
        };
        let (view, _) =
            self.view(Some(&own), PATIENCE).map_err(|trouble| trouble.error(verb, &self.path))?;
        let name = own.rsplit('/').next().unwrap_or_default();
        let recorded = view.record.as_ref().and_then(|record| {
            let who = record.who.clone().filter(|who| who.nonce == name)?;
            (record.token() == key.token()).then_some(who)
        });
        let Some(who) = recorded else {
            let status = self.status_of(&view, None);
            let holder = status.holder.filter(|_| status.state == State::Held);
            return Err(Error::lost(&self.path, holder));
        };
        // It is gone if its lease has run out: the renewal finds that.
        let own = view.own.unwrap_or(QueueKey { key: own, since: NEVER, lease: 0, who: None });
        // The age of the lease is unknown: it counts as over, and the key is moved to a new one.
        let lease = Lease::new(own.lease, who.timeout(), Duration::ZERO);
        let path = self.path.clone();
        Ok(Held {
            keys,
            path,
            own,
            token: key.token(),
            who,
            lease,
            is_ours: false,
            is_unsure: true,
            is_release_sent: false,
        })
    }
}

type Seen = (View, Option<(Duration, Duration)>);

impl Engine for Etcd {
    fn path(&self) -> &Path {
        &self.path
    }

    fn acquire(
        &self,
        request: AcquireRequest,
        wait: &mut Wait<'_>,
    ) -> Result<(Box<dyn Holding>, How), Error> {
        let (held, how) = acquire(self, &request, wait)?;
        Ok((Box::new(held), how))
    }

    fn status(&self) -> Result<Status, Error> {
        let found = self.try_status(None, PATIENCE);
        found.map(|(status, _)| status).map_err(|trouble| trouble.error("look at", &self.path))
    }

    fn glance(&self) -> Status {
        self.glance_at(None).0
    }

    fn is_locked(&self) -> Result<bool, Error> {
        let failed = |trouble: EngineError| trouble.error("look at", &self.path);
        let (view, lease) = self.view(None, PATIENCE).map_err(failed)?;
        match view.queue.first().and_then(|first| self.foreign(first)) {
            Some(error) => Err(error),
            None => Ok(self.status_of(&view, lease).is_locked()),
        }
    }

    fn evict(&self, force: bool) -> Result<Broken, Error> {
        let failed = |trouble: EngineError| trouble.error("break", &self.path);
        for _ in 0..8 {
            let (view, lease) = self.view(None, PATIENCE).map_err(failed)?;
            let status = self.status_of(&view, lease);
            if let Some(error) = view.queue.first().and_then(|first| self.foreign(first)) {
                return Err(error);
            }
            let before = status
                .holder
                .clone()
                .zip(status.token)
                .map(|(holder, token)| lockbydir::Predecessor::new(holder, token));
            let (keys, limit) = (self.keys(), self.limit(PATIENCE));
            let broken = match (view.queue.first().cloned(), view.record.clone()) {
                (None, None) => return Ok(Broken::WasFree),
                (None, Some(record)) => {
                    if !force && !self.is_over(&record).map_err(failed)? {
                        return Ok(Broken::StillHeld(status.holder));
                    }
                    runtime::wait(async move { keys.forget(limit, record.revision, true).await })?
                }
                (Some(first), _) => {
                    let is_holder = view.holder().is_some();
                    if !force && (!is_holder || status.state != State::Dead) {
                        return Ok(match status.state {
                            State::Open => Broken::WasFree,
                            _ => Broken::StillHeld(status.holder),
                        });
                    }
                    runtime::wait(async move { keys.leave(limit, &first, is_holder).await })?
                }
            };
            if let Done::Yes { .. } = broken.map_err(failed)? {
                return Ok(Broken::Removed(before));
            }
        }
        Err(failed(EngineError::Unreachable("it keeps changing".into())))
    }

    fn renew(&self, key: Key, timeout: Option<Duration>) -> Result<(), Error> {
        let mut held = self.held(key, "renew")?;
        // The holder does not learn of a shorter timeout, so it is refused, as in a directory.
        let (owner, before) = (held.who.owner(), held.who.timeout());
        let is_ours = held.who.is_visible() && owner.processes().any(|process| process == here().1);
        if owner != Owner::Nobody && !is_ours && timeout.is_some_and(|timeout| timeout < before) {
            return Err(Error::shorter(&self.path, &held.who.to_holder(), before));
        }
        held.renew_now(RenewRequest { timeout, owner: None })
    }

    fn release(&self, key: Key) -> Result<(), Error> {
        self.held(key, "release")?.release_now()
    }
}

impl Etcd {
    /// Returns true if the time of a holder that did not release is over.
    fn is_over(&self, record: &Record) -> Result<bool, EngineError> {
        if record.who.as_ref().is_none_or(|who: &Contender| who.is_over(Duration::ZERO)) {
            return Ok(true);
        }
        let (keys, limit) = (self.keys(), self.limit(PATIENCE));
        let sound = runtime::wait(async move { keys.cluster.is_sound(limit).await });
        sound.map_err(|error| EngineError::Refused(error.to_string()))
    }
}
