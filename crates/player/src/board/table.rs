//! One lock: how each event changes its card and its lanes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::card::{Card, State};
use super::lane::{End, Kind, Lane, Span};
use crate::event::{Contender, How, What, Why};

/// The rate of handoffs is the average of this many seconds.
const WINDOW: f64 = 5.0;
/// How long after it was first seen a holder from before gets its first verdict, in seconds at
/// most. A death reported within that time may have happened any time before.
const FIRST_VERDICT: f64 = 1.0;
/// The number of waiters named on a card; the others are only counted.
const MAX_NAMED: usize = 20;
/// The number of lanes kept of contenders that neither wait nor hold.
const MAX_OVER: usize = 1000;

/// One lock.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) card: Card,
    pub(super) lanes: BTreeMap<String, Lane>,
    /// When holdings of the last [`WINDOW`] were seen, and how many.
    holdings: VecDeque<(f64, u64)>,
    /// The id of the contender that holds the lock.
    holder: Option<String>,
    /// The waiters: the bits of the time since when each waits, which sort like the times; the
    /// number of its lane; its id.
    queue: BTreeSet<(u64, u64, String)>,
    pub(super) is_fresh: bool,
    pub(super) fresh_lanes: BTreeSet<String>,
    /// The time of the last event of this lock.
    pub(super) last: f64,
    /// The state of the lock itself, whatever else is in its place.
    own: State,
    /// When this holding was first seen.
    seen_at: f64,
}

impl Table {
    pub(super) fn new(lock: &str) -> Table {
        Table {
            card: Card {
                lock: lock.to_owned(),
                state: State::Free,
                note: None,
                holder: None,
                token: None,
                how: None,
                since: None,
                renewed_at: None,
                expires_at: None,
                waiting: 0,
                queue: Vec::new(),
                holdings: 0,
                missed: 0,
                a_second: 0.0,
                is_busy: false,
            },
            lanes: BTreeMap::new(),
            holdings: VecDeque::new(),
            holder: None,
            queue: BTreeSet::new(),
            is_fresh: true,
            fresh_lanes: BTreeSet::new(),
            last: 0.0,
            own: State::Free,
            seen_at: 0.0,
        }
    }

    /// Sets the state of the lock. A foreign lock directory stays foreign, whatever the holder
    /// does.
    fn set_state(&mut self, state: State) {
        self.own = state;
        if self.card.state != State::Foreign {
            self.card.state = state;
        }
    }

    pub(super) fn apply(&mut self, at: f64, what: &What, numbers: &mut u64) {
        self.is_fresh = true;
        self.last = at;
        match what {
            What::Appeared
            | What::Said { .. }
            | What::Unreachable { .. }
            | What::Reachable { .. } => {}
            What::Joined { by } => self.joined(at, by, numbers),
            What::Left { by, why, ago_s } => {
                let end = match why {
                    Why::Served => End::Served,
                    Why::GaveUp => End::GaveUp,
                    Why::Died => End::Died,
                    Why::Gone => End::Gone,
                };
                self.wait_ends(by, at - ago_s, end, numbers);
            }
            What::Acquired { by, token, timeout_s, remaining_s, how } => {
                let expires_at = at + remaining_s;
                let lasts = (expires_at - timeout_s, expires_at);
                self.acquired(at, by, (*token, *how), lasts, numbers);
            }
            What::Renewed { by, times, timeout_s } => {
                self.renewed(at, by, times.unwrap_or(1), *timeout_s, numbers);
            }
            What::Expired { by } => self.expired(at, by, numbers),
            What::Died { by } => self.died(at, by, numbers),
            What::Released { .. } => self.freed(at, End::Released),
            What::Broken { .. } => self.freed(at, End::Broken),
            What::Missed { count } => {
                self.card.missed = self.card.missed.saturating_add(*count);
                self.held(at, *count);
            }
            What::Bare => self.set_obstacle(State::Bare, None),
            What::Foreign { why } => self.set_obstacle(State::Foreign, Some(why.clone())),
            What::Cleared => {
                if matches!(self.card.state, State::Bare | State::Foreign) {
                    self.set_obstacle(self.own, None);
                }
            }
            What::Busy { a_second } => {
                self.card.is_busy = true;
                self.card.a_second = f64::from(*a_second);
            }
            What::Calm => self.card.is_busy = false,
        }
    }

