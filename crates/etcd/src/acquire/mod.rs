//! Acquiring: entering the queue, and waiting at its front.

mod wait;

use std::sync::Arc;
use std::time::Duration;

use lockbydir::engine::{Wait, boot};
use lockbydir::{Error, How};
use lockbydir_protocol::AcquireRequest;
use tokio::sync::Mutex;

use self::wait::{PAUSE, WatchTarget};
use crate::cluster::Limit;
use crate::contender::Contender;
use crate::engine::Etcd;
use crate::error::EngineError;
use crate::holding::Held;
use crate::kept;
use crate::keys::{Done, Keys, QueueKey, Record, View, lease_id, token};
use crate::lease::Lease;
use crate::watch::{KeyWatch, Nudge, WatchEvent};

/// The longest time that a try without patience may take: enough for a few round trips.
const ONE_TRY: Duration = Duration::from_secs(2);
/// How often a waiter checks that the holder is alive, where it can see the holder's process; a waiter
/// ahead is checked every 20 such intervals. Short, so that a dead holder is replaced at once.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(50);
/// For how long a waiter waits until it has left the queue; after that its lease runs out by itself.
const LEAVE_WAIT: Duration = Duration::from_secs(1);

/// Waits for the lock as `wait` allows.
pub(crate) fn acquire(
    etcd: &Etcd,
    request: &AcquireRequest,
    wait: &Wait<'_>,
) -> Result<(Held, How), Error> {
    let began = boot();
    let nudge = Nudge::default();
    wait.wake_on_interrupt(&nudge.waker());
    let mut nonce = lease_id(request.nonce.0);
    loop {
        let mut queue = Queue {
            etcd,
            keys: etcd.keys(),
            wait,
            nudge: nudge.clone(),
            timeout: request.timeout,
            last: wait.until().map(|until| if until > began { until } else { began + ONE_TRY }),
            is_one_try: wait.until().is_some_and(|until| until <= began),
            watch: Arc::default(),
            seen: None,
            before: None,
            ahead: None,
            own: None,
        };
        if let Some(got) = queue.wait_in_queue(request, nonce)? {
            return Ok(got);
        }
        if queue.last.is_some_and(|last| boot() >= last) {
            return Err(queue.given_up());
        }
        // Our lease was lost while we waited: we go to the end of the queue, with a new lease.
        nonce = lease_id(crate::random());
    }
}

/// A waiter, from the grant of its lease to the end of its wait.
struct Queue<'a, 'w> {
    etcd: &'a Etcd,
    keys: Keys,
    wait: &'a Wait<'w>,
    nudge: Nudge,
    /// The timeout as requested, later as granted; it limits how long a member may take to answer.
    timeout: Duration,
    /// The end of patience, or of a try without patience; none: never.
    last: Option<Duration>,
    is_one_try: bool,
    watch: Arc<Mutex<KeyWatch>>,
    /// The revision of the record, and since when we have seen it.
    seen: Option<(i64, Duration)>,
    /// A record that may be overwritten: its holder did not release, and its time is over.
    before: Option<Record>,
    /// The key of the holder that we waited for.
    ahead: Option<QueueKey>,
    /// Our key in the queue.
    own: Option<String>,
}

/// Why queueing ended without the lock.
enum Ended {
    Error(Error),
    /// The lease is over, or may be.
    PlaceLost,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Ended {
        Ended::Error(error)
    }
}

impl Queue<'_, '_> {
    /// Queues with the kept lease or a new one; returns `None` if its place was lost.
    fn wait_in_queue(
        &mut self,
        request: &AcquireRequest,
        nonce: i64,
    ) -> Result<Option<(Held, How)>, Error> {
        let (nonce, lease) = match self.lease(request.timeout, nonce) {
            Ok(found) => found,
            Err(Ended::Error(error)) => return Err(error),
            Err(Ended::PlaceLost) => return Ok(None),
        };
        self.timeout = lease.timeout;
        let who = Contender::new(request, nonce, lease.timeout);
        let mut place = Place { key: self.keys.key(nonce), who, lease };
        let ended = match self.wait_with(&mut place) {
            Ok(got) => return Ok(Some(got)),
            Err(ended) => ended,
        };
        // A try that did not get the lock has put no key.
        let is_unused = self.is_one_try && self.own.is_none() && self.keys.are_all_answered();
        if is_unused && place.lease.may_be_kept() && matches!(ended, Ended::Error(_)) {
            kept::keep(&self.keys.cluster, place.lease);
        } else {
            self.leave(&place.lease);
        }
        match ended {
            Ended::Error(error) => Err(error),
            Ended::PlaceLost => Ok(None),
        }
    }

