//! A holding: renewing it, moving it to another lease, and releasing it.

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
use crate::{kept, runtime};

/// How long a release waits for an answer; then it fails, and the lease runs out by itself.
const LONGEST_RELEASE: Duration = Duration::from_secs(3);

/// A lock that we hold.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) keys: Keys,
    pub(crate) path: PathBuf,
    /// The key that we hold it with, and the lease that the key is on.
    pub(crate) own: QueueKey,
    pub(crate) token: u64,
    pub(crate) who: Contender,
    pub(crate) lease: Lease,
    /// Whether this process acquired it: then it alone decides about the lease. Others, which know only
    /// the key of the holding, end the lease only once they have released the holding.
    pub(crate) is_ours: bool,
    /// Whether a change of the key was not answered: then the lease that it is on is unknown.
    pub(crate) is_unsure: bool,
    /// Whether a release failed that may have been done all the same.
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
    /// Returns the limit of a renewal: until the deadline, but time for two tries at least.
    fn limit(&self) -> Limit {
        let limit = Limit::new(Duration::ZERO, self.lease.timeout);
        Limit { until: self.lease.deadline().max(boot() + 2 * limit.a_try), ..limit }
    }

    async fn renew(&mut self, request: RenewRequest) -> Result<(), Failed> {
        if let Some(owner) = request.owner {
            self.who.set_owner(owner);
        }
        let limit = self.limit();
        let timeout = request.timeout.unwrap_or(self.lease.timeout);
        if request.timeout.is_some() || self.is_unsure {
            return self.move_to_new_lease(limit, timeout).await;
        }
        let rewritten = request.owner.map(|_| self.lease.id);
        for _ in 0..3 {
            match self.keys.keep_alive(limit, self.lease.id).await {
                Ok((sent, term)) if self.lease.offer(sent, term, boot()) => {}
                // The answer came late: the end of the lease may be under way.
                Ok(_) | Err(EngineError::NoLease) => break,
                Err(trouble) => return Err(trouble.into()),
            }
            let done = self.keys.renew(limit, &self.own, &self.who, self.token, rewritten).await?;
            let is_confirmed = self.lease.confirm(done.term());
            match done {
                Done::Yes { .. } if is_confirmed => return Ok(()),
                // Another member leads now, so the keep-alive is not confirmed: tries again.
                Done::Yes { .. } => {}
                Done::No(view) => match self.check_own_key(&view) {
                    Err(Failed::Lost(_)) if self.is_left(&view) => break,
                    result => result?,
                },
            }
        }
        self.move_to_new_lease(limit, timeout).await
    }

    /// Moves the key to a new lease, which counts from now, whatever happens to the old one.
    async fn move_to_new_lease(&mut self, limit: Limit, timeout: Duration) -> Result<(), Failed> {
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
                Done::No(view) => match self.check_own_key(&view) {
                    // An earlier try may have done it.
                    Ok(()) => self.own.lease == lease.id,
                    // Its lease has run out, but nobody has queued since.
                    Err(Failed::Lost(_)) if vanished.is_none() && self.is_left(&view) => {
                        vanished = view.record;
                        false
                    }
                    Err(lost) => {
                        kept::revoke(&self.keys.cluster, lease.id, lease.timeout);
                        return Err(lost);
                    }
                },
            };
            if done {
                if self.lease.id != lease.id {
                    kept::revoke(&self.keys.cluster, self.lease.id, self.lease.timeout);
                }
                self.own.lease = lease.id;
                (self.who, self.lease, self.is_unsure) = (who, lease, false);
                return Ok(());
            }
        }
        Err(EngineError::Unreachable("its key keeps changing".into()).into())
    }

    /// Checks that the key is still ours, perhaps on another lease, or restored by an earlier try.
    fn check_own_key(&mut self, view: &View) -> Result<(), Failed> {
        match &view.own {
            Some(own) if own.since == self.own.since || self.is_recorded(view) => {
                (self.own.lease, self.own.since) = (own.lease, own.since);
                self.is_unsure = true;
                Ok(())
            }
            _ => Err(Failed::Lost(holder_of(view))),
        }
    }

    /// Returns true if the record is of this very holding.
    fn is_recorded(&self, view: &View) -> bool {
        view.record.as_ref().is_some_and(|record| {
            let is_ours = record.who.as_ref().is_some_and(|who| who.nonce == self.who.nonce);
            is_ours && record.token() == self.token
        })
    }

    /// Returns true if there is nothing but the record of this very holding.
    fn is_left(&self, view: &View) -> bool {
        view.queue.is_empty() && self.is_recorded(view)
    }

    /// Keeps the lease for the next acquisition if that is safe after this release, or revokes it.
    fn end_lease(&self, left: &Result<Done, EngineError>) {
        let mut lease = self.lease;
        // What the key was on when it was removed: a renewal by key may have moved it, and then the lease
        // that we know is being revoked.
        let removed = match left {
            Ok(Done::Yes { removed_from, term, .. }) => {
                lease.confirm(*term);
                *removed_from
            }
            _ => None,
        };
        let is_known = self.is_ours && !self.is_unsure && removed == Some(lease.id);
        if is_known && self.keys.are_all_answered() && lease.may_be_kept() {
            return kept::keep(&self.keys.cluster, lease);
        }
        // One that only knows the holding by its key must not end a lease that its owner may have kept.
        if let Some(id) = removed.or(self.is_ours.then_some(self.own.lease)) {
            kept::revoke(&self.keys.cluster, id, lease.timeout);
        }
    }

    async fn release(&self) -> Result<(), Failed> {
        // A holding that is over, or soon runs out by itself, is not worth a long wait.
        let limit = Limit::new(Duration::ZERO, self.lease.timeout);
        let rest = self.lease.deadline().saturating_sub(boot());
        let until = boot() + rest.clamp(limit.a_try, LONGEST_RELEASE);
        let limit = Limit { until, ..limit };
        let mut left = self.keys.leave(limit, &self.own, true).await;
        self.end_lease(&left);
        // The lease has run out, but nobody has taken the lock: the record is left.
        if let Ok(Done::No(view)) = &left
            && view.own.is_none()
            && self.is_recorded(view)
            && let Some(record) = &view.record
        {
            left = self.keys.forget(limit, record.revision, false).await;
        }
        match left? {
            Done::Yes { .. } => Ok(()),
            // Nobody else could end it before its deadline: an earlier try of ours has released it.
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

    /// Renews the holding or moves it to a new lease, and waits for that.
    pub(crate) fn renew_now(&mut self, request: RenewRequest) -> Result<(), Error> {
        let mut held = self.clone();
        let (held, renewed) = runtime::wait(async move {
            let renewed = held.renew(request).await;
            (held, renewed)
        })?;
        *self = held;
        renewed.map_err(|failed| self.error("renew", failed))
    }

    /// Releases the holding, and waits for that.
    pub(crate) fn release_now(&self) -> Result<(), Error> {
        let held = self.clone();
        let released = runtime::wait(async move { held.release().await })?;
        released.map_err(|failed| self.error("release", failed))
    }
}

/// Returns who holds the lock, or is about to, according to the state that was found instead of ours.
fn holder_of(view: &View) -> Option<Holder> {
    let first = || view.queue.first()?.who.as_ref();
    Some(view.holder().map(|(_, who)| who).or_else(first)?.to_holder())
}

impl Holding for Held {
    fn key(&self) -> Key {
        let nonce = self.own.key.rsplit('/').next().unwrap_or_default();
        Key::new(self.token, Nonce(u128::from_str_radix(nonce, 16).unwrap_or(0)))
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

    fn renew(&mut self, request: RenewRequest) -> Result<(), Error> {
        self.renew_now(request)
    }

    fn release(&mut self) -> Result<(), Error> {
        let released = self.release_now();
        self.is_release_sent |= released.as_ref().is_err_and(|error| !error.is_lost());
        released
    }
}