    /// A waiter joins the queue.
    fn joined(&mut self, at: f64, by: &Contender, numbers: &mut u64) {
        let since = by.since.map_or(at, |since| since.min(at));
        let lane = self.lane(by, numbers);
        if lane.wait.is_none() {
            lane.wait = Some(since);
            lane.open(Span::new(Kind::Waiting, since));
            let place = lane.rank(since);
            self.queue.insert(place.clone());
            self.update_waiters(&place);
        }
    }

    /// The holder has renewed the lock.
    fn renewed(&mut self, at: f64, by: &Contender, times: u32, timeout_s: f64, numbers: &mut u64) {
        let (token, how) = (self.card.token, self.card.how);
        let lane = self.lane(by, numbers);
        if let Some(span) = lane.hold_now().filter(|span| span.kind == Kind::Holding) {
            span.renewals = span.renewals.saturating_add(times);
        } else {
            lane.hold_ends(at, End::Renewed);
            let span = Span::new(Kind::Holding, at);
            lane.open(Span { token, how, renewals: times, ..span });
        }
        self.holder = Some(by.id.clone());
        self.set_state(State::Held);
        self.card.holder = Some(by.clone());
        self.card.renewed_at = Some(at);
        self.card.expires_at = Some(at + timeout_s);
    }

    /// The lock has expired.
    fn expired(&mut self, at: f64, by: &Contender, numbers: &mut u64) {
        // An expiry is seen after it happened: shortly after, or, if it happened before the
        // observation began, any time after.
        let since = self.card.expires_at.map_or(at, |expires_at| expires_at.min(at));
        let silent_since = self.card.renewed_at.unwrap_or(since);
        let token = self.card.token;
        self.lane(by, numbers).expires(since, silent_since, token);
        self.set_state(State::Expired);
    }

    /// The holder is dead.
    fn died(&mut self, at: f64, by: &Contender, numbers: &mut u64) {
        let token = self.card.token;
        let was_before = self.card.how == Some(How::Before) && at - self.seen_at < FIRST_VERDICT;
        // The time of a death before the observation is unknown: it was some time after the
        // last sign of life.
        let lived = self.card.renewed_at.filter(|_| was_before);
        let lived = lived.map_or(at, |lived| lived.min(at));
        let lane = self.lane(by, numbers);
        lane.hold_ends(lived, End::Died);
        lane.open(Span { token, ..Span::new(Kind::Dead, at) });
        self.set_state(State::Dead);
        // Nobody waits for the timeout: the next waiter takes the lock over at once.
        self.card.expires_at = None;
    }

    /// A contender has acquired the lock, which lasts from its last renewal to its expiry.
    fn acquired(
        &mut self,
        at: f64,
        by: &Contender,
        (token, how): (u64, How),
        (renewed_at, expires_at): (f64, f64),
        numbers: &mut u64,
    ) {
        // If it was still held, its release was not seen.
        self.end_hold(at, End::Taken);
        self.wait_ends(by, at, End::Served, numbers);
        // A holder from before the observation reports itself since when it holds.
        let since = by.since.filter(|_| how == How::Before);
        let since = since.map_or(at, |since| since.min(at));
        let lane = self.lane(by, numbers);
        let span = Span::new(Kind::Holding, since);
        lane.open(Span { token: Some(token), how: Some(how), ..span });
        self.holder = Some(by.id.clone());
        self.set_state(State::Held);
        self.seen_at = at;
        self.card.holder = Some(by.clone());
        (self.card.token, self.card.how) = (Some(token), Some(how));
        self.card.since = Some(since);
        self.card.renewed_at = Some(renewed_at);
        self.card.expires_at = Some(expires_at);
        match how {
            // When it was acquired was not observed, so it does not count into the rate.
            How::Before => self.card.holdings = self.card.holdings.saturating_add(1),
            _ => self.held(at, 1),
        }
    }

