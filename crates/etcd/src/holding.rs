//! One holding: renewing it, moving it to another lease, releasing it.

use std::path::PathBuf;
use std::time::Duration;

use lockbydir::engine::{Holding, boot};
use lockbydir::{Error, Holder, Key};
use lockbydir_protocol::{Nonce, Owner, RenewRequest};

use crate::cluster::Limit;
use crate::contender::Contender;
use crate::error::EngineError;
use crate::keys::{Done, Keys, QueueKey, Record, View, lease_id};
use crate::lease::Lease;
use crate::{pending, runtime};

/// A release that nobody answers is given up after this; the lease runs out by itself.
const LONGEST_RELEASE: Duration = Duration::from_secs(3);

/// What is held.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) keys: Keys,
    pub(crate) path: PathBuf,
    /// The key we hold it by, and the lease that it is on.
    pub(crate) own: QueueKey,
    pub(crate) token: u64,
    pub(crate) who: Contender,
    pub(crate) lease: Lease,
    /// A change of the key was not answered: nobody knows which lease it is on.
    pub(crate) is_unsure: bool,
    /// A release failed, and may have been done all the same.
    pub(crate) is_release_sent: bool,
}

/// Why a renewal failed.
enum Failed {
    /// Others hold the lock, or nobody does.
    Lost(Option<Holder>),
    EngineError(EngineError),
}

impl From<EngineError> for Failed {
    fn from(trouble: EngineError) -> Failed {
        Failed::EngineError(trouble)
    }
}

impl Held {
    /// Renews for as long as the lock is ours in any case, or once.
    fn limit(&self) -> Limit {
        let limit = Limit::new(Duration::ZERO, self.lease.timeout);
        Limit { until: self.lease.deadline().max(boot() + 2 * limit.a_try), ..limit }
    }

