//! Two locks on etcd as they are easily written, and wrong: one has a gap between the look and the put, the
//! other does not notice that its lease is gone.

use std::{cell::Cell, future::Future, io, path::Path, rc::Rc, time::Duration};

use lockbydir_etcd::api::{
    Channel, Client, Compare, Endpoint, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, Status, TxnRequest,
};
use tokio::runtime::{Builder, Runtime};

use super::Rival;
use crate::torture::contender::Outcome;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// A key, and the connection to its server.
struct Key {
    runtime: Runtime,
    client: Client,
    name: String,
    ttl: i64,
    lease: Cell<i64>,
}

impl Key {
    fn new(url: &Path, timeout: Duration) -> Outcome<Self> {
        let url = url.to_str().and_then(|url| url.strip_prefix("etcd://"));
        let (hosts, name) = url.and_then(|url| url.split_once('/')).ok_or("etcd://HOSTS/NAME")?;
        let members = hosts.split(',').map(|host| Endpoint::from_shared(format!("http://{host}")));
        let members: Vec<Endpoint> = members.collect::<Result<_, _>>()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let channel = runtime.block_on(async { Channel::balance_list(members.into_iter()) });
        let client = Client::new(channel, None);
        let ttl = i64::try_from(timeout.as_secs())?;
        Ok(Self { runtime, client, name: name.to_owned(), ttl, lease: Cell::new(0) })
    }

    /// Makes one call; the error may be "timed out".
    fn ask<T>(&self, call: impl Future<Output = Result<T, Status>>) -> io::Result<T> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await });
        answer.map_err(io::Error::from)?.map_err(io::Error::other)
    }

    fn exists(&self) -> io::Result<bool> {
        let found = self.ask(self.client.call(RangeRequest::of(self.name.as_str())))?;
        Ok(!found.kvs.is_empty())
    }

    fn grant(&self) -> io::Result<i64> {
        let lease = self.ask(self.client.call(LeaseGrantRequest { id: 0, ttl: self.ttl }))?.id;
        self.lease.set(lease);
        Ok(lease)
    }

    /// Ends the lease, and with it the key.
    fn revoke(&self) -> io::Result<()> {
        self.ask(self.client.call(LeaseRevokeRequest { id: self.lease.get() })).map(drop)
    }
}

/// Looks for the key, and puts it if it is absent. Two processes that look at the same time both put it.
#[derive(Clone)]
pub struct LookThenPut(Rc<Key>);

impl LookThenPut {
    /// For an `etcd://HOSTS/NAME`.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn new(url: &Path, timeout: Duration) -> Outcome<Self> {
        Ok(Self(Rc::new(Key::new(url, timeout)?)))
    }
}

impl Rival for LookThenPut {
    fn try_acquire(&self) -> io::Result<bool> {
        let key = &self.0;
        if key.exists()? {
            return Ok(false);
        }
        let lease = key.grant()?;
        let (name, value) = (key.name.clone().into(), "held".into());
        key.ask(key.client.call(PutRequest { key: name, value, lease }))?;
        Ok(true)
    }

    fn release(&self) -> io::Result<()> {
        self.0.revoke()
    }
}

/// Puts the key in one transaction, which is correct. But it renews by keeping the lease alive, and takes any
/// answer for success: also that of a lease which ended, or which another's lock follows.
#[derive(Clone)]
pub struct Deaf(Rc<Key>);

impl Deaf {
    /// For an `etcd://HOSTS/NAME`.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn new(url: &Path, timeout: Duration) -> Outcome<Self> {
        Ok(Self(Rc::new(Key::new(url, timeout)?)))
    }
}

impl Rival for Deaf {
    fn try_acquire(&self) -> io::Result<bool> {
        let key = &self.0;
        if key.exists()? {
            return Ok(false);
        }
        let name = key.name.as_str();
        let txn = TxnRequest {
            compare: vec![Compare::created_at(name, 0)],
            success: vec![RequestOp::put(name, "held", key.grant()?)],
            failure: vec![],
        };
        let was_put = key.ask(key.client.call(txn))?.succeeded;
        if !was_put {
            key.revoke()?;
        }
        Ok(was_put)
    }

    fn renew(&self) -> io::Result<bool> {
        let key = &self.0;
        // The answer is ignored: that is the flaw of this lock.
        let _ = key.ask(key.client.call(LeaseKeepAliveRequest { id: key.lease.get() }));
        Ok(true)
    }

    fn release(&self) -> io::Result<()> {
        self.0.revoke()
    }
}