    fn lane(&mut self, by: &Contender, numbers: &mut u64) -> &mut Lane {
        self.fresh_lanes.insert(by.id.clone());
        let lock = &self.card.lock;
        let lane = self.lanes.entry(by.id.clone()).or_insert_with(|| {
            *numbers += 1;
            let (lock, who) = (lock.clone(), by.clone());
            let (spans, start) = (VecDeque::new(), 0);
            Lane { number: *numbers, lock, who, start, spans, wait: None, fresh: None }
        });
        // Keeps the latest known command and label: the events of a waiter name its process even if
        // no process holds its key.
        lane.who.command = by.command.clone().or(lane.who.command.take());
        lane.who.label = by.label.clone().or(lane.who.label.take());
        lane
    }

    fn held(&mut self, at: f64, count: u64) {
        self.card.holdings = self.card.holdings.saturating_add(count);
        self.holdings.push_back((at, count));
        self.count(at);
    }

    /// Updates the rate of holdings.
    pub(super) fn count(&mut self, now: f64) {
        while self.holdings.front().is_some_and(|(at, _)| *at < now - WINDOW) {
            self.holdings.pop_front();
        }
        if !self.card.is_busy {
            let counts = self.holdings.iter().map(|(_, count)| *count);
            let count = counts.fold(0, u64::saturating_add);
            let a_second = count as f64 / WINDOW;
            self.is_fresh |= a_second != self.card.a_second;
            self.card.a_second = a_second;
        }
    }

    fn freed(&mut self, at: f64, end: End) {
        self.end_hold(at, end);
        self.set_state(State::Free);
        let card = &mut self.card;
        card.holder = None;
        (card.since, card.renewed_at, card.expires_at) = (None, None, None);
    }

    /// Sets the state when something else is found at, or has gone from, the path of the lock
    /// directory.
    fn set_obstacle(&mut self, state: State, note: Option<String>) {
        (self.card.state, self.card.note) = (state, note);
        if self.holder.is_none() {
            self.card.holder = None;
        }
    }

    fn end_hold(&mut self, at: f64, end: End) {
        if let Some(id) = self.holder.take()
            && let Some(lane) = self.lanes.get_mut(&id)
        {
            lane.hold_ends(at, end);
            self.fresh_lanes.insert(id);
        }
    }

    fn wait_ends(&mut self, by: &Contender, at: f64, end: End, numbers: &mut u64) {
        let lane = self.lane(by, numbers);
        if let Some(since) = lane.wait.take() {
            lane.wait_ends(at, end);
            let place = lane.rank(since);
            self.queue.remove(&place);
            self.update_waiters(&place);
        }
    }

    /// Updates the waiters of the card after this place was taken or left.
    fn update_waiters(&mut self, place: &(u64, u64, String)) {
        self.card.waiting = self.queue.len();
        let is_named = self.queue.range(..place).take(MAX_NAMED).count() < MAX_NAMED;
        if is_named {
            let first = self.queue.iter().take(MAX_NAMED);
            let lanes = first.filter_map(|(_, _, id)| self.lanes.get(id));
            self.card.queue = lanes.filter_map(|lane| Some(lane.place(lane.wait?))).collect();
        }
    }

    /// Drops spans that ended before then and lanes that have none left or are too many; returns
    /// the numbers of the dropped lanes.
    pub(super) fn prune(&mut self, before: f64) -> Vec<u64> {
        let mut gone = Vec::new();
        let mut over: Vec<f64> = self.lanes.values().filter_map(Lane::over_since).collect();
        over.sort_unstable_by(f64::total_cmp);
        let too_many = over.len().checked_sub(MAX_OVER + 1).map(|last| over[last]);
        self.lanes.retain(|id, lane| {
            lane.prune(before);
            let since = lane.over_since();
            let is_too_much = since.zip(too_many).is_some_and(|(since, last)| since <= last);
            let stays = !lane.spans.is_empty() && !is_too_much;
            if !stays {
                gone.push(lane.number);
                self.fresh_lanes.remove(id);
            }
            stays
        });
        gone
    }
}
