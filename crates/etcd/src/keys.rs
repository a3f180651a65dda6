//! A lock's keys, and the transactions that change them. Each transaction takes effect at one revision,
//! and is guarded by the conditions that must be true then; none decides anything.
//!
//! `NAME.lockdir/NONCE`: a waiter or the holder; the oldest key may hold the lock. `NAME.lockdir`: the
//! record, of the present holder or of a holder that did not release.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockbydir::engine::boot;

use crate::api::{
    Call, Compare, KeyValue, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
};
use crate::cluster::{Answered, Cluster, Limit};
use crate::contender::Contender;
use crate::error::EngineError;
use crate::lease::{Lease, seconds};

/// The most keys of a queue that are read to show them to people.
const SHOWN: i64 = 1000;

/// The keys of one lock, for one acquisition and the holding that it leads to.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) cluster: Arc<Cluster>,
    /// The key of the record.
    pub(crate) record: String,
    /// Whether a request was not answered at the first try: it may still be carried out, at any time.
    is_one_under_way: Arc<AtomicBool>,
}

/// One key of the queue.
#[derive(Clone, Debug)]
pub(crate) struct QueueKey {
    pub(crate) key: String,
    /// The revision at which it was created.
    pub(crate) since: i64,
    /// The lease that it is on; 0 if none.
    pub(crate) lease: i64,
    /// Who queues with it; none if the key is not ours.
    pub(crate) who: Option<Contender>,
}

/// The record of a lock.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The revision of its last change.
    pub(crate) revision: i64,
    /// Whose record it is; none if it is not ours.
    pub(crate) who: Option<Contender>,
}

impl Record {
    pub(crate) fn token(&self) -> u64 {
        let written = self.who.as_ref().and_then(Contender::token);
        written.unwrap_or_else(|| token(self.revision))
    }
}

/// What a look found.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The revision of the look.
    pub(crate) revision: i64,
    /// The term of the cluster's leader at the look.
    pub(crate) term: u64,
    /// Whether an earlier try was not answered: it may have been carried out before this look.
    pub(crate) is_repeated: bool,
    /// Our own key, if it was requested and exists.
    pub(crate) own: Option<QueueKey>,
    /// The queue, or the part of it that was requested.
    pub(crate) queue: Vec<QueueKey>,
    pub(crate) record: Option<Record>,
}

/// How a guarded transaction ended: done, or the state that prevented it.
#[derive(Debug)]
pub(crate) enum Done {
    /// Done at this revision, in this term of the cluster's leader.
    Yes {
        revision: i64,
        term: u64,
        /// The lease that the key was on, if a key was removed.
        removed_from: Option<i64>,
    },
    /// Not done.
    No(Box<View>),
}

impl Done {
    /// Returns the term of the cluster's leader at the answer.
    pub(crate) fn term(&self) -> u64 {
        match self {
            Done::Yes { term, .. } => *term,
            Done::No(view) => view.term,
        }
    }
}

/// Returns a revision as a token.
pub(crate) fn token(revision: i64) -> u64 {
    revision.unsigned_abs()
}

impl Keys {
    pub(crate) fn new(cluster: Arc<Cluster>, record: String) -> Keys {
        Keys { cluster, record, is_one_under_way: Arc::default() }
    }

    /// Returns the key of this name in the queue, named as `etcdctl lock` names its keys.
    pub(crate) fn key(&self, nonce: i64) -> String {
        format!("{}/{nonce:x}", self.record)
    }

    /// Returns true if each request was answered at its first try: then none is still under way.
    pub(crate) fn are_all_answered(&self) -> bool {
        !self.is_one_under_way.load(Ordering::Acquire)
    }

    async fn call<R: Call>(
        &self,
        limit: Limit,
        request: R,
    ) -> Result<Answered<R::Answer>, EngineError> {
        let answered = self.cluster.call(limit, request).await;
        if !answered.as_ref().is_ok_and(|answered| !answered.is_repeated) {
            self.is_one_under_way.store(true, Ordering::Release);
        }
        answered
    }

    fn queue(&self) -> String {
        format!("{}/", self.record)
    }

    /// Grants a lease of this number, or of a random number if that one is taken.
    pub(crate) async fn grant(
        &self,
        limit: Limit,
        mut id: i64,
        timeout: Duration,
    ) -> Result<Lease, EngineError> {
        let ttl = seconds(timeout);
        loop {
            let began = boot();
            let granted = self.call(limit, LeaseGrantRequest { id, ttl });
            let (granted, sent, header) = match granted.await {
                Ok(Answered { what, sent, .. }) => (what.ttl, sent, what.header),
                Err(EngineError::LeaseExists { is_ours: true }) => {
                    // An earlier try was carried out, and its answer was lost.
                    let found = self.call(limit, LeaseTimeToLiveRequest { id });
                    match found.await?.what.granted_ttl {
                        ..=0 => return Err(EngineError::NoLease),
                        granted => (granted, began, None),
                    }
                }
                Err(EngineError::LeaseExists { .. }) => {
                    id = lease_id(crate::random());
                    continue;
                }
                Err(trouble) => return Err(trouble),
            };
            let timeout = Duration::from_secs(granted.unsigned_abs());
            let term = header.map_or(0, |header| header.raft_term);
            return Ok(Lease::new(id, timeout, sent).granted(ttl, term));
        }
    }

