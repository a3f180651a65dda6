//! The history of one contender at one lock.

use std::collections::VecDeque;

use serde::Serialize;

use super::card::Place;
use crate::event::{Contender, How};

/// The number of spans kept for a lane; the oldest ended ones are dropped first.
const MAX_SPANS: usize = 2000;

/// The history of one contender at one lock.
#[derive(Clone, Debug, Serialize)]
pub struct Lane {
    /// The number of the lane, unique on its board.
    pub number: u64,
    /// The name of the lock.
    pub lock: String,
    /// The contender.
    pub who: Contender,
    /// The number of earlier spans that are not in `spans`: they were too old or, in
    /// [`Changes`](super::Changes), have not changed.
    pub start: u64,
    /// What the contender did, in order.
    pub spans: VecDeque<Span>,
    #[serde(skip)]
    pub(super) wait: Option<f64>,
    /// The number of the first span that changed since the changes were last taken.
    #[serde(skip)]
    pub(super) fresh: Option<u64>,
}

/// One stretch of waiting or holding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// What the contender did.
    pub kind: Kind,
    /// When it began.
    pub from: f64,
    /// When it ended; `None` while it lasts.
    pub to: Option<f64>,
    /// How it ended; `None` while it lasts.
    pub end: Option<End>,
    /// The fencing token of a holding.
    pub token: Option<u64>,
    /// How the lock was acquired.
    pub how: Option<How>,
    /// The number of renewals.
    pub renewals: u32,
}

/// The kind of a [`Span`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It waits in the queue.
    Waiting,
    /// It holds the lock.
    Holding,
    /// It held the lock without renewing it until it expired; known only after the expiry.
    Forgotten,
    /// Its timeout has passed, and its lock is still there.
    Expired,
    /// It is dead, and its lock is still there.
    Dead,
}

/// How a [`Span`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It got the lock.
    Served,
    /// It gave up waiting.
    GaveUp,
    /// It died.
    Died,
    /// It no longer waits: it gave up or its process ended; which of the two is not known.
    Gone,
    /// It released the lock.
    Released,
    /// Its timeout passed.
    Expired,
    /// Another took the lock over.
    Taken,
    /// Somebody removed the lock.
    Broken,
    /// It renewed the lock after it had expired or had been taken for dead.
    Renewed,
}

impl Lane {
    pub(super) fn open(&mut self, span: Span) {
        self.touch(self.spans.len());
        self.spans.push_back(span);
    }

    /// Marks the span at this index as changed or new.
    pub(super) fn touch(&mut self, index: usize) {
        let number = self.start + index as u64;
        self.fresh = Some(self.fresh.map_or(number, |fresh| fresh.min(number)));
    }

    pub(super) fn changes(&mut self) -> Lane {
        let end = self.start + self.spans.len() as u64;
        let start = self.fresh.take().unwrap_or(end).clamp(self.start, end);
        let known = usize::try_from(start - self.start).unwrap_or(usize::MAX);
        let spans = self.spans.iter().skip(known).cloned().collect();
        let (lock, who) = (self.lock.clone(), self.who.clone());
        Lane { lock, who, spans, start, ..*self }
    }

    pub(super) fn place(&self, since: f64) -> Place {
        Place { lane: self.number, who: self.who.clone(), since }
    }

    /// Returns when the last span ended; `None` while the contender waits or holds.
    pub(super) fn over_since(&self) -> Option<f64> {
        self.spans.iter().try_fold(0.0, |last: f64, span| span.to.map(|to| last.max(to)))
    }

    /// Drops spans that ended before then, and the oldest ended ones above [`MAX_SPANS`].
    pub(super) fn prune(&mut self, before: f64) {
        let is_full = |lane: &Lane| lane.spans.len() > MAX_SPANS;
        let is_old = |span: &Span, full: bool| span.to.is_some_and(|to| to < before || full);
        while self.spans.front().is_some_and(|span| is_old(span, is_full(self))) {
            self.spans.pop_front();
            self.start += 1;
        }
    }

    /// Returns the last open span whose kind satisfies the predicate, and marks it as changed.
    pub(super) fn last(&mut self, is_wanted: impl Fn(Kind) -> bool) -> Option<&mut Span> {
        let is_open = |span: &Span| span.to.is_none() && is_wanted(span.kind);
        let index = self.spans.iter().rposition(is_open)?;
        self.touch(index);
        self.spans.get_mut(index)
    }

    pub(super) fn wait_ends(&mut self, at: f64, end: End) {
        if let Some(span) = self.last(|kind| kind == Kind::Waiting) {
            span.ends(at, end);
        }
    }

    /// Returns its sort key in a queue that it joined at `since`.
    pub(super) fn rank(&self, since: f64) -> (u64, u64, String) {
        (since.to_bits(), self.number, self.who.id.clone())
    }

    /// Returns the open span of its holding, expired or dead ones included.
    pub(super) fn hold_now(&mut self) -> Option<&mut Span> {
        self.last(|kind| kind != Kind::Waiting)
    }

    pub(super) fn hold_ends(&mut self, at: f64, end: End) {
        if let Some(span) = self.hold_now() {
            span.ends(at, end);
        }
    }

    pub(super) fn expires(&mut self, at: f64, silent_since: f64, token: Option<u64>) {
        if let Some(span) = self.hold_now() {
            if silent_since <= span.from {
                span.kind = Kind::Forgotten;
                span.ends(at, End::Expired);
            } else {
                span.to = Some(silent_since.min(at));
                let how = span.how;
                let mut silent = Span::new(Kind::Forgotten, silent_since.min(at));
                silent.ends(at, End::Expired);
                self.open(Span { token, how, ..silent });
            }
        }
        self.open(Span { token, ..Span::new(Kind::Expired, at) });
    }
}

impl Span {
    pub(super) fn new(kind: Kind, from: f64) -> Span {
        Span { kind, from, to: None, end: None, token: None, how: None, renewals: 0 }
    }

    pub(super) fn ends(&mut self, at: f64, end: End) {
        (self.to, self.end) = (Some(at.max(self.from)), Some(end));
    }
}
