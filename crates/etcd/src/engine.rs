//! The lock on etcd as the library knows it: one engine a lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use etcd_client::{Client, GetOptions};
use lockbydir::engine::{Engine, Holding, Scheme, Wait, boot, here};
use lockbydir::{Broken, Error, ErrorKind, How, Key, State, Status, printable};
use lockbydir_protocol::{AcquireRequest, Owner, RenewRequest};

use crate::acquire::acquire;
use crate::address::{Access, Address, EXTENSION, SCHEME};
use crate::cluster::{Answered, Limit, cluster};
use crate::contender::Contender;
use crate::error::EngineError;
use crate::holding::Held;
use crate::keys::{Done, Keys, QueueKey, Record, View};
use crate::lease::Lease;
use crate::runtime;

/// A verb that does not wait for a lock is given up after this.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is only told to a person who waits is not waited for.
const GLANCE: Duration = Duration::from_millis(500);
/// Keys that are read at once.
const PAGE: i64 = 1000;

/// What is not said in an address.
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
    lockbydir::engine::register(Scheme { name: SCHEME, open, list, clean });
}

fn access() -> &'static Access {
    ACCESS.get_or_init(Access::default)
}

fn open(url: &str, timeout: Duration) -> Result<Arc<dyn Engine>, Error> {
    let address = Address::parse(url, access())?;
    let path = address.path();
    Ok(Arc::new(Etcd { address, path, timeout }))
}

/// Every lock whose name begins as the address says.
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
            let end =
                GetOptions::new().with_range(end_of(&prefix)).with_keys_only().with_limit(PAGE);
            let page = cluster.ask(limit, |mut client: Client| {
                let (from, end) = (from.clone(), end.clone());
                // An empty key is none: the first of all is a zero byte.
                let from = if from.is_empty() { vec![0] } else { from.into_bytes() };
                async move { client.get(from, Some(end)).await }
            });
            let Answered { what: page, .. } = page.await?;
            for found in page.kvs() {
                from = format!("{}\0", String::from_utf8_lossy(found.key()));
                if let Some(name) = name_of(found.key()).filter(|name| names.last() != Some(name)) {
                    names.push(name);
                }
            }
            if !page.more() {
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

/// The lock that this key is of.
fn name_of(key: &[u8]) -> Option<String> {
    let key = std::str::from_utf8(key).ok()?;
    let record = key
        .rsplit_once('/')
        .map_or(key, |(before, _)| if before.ends_with(EXTENSION) { before } else { key });
    let name = record.strip_suffix(EXTENSION)?;
    (!name.is_empty() && !name.ends_with('/')).then(|| name.to_owned())
}

/// The first key behind all that begin so.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Crashes leave nothing behind that a lease does not end.
fn clean(url: &str) -> Result<Vec<PathBuf>, Error> {
    list(url).map(|_| Vec::new())
}

/// One lock.
pub(crate) struct Etcd {
    pub(crate) address: Address,
    pub(crate) path: PathBuf,
    /// For what is only looked at.
    timeout: Duration,
}

impl Etcd {
    pub(crate) fn keys(&self) -> Keys {
        Keys { cluster: cluster(&self.address.servers), record: self.address.record() }
    }

    fn limit(&self, patience: Duration) -> Limit {
        Limit::new(boot() + patience, self.timeout)
    }

    /// The lock, and what its holder's lease still has: the rest and the whole.
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
            let ahead = view.queue.iter().position(|spot| spot.key == own)?;
            // Who holds the lock stands in front of the queue.
            Some(if view.holder().is_some() { ahead } else { ahead + 1 })
        });
        Ok((self.status_of(&view, lease), place))
    }

    /// How the lock stands, and our own place in its queue, for one who waits.
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
                    _ => "its holder is no lock of ours, but stands in the same line".into(),
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
            // The servers count in seconds; a clock we share tells it exactly.
            let age = view.holder().and_then(|(_, who)| who.age());
            let age = age.unwrap_or(whole.saturating_sub(rest));
            status.age = Some(age);
            status.remaining = Some(match status.state {
                State::Dead => Duration::ZERO,
                _ => whole.saturating_sub(age),
            });
        }
        let tickets = queue.iter().filter_map(|spot| Some(spot.who.as_ref()?.to_ticket()));
        status.queue = tickets.collect();
        status
    }

    /// The error of a key in the queue that has no lease; none if it has one.
    pub(crate) fn foreign(&self, spot: &QueueKey) -> Option<Error> {
        let message = format!(
            "will not use {}: the key `{}` in its queue has no lease, so it would never go; delete it, or use another name",
            printable(&self.path),
            printable(&spot.key),
        );
        (spot.lease == 0).then(|| Error::new(ErrorKind::Foreign, message).at(&self.path))
    }

    /// The holding of this key.
    fn held(&self, key: Key, verb: &str) -> Result<Held, Error> {
        let keys = self.keys();
        let own = match i64::try_from(key.nonce().0) {
            Ok(lease) if lease > 0 => keys.key(lease),
            _ => return Err(Error::lost(&self.path, None)),
        };
        let (view, _) =
            self.view(Some(&own), PATIENCE).map_err(|trouble| trouble.error(verb, &self.path))?;
        let name = own.rsplit('/').next().unwrap_or_default();
        let recorded = view.record.as_ref().and_then(|record| {
            let who = record.who.clone().filter(|who| who.lease == name)?;
            (record.token() == key.token()).then_some(who)
        });
        let Some(who) = recorded else {
            let status = self.status_of(&view, None);
            let holder = status.holder.filter(|_| status.state == State::Held);
            return Err(Error::lost(&self.path, holder));
        };
        // Gone, if its lease has run out: that is seen when it is renewed.
        let own = view.own.unwrap_or(QueueKey { key: own, since: 0, lease: 0, who: None });
        // How old it is, nobody knows: it counts as over, and is moved to a new lease.
        let lease = Lease::new(own.lease, who.timeout(), Duration::ZERO);
        let path = self.path.clone();
        Ok(Held {
            keys,
            path,
            own,
            token: key.token(),
            who,
            lease,
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
        wish: AcquireRequest,
        wait: &mut Wait<'_>,
    ) -> Result<(Box<dyn Holding>, How), Error> {
        let (held, how) = acquire(self, &wish, wait)?;
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
        // As a holding in a directory: its holder does not learn of a shorter one.
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
    /// Is the time of one over who did not release?
    fn is_over(&self, record: &Record) -> Result<bool, EngineError> {
        if record.who.as_ref().is_none_or(|who: &Contender| who.is_over(Duration::ZERO)) {
            return Ok(true);
        }
        let (keys, limit) = (self.keys(), self.limit(PATIENCE));
        let sound = runtime::wait(async move { keys.cluster.is_sound(limit).await });
        sound.map_err(|error| EngineError::Refused(error.to_string()))
    }
}