    /// Ends a lease, and with it the key that it queues with.
    pub(crate) async fn revoke(&self, limit: Limit, id: i64) {
        // A lease that is not revoked runs out by itself.
        let _ = self.cluster.call(limit, LeaseRevokeRequest { id }).await;
    }

    /// Keeps a lease alive; returns when the request was sent, and the leader's term in the answer.
    pub(crate) async fn keep_alive(
        &self,
        limit: Limit,
        id: i64,
    ) -> Result<(Duration, u64), EngineError> {
        let kept = self.call(limit, LeaseKeepAliveRequest { id });
        let Answered { what, sent, .. } = kept.await?;
        match what.ttl {
            ..=0 => Err(EngineError::NoLease),
            _ => Ok((sent, what.header.map_or(0, |header| header.raft_term))),
        }
    }

    /// Takes the lock if nobody queues and the record is of this revision (0: there is none).
    /// Otherwise queues, if `joins`.
    pub(crate) async fn enter(
        &self,
        limit: Limit,
        key: &str,
        lease: i64,
        who: &Contender,
        record: i64,
        joins: bool,
    ) -> Result<Done, EngineError> {
        let put = || RequestOp::put(key, who.to_json(), lease);
        let taken = who.holding(None).to_json();
        let when = vec![
            Compare::created_at(self.queue(), 0).with_prefix(),
            Compare::changed_at(self.record.clone(), record),
        ];
        let then = vec![put(), RequestOp::put(self.record.clone(), taken, 0)];
        let mut instead = Vec::new();
        if joins {
            instead.push(put());
        }
        instead.extend(self.looks(Some(key), self.first(1)));
        self.transact(limit, when, then, instead).await
    }

    /// Takes the lock for our key if it still has its revision and is the first in the queue, and the
    /// record is of this revision.
    pub(crate) async fn win(
        &self,
        limit: Limit,
        own: &QueueKey,
        who: &Contender,
        record: i64,
    ) -> Result<Done, EngineError> {
        let taken = who.holding(Some(token(own.since))).to_json();
        let when = vec![
            Compare::created_at(own.key.clone(), own.since),
            Compare::created_after(self.queue(), own.since - 1).with_prefix(),
            Compare::changed_at(self.record.clone(), record),
        ];
        let then = vec![RequestOp::put(self.record.clone(), taken, 0)];
        let before = RangeRequest {
            max_create_revision: own.since - 1,
            sort_target: RangeRequest::CREATE,
            sort_order: RangeRequest::DESCEND,
            limit: 1,
            ..RangeRequest::prefix(self.queue())
        };
        let instead = self.looks(Some(&own.key), before);
        self.transact(limit, when, then, instead).await
    }

    /// Writes the holder's record anew, if its key is on the lease that we know; and with `rewritten` the
    /// key, too, on that lease: to move it to another lease, or to change its value.
    pub(crate) async fn renew(
        &self,
        limit: Limit,
        own: &QueueKey,
        who: &Contender,
        token: u64,
        rewritten: Option<i64>,
    ) -> Result<Done, EngineError> {
        let taken = who.holding(Some(token)).to_json();
        let when = vec![
            Compare::created_at(own.key.clone(), own.since),
            // An older request of ours that is still under way must not move the key back.
            Compare::on_lease(own.key.clone(), own.lease),
        ];
        let mut then = vec![RequestOp::put(self.record.clone(), taken, 0)];
        if let Some(lease) = rewritten {
            then.push(RequestOp::put(own.key.clone(), who.to_json(), lease));
        }
        let instead = self.looks(Some(&own.key), self.first(1));
        self.transact(limit, when, then, instead).await
    }

    /// Restores the key of a holder whose lease has run out, on another lease, if the holder's own
    /// record of this revision is still there and nobody queues: then nobody has held the lock since.
    pub(crate) async fn revive(
        &self,
        limit: Limit,
        key: &str,
        who: &Contender,
        record: &Record,
        lease: i64,
    ) -> Result<Done, EngineError> {
        let taken = who.holding(Some(record.token())).to_json();
        let when = vec![
            Compare::created_at(self.queue(), 0).with_prefix(),
            Compare::changed_at(self.record.clone(), record.revision),
        ];
        let then = vec![
            RequestOp::put(key, who.to_json(), lease),
            RequestOp::put(self.record.clone(), taken, 0),
        ];
        let instead = self.looks(Some(key), self.first(1));
        self.transact(limit, when, then, instead).await
    }

    /// Removes a key of the queue if it still has its revision, and with `with_record` the record, too.
    pub(crate) async fn leave(
        &self,
        limit: Limit,
        own: &QueueKey,
        with_record: bool,
    ) -> Result<Done, EngineError> {
        let when = vec![Compare::created_at(own.key.clone(), own.since)];
        let own_key = own.key.clone();
        let mut then = vec![RangeRequest::of(own_key.clone()).into(), RequestOp::delete(own_key)];
        if with_record {
            then.push(RequestOp::delete(self.record.clone()));
        }
        let instead = self.looks(Some(&own.key), self.first(1));
        self.transact(limit, when, then, instead).await
    }

