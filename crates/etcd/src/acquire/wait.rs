//! How a waiter asks the servers until one answers, and sleeps until something changes. What to ask, and
//! what an answer means, is decided by its parent.

use std::time::Duration;

use lockbydir::Error;
use lockbydir::engine::boot;

use super::{Ended, Queue};
use crate::cluster::Limit;
use crate::error::EngineError;
use crate::keys::Keys;
use crate::runtime;
use crate::watch::{KeyWatch, WatchEvent};

/// The pause after a round in which no member answered.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// What a waiter watches: the key ahead of it, from this revision on.
#[derive(Clone, Copy)]
pub(super) struct WatchTarget<'a> {
    pub(super) ahead: &'a str,
    pub(super) is_holder: bool,
    pub(super) revision: i64,
}

impl Queue<'_, '_> {
    /// Asks until there is an answer or patience is over.
    pub(super) fn ask<T, F>(&self, question: impl Fn(Keys, Limit) -> F) -> Result<T, Ended>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        loop {
            let trouble = match self.try_ask(&question)? {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let is_over = self.is_one_try || self.last.is_some_and(|last| boot() >= last);
            if trouble == EngineError::NoLease {
                return Err(Ended::PlaceLost);
            }
            if !trouble.may_pass() || is_over {
                return Err(trouble.error("acquire", &self.etcd.path).into());
            }
            self.pause(boot() + PAUSE, None, Some(&trouble))?;
        }
    }

    /// Asks each member once.
    pub(super) fn try_ask<T, F>(
        &self,
        question: impl FnOnce(Keys, Limit) -> F,
    ) -> Result<Result<T, EngineError>, Ended>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        let once = Limit::new(boot(), self.timeout);
        let last = self.last.unwrap_or(Duration::MAX);
        let limit = Limit { until: last, is_once: true, ..once };
        Ok(runtime::wait(question(self.keys.clone(), limit))?)
    }

    /// Sleeps until this time, or until the key ahead or the record changes; reports the state of the
    /// wait meanwhile. Returns an error when the wait is over: that of `trouble`, if the pause is due to
    /// it.
    pub(super) fn pause(
        &self,
        until: Duration,
        target: Option<WatchTarget<'_>>,
        trouble: Option<&EngineError>,
    ) -> Result<WatchEvent, Ended> {
        loop {
            if self.wait.is_interrupted() {
                return Err(self.wait.interrupted(&self.etcd.path).into());
            }
            if self.last.is_some_and(|last| boot() >= last) {
                let error = trouble.map(|trouble| trouble.error("acquire", &self.etcd.path));
                return Err(error.unwrap_or_else(|| self.given_up()).into());
            }
            let end = until.min(self.wait.next_report()).min(self.last.unwrap_or(Duration::MAX));
            let event = self.wait.pause(|| {
                let event = self.watch_until(end, target);
                self.wait.report(|| self.etcd.glance_at(self.own.as_deref()));
                event
            });
            match event.transpose()? {
                None | Some(WatchEvent::Interrupted) => {
                    return Err(self.wait.interrupted(&self.etcd.path).into());
                }
                Some(WatchEvent::Nothing) if boot() < until => {}
                Some(event) => return Ok(event),
            }
        }
    }

    fn watch_until(
        &self,
        end: Duration,
        target: Option<WatchTarget<'_>>,
    ) -> Result<WatchEvent, Error> {
        let (watch, nudge, keys) = (self.watch.clone(), self.nudge.clone(), self.keys.clone());
        // Only the waiter behind the holder watches the record: each handoff writes it, and would wake
        // everybody else who watched it.
        let target = target.map(|target| {
            let record = target.is_holder.then(|| keys.record.clone());
            (target.ahead.to_owned(), record, target.revision)
        });
        let limit = Limit::new(end, self.timeout);
        runtime::wait(async move {
            let mut watch = watch.lock().await;
            match target {
                Some((gone, written, revision)) => {
                    let written = written.as_deref();
                    watch.switch_to(&keys.cluster, limit, &gone, written, revision).await;
                    watch.next_event(end, &nudge).await
                }
                None => KeyWatch::default().next_event(end, &nudge).await,
            }
        })
    }

    pub(super) fn given_up(&self) -> Error {
        self.wait.given_up(&self.etcd.path, &self.etcd.glance_at(None).0)
    }
}