    /// Returns a lease, and the name of the key to put on it: the kept lease with this nonce, or a new
    /// lease with its own number, as `etcdctl lock` would.
    fn lease(&mut self, timeout: Duration, nonce: i64) -> Result<(i64, Lease), Ended> {
        if let Some(mut kept) = kept::take(&self.keys.cluster, timeout) {
            if kept.is_fresh(boot()) {
                return Ok((nonce, kept));
            }
            let id = kept.id;
            let renewed =
                self.try_ask(move |keys, limit| async move { keys.keep_alive(limit, id).await })?;
            // It counts once the transaction that puts our key confirms it.
            if renewed.is_ok_and(|(sent, term)| kept.offer(sent, term, boot())) {
                return Ok((nonce, kept));
            }
            kept::revoke(&self.keys.cluster, kept.id, kept.timeout);
            // What is under way for that lease does not concern the next one.
            self.keys = self.etcd.keys();
        }
        let granted =
            self.ask(move |keys, limit| async move { keys.grant(limit, nonce, timeout).await })?;
        Ok((granted.id, granted))
    }

    fn wait_with(&mut self, place: &mut Place) -> Result<(Held, How), Ended> {
        let own = match self.enter(place)? {
            Entered::Held(own) => return self.hold(place, own),
            Entered::InQueue(own) => own,
        };
        self.own = Some(own.key.clone());
        loop {
            if boot() >= place.lease.due() {
                self.keep_alive(place)?;
            }
            let (who, key, record) = (place.who.clone(), own.clone(), self.allowed());
            let done = self.ask(move |keys, limit| {
                let (who, key) = (who.clone(), key.clone());
                async move { keys.win(limit, &key, &who, record).await }
            })?;
            place.lease.confirm(done.term());
            if boot() >= place.lease.deadline() {
                return Err(Ended::PlaceLost);
            }
            let view = match done {
                Done::Yes { .. } => return self.hold(place, own),
                Done::No(view) => view,
            };
            match &view.own {
                Some(there) if there.since == own.since && there.lease == own.lease => {}
                _ => return Err(Ended::PlaceLost),
            }
            let ahead = view.queue.first().filter(|first| first.key != own.key).cloned();
            match ahead {
                Some(ahead) => self.wait_for(place, &ahead, &view)?,
                None => self.judge(place, &view, true)?,
            }
        }
    }

    /// Takes the lock at once, or queues.
    fn enter(&mut self, place: &mut Place) -> Result<Entered, Ended> {
        loop {
            let (who, key, lease) = (place.who.clone(), place.key.clone(), place.lease.id);
            let (joins, record) = (!self.is_one_try, self.allowed());
            let done = self.ask(move |keys, limit| {
                let (who, key) = (who.clone(), key.clone());
                async move { keys.enter(limit, &key, lease, &who, record, joins).await }
            })?;
            place.lease.confirm(done.term());
            let view = match done {
                Done::Yes { revision, .. } => {
                    let (key, who) = (place.key.clone(), Some(place.who.clone()));
                    return Ok(Entered::Held(QueueKey { key, since: revision, lease, who }));
                }
                Done::No(view) => view,
            };
            // The key was put just now, or by an earlier try that was not answered: then it may even
            // hold the lock, which the next step sees.
            if let Some(own) = view.own.clone().filter(|own| own.lease == lease) {
                return Ok(Entered::InQueue(own));
            }
            match view.queue.first() {
                Some(first) if is_dead(first) => self.remove(first)?,
                Some(first) => {
                    let foreign = self.etcd.foreign(first);
                    return Err(foreign.unwrap_or_else(|| self.given_up()).into());
                }
                None => self.judge(place, &view, false)?,
            }
        }
    }

    /// Decides whether the record may be overwritten. Nobody is before us in the queue, but the record
    /// has another revision than we knew: its holder has released meanwhile, or did not release.
    fn judge(&mut self, place: &Place, view: &View, waits: bool) -> Result<(), Ended> {
        self.before = None;
        let Some(record) = &view.record else { return Ok(()) };
        let now = boot();
        let since = match self.seen {
            Some((revision, since)) if revision == record.revision => since,
            _ => self.seen.insert((record.revision, now)).1,
        };
        let who = record.who.as_ref();
        let is_own = who.is_some_and(|who| who.nonce == place.who.nonce);
        let unchanged = now.saturating_sub(since);
        let is_over = who.is_none_or(|who| who.is_over(unchanged));
        if is_own || is_over || self.is_sound()? {
            self.before = Some(record.clone());
            return Ok(());
        }
        if !waits {
            return Err(self.given_up().into());
        }
        // A server with known faults may have ended the lease too early: waits for the end of the
        // timeout by our own clock.
        let over = since + who.map_or(Duration::ZERO, Contender::timeout);
        let until = over.min(place.lease.due()).min(now + LIVENESS_INTERVAL);
        self.pause(until, None, None).map(|_| ())
    }

    fn is_sound(&self) -> Result<bool, Ended> {
        self.ask(|keys, limit| async move { Ok(keys.cluster.is_sound(limit).await) })
    }

    /// Returns the revision of the record that may be overwritten; 0 if there must be no record.
    fn allowed(&self) -> i64 {
        self.before.as_ref().map_or(0, |record| record.revision)
    }

