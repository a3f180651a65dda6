//! What one contender did over time.

use std::collections::VecDeque;

use serde::Serialize;

use super::card::Place;
use crate::event::{Contender, How};

/// So many spans of a lane are kept.
const SPANS: usize = 2000;

/// What one contender did over time.
#[derive(Clone, Debug, Serialize)]
pub struct Lane {
    /// Of all lanes of a board.
    pub number: u64,
    /// At which lock.
    pub lock: String,
    /// Who.
    pub who: Contender,
    /// How many spans were before those that are here: they are too old, or of
    /// [`Changes`](super::Changes) not new.
    pub start: u64,
    /// What it did, in order.
    pub spans: VecDeque<Span>,
    #[serde(skip)]
    pub(super) wait: Option<f64>,
    /// From which span on it is different since it was asked last.
    #[serde(skip)]
    pub(super) fresh: Option<u64>,
}

/// What one contender did for a while.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// What.
    pub kind: Kind,
    /// Since when,
    pub from: f64,
    /// until when, if that is over,
    pub to: Option<f64>,
    /// and how it came to its end.
    pub end: Option<End>,
    /// The number of a holding.
    pub token: Option<u64>,
    /// How it was got.
    pub how: Option<How>,
    /// How often it was renewed.
    pub renewals: u32,
}

/// What a contender does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It queues.
    Waiting,
    /// It holds the lock.
    Holding,
    /// It held the lock, was not renewed, and let it expire: seen so when that was over.
    Forgotten,
    /// Its time has passed, and its lock is still there.
    Expired,
    /// It is dead, and its lock is still there.
    Dead,
}

/// How something came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It got the lock.
    Served,
    /// It gave up waiting.
    GaveUp,
    /// It died.
    Died,
    /// It waits no more, and its process has ended: one of the two.
    Gone,
    /// It released the lock.
    Released,
    /// Its time passed.
    Expired,
    /// Another took the lock over.
    Taken,
    /// Somebody removed the lock.
    Broken,
    /// It renewed after all.
    Renewed,
}

impl Lane {
    pub(super) fn open(&mut self, span: Span) {
        self.touch(self.spans.len());
        self.spans.push_back(span);
    }

    /// This span is different, or new.
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

    /// Since when it neither waits nor holds.
    pub(super) fn over_since(&self) -> Option<f64> {
        self.spans.iter().try_fold(0.0, |last: f64, span| span.to.map(|to| last.max(to)))
    }

    /// Forgets what was over before then, and what is too much.
    pub(super) fn prune(&mut self, before: f64) {
        let is_much = |lane: &Lane| lane.spans.len() > SPANS;
        let is_old = |span: &Span, much: bool| span.to.is_some_and(|to| to < before || much);
        while self.spans.front().is_some_and(|span| is_old(span, is_much(self))) {
            self.spans.pop_front();
            self.start += 1;
        }
    }

    /// The last one that is not over, and of such a kind.
    pub(super) fn last(&mut self, is_it: impl Fn(Kind) -> bool) -> Option<&mut Span> {
        let is_it = |span: &Span| span.to.is_none() && is_it(span.kind);
        let index = self.spans.iter().rposition(is_it)?;
        self.touch(index);
        self.spans.get_mut(index)
    }

    pub(super) fn wait_ends(&mut self, at: f64, end: End) {
        if let Some(span) = self.last(|kind| kind == Kind::Waiting) {
            span.ends(at, end);
        }
    }

    /// Where it belongs in a line in which it has stood since then.
    pub(super) fn rank(&self, since: f64) -> (u64, u64, String) {
        (since.to_bits(), self.number, self.who.id.clone())
    }

    /// What it holds now, or has let expire.
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