    /// Removes the record if it is of this revision; with `if_alone` only if nobody queues.
    pub(crate) async fn forget(
        &self,
        limit: Limit,
        record: i64,
        if_alone: bool,
    ) -> Result<Done, EngineError> {
        let mut when = vec![Compare::changed_at(self.record.clone(), record)];
        if if_alone {
            let alone = Compare::created_at(self.queue(), 0);
            when.push(alone.with_prefix());
        }
        let then = vec![RequestOp::delete(self.record.clone())];
        let instead = self.looks(None, self.first(1));
        self.transact(limit, when, then, instead).await
    }

    /// Reads the whole lock.
    pub(crate) async fn look(&self, limit: Limit, own: Option<&str>) -> Result<View, EngineError> {
        let success = self.looks(own, self.first(SHOWN));
        let txn = TxnRequest { success, ..TxnRequest::default() };
        Ok(View::of(&self.call(limit, txn).await?))
    }

    /// Returns the time that a lease still has, and its granted timeout; `None` if it is gone.
    pub(crate) async fn rest(
        &self,
        limit: Limit,
        lease: i64,
    ) -> Result<Option<(Duration, Duration)>, EngineError> {
        let found = self.call(limit, LeaseTimeToLiveRequest { id: lease }).await?.what;
        let seconds = |number: i64| Duration::from_secs(number.max(0).unsigned_abs());
        Ok((found.ttl >= 0).then(|| (seconds(found.ttl), seconds(found.granted_ttl))))
    }

    /// Returns the requests that read the queue (or a part of it), the record, and our own key.
    fn looks(&self, own: Option<&str>, queue: RangeRequest) -> Vec<RequestOp> {
        let own = own.map(RangeRequest::of);
        let looks = [queue, RangeRequest::of(self.record.clone())];
        looks.into_iter().chain(own).map(RequestOp::from).collect()
    }

    /// Selects the oldest keys of the queue.
    fn first(&self, limit: i64) -> RangeRequest {
        RangeRequest {
            sort_target: RangeRequest::CREATE,
            sort_order: RangeRequest::ASCEND,
            limit,
            ..RangeRequest::prefix(self.queue())
        }
    }

    /// Does `then` if all of `when` is true, and else looks with `instead`.
    async fn transact(
        &self,
        limit: Limit,
        when: Vec<Compare>,
        then: Vec<RequestOp>,
        instead: Vec<RequestOp>,
    ) -> Result<Done, EngineError> {
        let txn = TxnRequest { compare: when, success: then, failure: instead };
        let answered = self.call(limit, txn).await?;
        let view = View::of(&answered);
        Ok(match answered.what.succeeded {
            true => Done::Yes {
                revision: view.revision,
                term: view.term,
                removed_from: view.queue.first().map(|key| key.lease),
            },
            false => Done::No(view.into()),
        })
    }
}

impl View {
    /// Returns the record and the holder, if the first key of the queue holds the lock.
    pub(crate) fn holder(&self) -> Option<(&Record, &Contender)> {
        let first = self.queue.first()?.who.as_ref()?;
        let record = self.record.as_ref()?;
        let who = record.who.as_ref()?;
        (who.nonce == first.nonce).then_some((record, who))
    }

    /// Reads the answer to [`Keys::looks`].
    fn of(answered: &Answered<TxnResponse>) -> View {
        let header = answered.what.header.unwrap_or_default();
        let read = answered.what.responses.iter().filter_map(|response| {
            let found = response.range.as_ref()?;
            Some(found.kvs.iter().map(QueueKey::of).collect::<Vec<_>>())
        });
        let mut read = read.fuse();
        let queue = read.next().unwrap_or_default();
        let record = read.next().unwrap_or_default().pop();
        let own = read.next().unwrap_or_default().pop();
        View {
            revision: header.revision,
            term: header.raft_term,
            is_repeated: answered.is_repeated,
            own: own.map(|(own, _)| own),
            queue: queue.into_iter().map(|(key, _)| key).collect(),
            record: record.map(|(key, revision)| Record { revision, who: key.who }),
        }
    }
}

impl QueueKey {
    /// Returns a key and the revision of its last change.
    fn of(found: &KeyValue) -> (QueueKey, i64) {
        let key = QueueKey {
            key: String::from_utf8_lossy(&found.key).into_owned(),
            since: found.create_revision,
            lease: found.lease,
            who: Contender::parse(&found.value),
        };
        (key, found.mod_revision)
    }
}

/// Makes the number of a lease, or the nonce of a key, from random bits; never zero, with which the server would choose.
pub(crate) fn lease_id(random: u128) -> i64 {
    let bits = u64::try_from(random & u128::from(u64::MAX >> 1)).unwrap_or(1);
    i64::try_from(bits.max(1)).unwrap_or(1)
}
