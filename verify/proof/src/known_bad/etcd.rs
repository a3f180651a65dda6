//! Two locks on etcd as they are easily written, and wrong: one has a gap between the look and the put, the
//! other does not notice that its lease is gone.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    path::Path,
    rc::Rc,
    time::Duration,
};

use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};
use tokio::runtime::{Builder, Runtime};

use super::Rival;
use crate::torture::contender::Outcome;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// A key, and the connection to its server.
struct Key {
    runtime: Runtime,
    client: RefCell<Client>,
    name: String,
    ttl: i64,
    lease: Cell<i64>,
}

impl Key {
    fn new(url: &Path, timeout: Duration) -> Outcome<Self> {
        let url = url.to_str().and_then(|url| url.strip_prefix("etcd://"));
        let (hosts, name) = url.and_then(|url| url.split_once('/')).ok_or("etcd://HOSTS/NAME")?;
        let hosts: Vec<&str> = hosts.split(',').collect();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = RefCell::new(runtime.block_on(Client::connect(hosts, None))?);
        let ttl = i64::try_from(timeout.as_secs())?;
        Ok(Self { runtime, client, name: name.to_owned(), ttl, lease: Cell::new(0) })
    }

    /// Makes one call; the error may be "timed out".
    fn ask<T>(&self, call: impl Future<Output = Result<T, etcd_client::Error>>) -> io::Result<T> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await });
        answer.map_err(io::Error::from)?.map_err(io::Error::other)
    }

    fn exists(&self) -> io::Result<bool> {
        let mut client = self.client.borrow_mut();
        Ok(!self.ask(client.get(self.name.as_str(), None))?.kvs().is_empty())
    }

    fn grant(&self) -> io::Result<i64> {
        let mut client = self.client.borrow_mut();
        let lease = self.ask(client.lease_grant(self.ttl, None))?.id();
        self.lease.set(lease);
        Ok(lease)
    }

    /// Ends the lease, and with it the key.
    fn revoke(&self) -> io::Result<()> {
        let mut client = self.client.borrow_mut();
        self.ask(client.lease_revoke(self.lease.get())).map(drop)
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
        let options = PutOptions::new().with_lease(key.grant()?);
        let mut client = key.client.borrow_mut();
        key.ask(client.put(key.name.as_str(), "held", Some(options)))?;
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
        let options = PutOptions::new().with_lease(key.grant()?);
        let name = key.name.as_str();
        let absent = Compare::create_revision(name, CompareOp::Equal, 0);
        let put = TxnOp::put(name, "held", Some(options));
        let txn = Txn::new().when([absent]).and_then([put]);
        let was_put = {
            let mut client = key.client.borrow_mut();
            key.ask(client.txn(txn))?.succeeded()
        };
        if !was_put {
            key.revoke()?;
        }
        Ok(was_put)
    }

    fn renew(&self) -> io::Result<bool> {
        let key = &self.0;
        let mut client = key.client.borrow_mut();
        // The answer is ignored: that is the flaw of this lock.
        let _ = key.ask(client.lease_keep_alive(key.lease.get()));
        Ok(true)
    }

    fn release(&self) -> io::Result<()> {
        self.0.revoke()
    }
}