    /// Waits until the waiter or holder ahead is gone, or something else is to be done.
    fn wait_for(&mut self, place: &Place, ahead: &QueueKey, view: &View) -> Result<(), Ended> {
        if let Some(error) = self.etcd.foreign(ahead) {
            return Err(error.into());
        }
        if is_dead(ahead) {
            return self.remove(ahead);
        }
        let holder = view.holder();
        let is_holder = holder.is_some();
        if let Some((record, _)) = holder {
            self.ahead = Some(ahead.clone());
            if self.seen.is_none_or(|(revision, _)| revision != record.revision) {
                self.seen = Some((record.revision, boot()));
            }
        }
        let is_visible = ahead.who.as_ref().is_some_and(Contender::is_visible);
        loop {
            let now = boot();
            let interval = if is_holder { LIVENESS_INTERVAL } else { 20 * LIVENESS_INTERVAL };
            let until = if is_visible { now + interval } else { Duration::MAX };
            let until = until.min(place.lease.due());
            let target =
                Some(WatchTarget { ahead: &ahead.key, is_holder, revision: view.revision });
            match self.pause(until, target, None)? {
                WatchEvent::Written(revision) => self.seen = Some((revision, boot())),
                WatchEvent::Nothing if boot() < place.lease.due() && !is_dead(ahead) => {}
                _ => return Ok(()),
            }
        }
    }

    /// Removes the key of a process that is gone; its record stays, so that the next holder can report
    /// it.
    fn remove(&self, dead: &QueueKey) -> Result<(), Ended> {
        let dead = dead.clone();
        self.ask(move |keys, limit| {
            let dead = dead.clone();
            async move { keys.leave(limit, &dead, false).await.map(|_| ()) }
        })
    }

    fn keep_alive(&self, place: &mut Place) -> Result<(), Ended> {
        let id = place.lease.id;
        let deadline = place.lease.deadline();
        let kept = self.try_ask(move |keys, limit| async move {
            let limit = Limit { until: limit.until.min(deadline), ..limit };
            keys.keep_alive(limit, id).await
        })?;
        match kept {
            Ok((sent, term)) if place.lease.offer(sent, term, boot()) => Ok(()),
            Ok(_) | Err(EngineError::NoLease) => Err(Ended::PlaceLost),
            Err(trouble) if trouble.may_pass() && boot() < deadline => {
                self.pause(boot() + PAUSE, None, Some(&trouble)).map(|_| ())
            }
            Err(trouble) if trouble.may_pass() => Err(Ended::PlaceLost),
            Err(trouble) => Err(trouble.error("acquire", &self.etcd.path).into()),
        }
    }

    /// Returns the holding: the lock is ours.
    fn hold(&mut self, place: &Place, own: QueueKey) -> Result<(Held, How), Ended> {
        let mut held = Held {
            keys: self.keys.clone(),
            path: self.etcd.path.clone(),
            token: token(own.since),
            own,
            who: place.who.clone(),
            lease: place.lease,
            is_ours: true,
            is_unsure: false,
            is_release_sent: false,
        };
        // A slow acquisition has used up part of the lease.
        let rest = held.lease.deadline().saturating_sub(boot());
        if rest < held.lease.timeout / 2 {
            match held.renew_now(Default::default()) {
                Ok(()) => {}
                Err(error) if error.is_lost() => return Err(Ended::PlaceLost),
                Err(_) if !rest.is_zero() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let is_own = |who: &Contender| who.nonce == place.who.nonce;
        let before = self.before.take().filter(|record| !record.who.as_ref().is_some_and(is_own));
        let how = match (&before, &self.ahead) {
            (Some(record), _) => match &record.who {
                Some(who) if who.is_dead() => How::AfterDeath(who.to_predecessor(record.token())),
                Some(who) => How::AfterExpiry(who.to_predecessor(record.token())),
                None => How::Free,
            },
            (None, Some(QueueKey { who: Some(who), since, .. })) => {
                How::HandedOver(who.to_predecessor(token(*since)))
            }
            _ => How::Free,
        };
        Ok((held, how))
    }

    /// Leaves the queue, and waits for that for at most [`LEAVE_WAIT`].
    fn leave(&self, lease: &Lease) {
        let (keys, id) = (self.keys.clone(), lease.id);
        let limit = Limit::new(boot() + lease.timeout.max(LEAVE_WAIT), lease.timeout);
        let (sender, left) = std::sync::mpsc::sync_channel(1);
        crate::pending::start(async move {
            keys.revoke(limit, id).await;
            let _ = sender.send(());
        });
        let _ = left.recv_timeout(LEAVE_WAIT);
    }
}

/// Our place in the queue: our key, who we are, and the lease of the key.
struct Place {
    key: String,
    who: Contender,
    lease: Lease,
}

enum Entered {
    Held(QueueKey),
    InQueue(QueueKey),
}

/// Returns true if we can see that the key's process is gone.
fn is_dead(key: &QueueKey) -> bool {
    key.who.as_ref().is_some_and(Contender::is_dead)
}
