//! One holding: renewing it, moving it to another lease, releasing it.

use std::path::PathBuf;
use std::time::Duration;

use lockbydir::engine::{Holding, boot};
use lockbydir::{Error, Holder, Key};
use lockbydir_protocol::{Nonce, Owner, Terms};

use crate::cluster::Limit;
use crate::contender::Contender;
use crate::keys::{Done, Keys, Spot, View, lease_id, token};
use crate::lease::Lease;
use crate::trouble::Trouble;
use crate::{pending, runtime};

/// A release that nobody answers is given up after this; the lease runs out by itself.
const LONGEST_RELEASE: Duration = Duration::from_secs(3);

/// What is held.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) keys: Keys,
    pub(crate) path: PathBuf,
    /// The key we hold it by, and the lease that it is on.
    pub(crate) own: Spot,
    pub(crate) who: Contender,
    pub(crate) lease: Lease,
    /// A change of the key was not answered: nobody knows which lease it is on.
    pub(crate) is_unsure: bool,
}

/// Why a renewal failed.
enum Failed {
    /// Others hold the lock, or nobody does.
    Lost(Option<Holder>),
    Trouble(Trouble),
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Failed {
        Failed::Trouble(trouble)
    }
}

impl Held {
    fn token(&self) -> u64 {
        token(self.own.since)
    }

    /// Renews for as long as the lock is ours in any case, or once.
    fn limit(&self) -> Limit {
        let limit = Limit::new(Duration::ZERO, self.lease.timeout);
        Limit { until: self.lease.deadline().max(boot() + 2 * limit.a_try), ..limit }
    }

    async fn renew(&mut self, terms: Terms) -> Result<(), Failed> {
        if let Some(owner) = terms.owner {
            self.who.set_owner(owner);
        }
        let limit = self.limit();
        let timeout = terms.timeout.unwrap_or(self.lease.timeout);
        if terms.timeout.is_some() || self.is_unsure {
            return self.relet(limit, timeout).await;
        }
        let rewritten = terms.owner.map(|_| self.lease.id);
        for _ in 0..3 {
            match self.keys.keep_alive(limit, self.lease.id).await {
                Ok((sent, term)) if self.lease.offer(sent, term, boot()) => {}
                // Late, its end may be under way.
                Ok(_) | Err(Trouble::NoLease) => break,
                Err(trouble) => return Err(trouble.into()),
            }
            let done = self.keys.renew(limit, &self.own, &self.who, rewritten).await?;
            let is_confirmed = self.lease.confirm(done.term());
            match done {
                Done::Yes { .. } if is_confirmed => return Ok(()),
                // Another leads now.
                Done::Yes { .. } => {}
                Done::No(view) => self.still(*view)?,
            }
        }
        self.relet(limit, timeout).await
    }

    /// Moves the key to a new lease: whatever becomes of the old one, this one counts from now.
    async fn relet(&mut self, limit: Limit, timeout: Duration) -> Result<(), Failed> {
        let lease = self.keys.grant(limit, lease_id(crate::random()), timeout).await?;
        let mut who = self.who.clone();
        who.set_timeout(lease.timeout);
        for _ in 0..3 {
            self.is_unsure = true;
            let moved = self.keys.renew(limit, &self.own, &who, Some(lease.id)).await;
            match moved {
                Ok(Done::Yes { .. }) => {
                    self.revoke(self.own.lease);
                    self.own.lease = lease.id;
                    (self.who, self.lease, self.is_unsure) = (who, lease, false);
                    return Ok(());
                }
                Ok(Done::No(view)) => {
                    if let Err(lost) = self.still(*view) {
                        self.revoke(lease.id);
                        return Err(lost);
                    }
                    if self.own.lease == lease.id {
                        // Done by an earlier try.
                        (self.who, self.lease, self.is_unsure) = (who, lease, false);
                        return Ok(());
                    }
                }
                Err(trouble) => return Err(trouble.into()),
            }
        }
        Err(Trouble::Unreachable("its key keeps changing".into()).into())
    }

    /// Is the key still ours, if perhaps on another lease?
    fn still(&mut self, view: View) -> Result<(), Failed> {
        match view.own {
            Some(own) if own.since == self.own.since => {
                self.own.lease = own.lease;
                self.is_unsure = true;
                Ok(())
            }
            _ => Err(Failed::Lost(holder_of(&view))),
        }
    }

    fn revoke(&self, lease: i64) {
        let keys = self.keys.clone();
        let limit = Limit::new(boot() + LONGEST_RELEASE, self.lease.timeout);
        pending::start(async move { keys.revoke(limit, lease).await });
    }

    async fn release(&self) -> Result<(), Failed> {
        let until = boot() + self.lease.timeout.min(LONGEST_RELEASE);
        let limit = Limit::new(until, self.lease.timeout);
        let left = self.keys.leave(limit, &self.own, true).await;
        self.revoke(self.own.lease);
        match left? {
            Done::Yes { .. } => Ok(()),
            // Nobody else could end it so soon: it was an earlier try of ours.
            Done::No(view) if view.is_repeated && boot() < self.lease.deadline() => Ok(()),
            Done::No(view) => Err(Failed::Lost(holder_of(&view))),
        }
    }

    fn error(&self, verb: &str, failed: Failed) -> Error {
        match failed {
            Failed::Lost(holder) => Error::lost(&self.path, holder),
            Failed::Trouble(trouble) => trouble.error(verb, &self.path),
        }
    }

    /// Renews or moves it, and waits for that.
    pub(crate) fn renew_now(&mut self, terms: Terms) -> Result<(), Error> {
        let mut held = self.clone();
        let (held, renewed) = runtime::wait(async move {
            let renewed = held.renew(terms).await;
            (held, renewed)
        })?;
        *self = held;
        renewed.map_err(|failed| self.error("renew", failed))
    }

    /// Ends it, and waits for that.
    pub(crate) fn release_now(&self) -> Result<(), Error> {
        let held = self.clone();
        let released = runtime::wait(async move { held.release().await })?;
        released.map_err(|failed| self.error("release", failed))
    }
}

/// Who holds the lock, by what was found instead of us.
fn holder_of(view: &View) -> Option<Holder> {
    let who = view.line.first()?.who.as_ref()?;
    let record = view.record.as_ref().and_then(|record| record.who.as_ref());
    Some(record.filter(|record| record.lease == who.lease).unwrap_or(who).to_holder())
}

impl Holding for Held {
    fn key(&self) -> Key {
        // The name of the key says its first lease.
        let lease = self.own.key.rsplit('/').next().unwrap_or_default();
        Key::new(self.token(), Nonce(u128::from_str_radix(lease, 16).unwrap_or(0)))
    }

    fn deadline(&self) -> Duration {
        self.lease.deadline()
    }

    fn timeout(&self) -> Duration {
        self.lease.timeout
    }

    fn owner(&self) -> Owner {
        self.who.owner()
    }

    fn renew(&mut self, terms: Terms) -> Result<(), Error> {
        self.renew_now(terms)
    }

    fn release(&mut self) -> Result<(), Error> {
        self.release_now()
    }
}