    async fn renew(&mut self, terms: RenewRequest) -> Result<(), Failed> {
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
                Ok(_) | Err(EngineError::NoLease) => break,
                Err(trouble) => return Err(trouble.into()),
            }
            let done = self.keys.renew(limit, &self.own, &self.who, self.token, rewritten).await?;
            let is_confirmed = self.lease.confirm(done.term());
            match done {
                Done::Yes { .. } if is_confirmed => return Ok(()),
                // Another leads now.
                Done::Yes { .. } => {}
                Done::No(view) => match self.still(&view) {
                    Err(Failed::Lost(_)) if self.is_left(&view) => break,
                    still => still?,
                },
            }
        }
        self.relet(limit, timeout).await
    }

    /// Moves the key to a new lease: whatever becomes of the old one, this one counts from now.
    async fn relet(&mut self, limit: Limit, timeout: Duration) -> Result<(), Failed> {
        let lease = self.keys.grant(limit, lease_id(crate::random()), timeout).await?;
        let mut who = self.who.clone();
        who.set_timeout(lease.timeout);
        let mut vanished: Option<Record> = None;
        for _ in 0..4 {
            self.is_unsure = true;
            let moved = match &vanished {
                None => {
                    let moves_to = Some(lease.id);
                    self.keys.renew(limit, &self.own, &who, self.token, moves_to).await?
                }
                Some(record) => {
                    self.keys.revive(limit, &self.own.key, &who, record, lease.id).await?
                }
            };
            let done = match moved {
                Done::Yes { revision, .. } => {
                    if vanished.take().is_some() {
                        self.own.since = revision;
                    }
                    true
                }
                Done::No(view) => match self.still(&view) {
                    // Done by an earlier try.
                    Ok(()) => self.own.lease == lease.id,
                    // Its lease has run out, but nobody came.
                    Err(Failed::Lost(_)) if vanished.is_none() && self.is_left(&view) => {
                        vanished = view.record;
                        false
                    }
                    Err(lost) => {
                        self.revoke(lease.id);
                        return Err(lost);
                    }
                },
            };
            if done {
                if self.lease.id != lease.id {
                    self.revoke(self.lease.id);
                }
                self.own.lease = lease.id;
                (self.who, self.lease, self.is_unsure) = (who, lease, false);
                return Ok(());
            }
        }
        Err(EngineError::Unreachable("its key keeps changing".into()).into())
    }

    /// Is the key still ours, if perhaps on another lease, or put back by an earlier try?
    fn still(&mut self, view: &View) -> Result<(), Failed> {
        match &view.own {
            Some(own) if own.since == self.own.since || self.is_recorded(view) => {
                (self.own.lease, self.own.since) = (own.lease, own.since);
                self.is_unsure = true;
                Ok(())
            }
            _ => Err(Failed::Lost(holder_of(view))),
        }
    }

    /// Is the record that of this very holding?
    fn is_recorded(&self, view: &View) -> bool {
        view.record.as_ref().is_some_and(|record| {
            let is_ours = record.who.as_ref().is_some_and(|who| who.lease == self.who.lease);
            is_ours && record.token() == self.token
        })
    }

    /// Is nothing there but the record of this very holding?
    fn is_left(&self, view: &View) -> bool {
        view.queue.is_empty() && self.is_recorded(view)
    }

    fn revoke(&self, lease: i64) {
        let keys = self.keys.clone();
        let limit = Limit::new(boot() + LONGEST_RELEASE, self.lease.timeout);
        pending::start(async move { keys.revoke(limit, lease).await });
    }

    async fn release(&self) -> Result<(), Failed> {
        // Nobody waits long for what is over, or soon runs out by itself.
        let limit = Limit::new(Duration::ZERO, self.lease.timeout);
        let rest = self.lease.deadline().saturating_sub(boot());
        let until = boot() + rest.clamp(limit.a_try, LONGEST_RELEASE);
        let limit = Limit { until, ..limit };
        let mut left = self.keys.leave(limit, &self.own, true).await;
        self.revoke(self.own.lease);
        // Its lease has run out, but nobody has taken the lock.
        if let Ok(Done::No(view)) = &left
            && view.own.is_none()
            && self.is_recorded(view)
            && let Some(record) = &view.record
        {
            left = self.keys.forget(limit, record.revision, false).await;
        }
        match left? {
            Done::Yes { .. } => Ok(()),
            // Nobody else could end it so soon: it was an earlier try of ours.
            Done::No(view)
                if (view.is_repeated || self.is_release_sent) && boot() < self.lease.deadline() =>
            {
                Ok(())
            }
            Done::No(view) => Err(Failed::Lost(holder_of(&view))),
        }
    }

    fn error(&self, verb: &str, failed: Failed) -> Error {
        match failed {
            Failed::Lost(holder) => Error::lost(&self.path, holder),
            Failed::EngineError(trouble) => trouble.error(verb, &self.path),
        }
    }

    /// Renews or moves it, and waits for that.
    pub(crate) fn renew_now(&mut self, terms: RenewRequest) -> Result<(), Error> {
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

/// Who holds the lock, or is about to, by what was found instead of us.
fn holder_of(view: &View) -> Option<Holder> {
    let first = || view.queue.first()?.who.as_ref();
    Some(view.holder().map(|(_, who)| who).or_else(first)?.to_holder())
}

impl Holding for Held {
    fn key(&self) -> Key {
        // The name of the key says its first lease.
        let lease = self.own.key.rsplit('/').next().unwrap_or_default();
        Key::new(self.token, Nonce(u128::from_str_radix(lease, 16).unwrap_or(0)))
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

    fn renew(&mut self, terms: RenewRequest) -> Result<(), Error> {
        self.renew_now(terms)
    }

    fn release(&mut self) -> Result<(), Error> {
        let released = self.release_now();
        self.is_release_sent |= released.as_ref().is_err_and(|error| !error.is_lost());
        released
    }
}
