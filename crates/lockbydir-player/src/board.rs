//! What there is to see: each lock as a card, each contender of it as a lane of spans over time. It
//! follows from the events alone, so it is the same live and replayed, in a terminal and in a page.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;

use crate::event::{Contender, Event, How, What, Why};

/// Hand-overs a second are those of the last so many seconds.
const WINDOW: f64 = 5.0;
/// So much of what was said is kept.
const SAID: usize = 1000;
/// So many who wait are named on a card; the others are counted.
const NAMED: usize = 20;
/// So many spans of a lane are kept, and so many lanes of a lock that neither wait nor hold.
const SPANS: usize = 2000;
const OVER: usize = 1000;
/// So many locks are kept that are free, with nothing else to be seen of them.
const QUIET: usize = 1000;

/// All locks.
#[derive(Debug)]
pub struct Board {
    /// How long what is over stays, in seconds.
    history: f64,
    now: f64,
    numbers: u64,
    locks: BTreeMap<String, Table>,
    said: VecDeque<(f64, String)>,
    fresh_said: usize,
    gone: Vec<u64>,
    forgotten: Vec<String>,
    pruned: f64,
}

/// One lock.
#[derive(Debug)]
struct Table {
    card: Card,
    lanes: BTreeMap<String, Lane>,
    /// When holdings were seen lately, and how many.
    holdings: VecDeque<(f64, u64)>,
    /// Who holds, by the number of its contender.
    holder: Option<String>,
    /// Who waits: since when, in bits, which have the order of the times; its lane; who it is.
    line: BTreeSet<(u64, u64, String)>,
    is_fresh: bool,
    fresh_lanes: BTreeSet<String>,
    /// When something happened to it last.
    last: f64,
}

/// A lock as it is now. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Card {
    /// What it is called.
    pub lock: String,
    /// How it is.
    pub state: State,
    /// Why nobody can have it, if it is foreign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who holds it, or held it last if it lapsed or died.
    pub holder: Option<Contender>,
    /// The number of this holding, or of the last one.
    pub token: Option<u64>,
    /// How it was got.
    pub how: Option<How>,
    /// Since when it is held, as far as it was seen.
    pub since: Option<f64>,
    /// When its time began last.
    pub renewed_at: Option<f64>,
    /// When its time is over.
    pub lapses_at: Option<f64>,
    /// How many wait.
    pub waiting: usize,
    /// The first of them.
    pub line: Vec<Place>,
    /// How many holdings there were since it was seen first.
    pub holdings: u64,
    /// How many of them were too fast to be seen.
    pub missed: u64,
    /// Holdings a second.
    pub a_second: f64,
    /// It changes hands too fast to be seen each time.
    pub is_busy: bool,
}

/// How a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the words of the project")]
pub enum State {
    Free,
    Held,
    Lapsed,
    Dead,
    Bare,
    Foreign,
}

/// Somebody in line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// The number of its lane, where a page finds who it is.
    pub lane: u64,
    /// Who.
    #[serde(skip)]
    pub who: Contender,
    /// Since when.
    pub since: f64,
}

/// What one contender did over time.
#[derive(Clone, Debug, Serialize)]
pub struct Lane {
    /// Of all lanes of a board.
    pub number: u64,
    /// At which lock.
    pub lock: String,
    /// Who.
    pub who: Contender,
    /// How many spans were before those that are here: they are too old, or of [`Changes`] not new.
    pub start: u64,
    /// What it did, in order.
    pub spans: VecDeque<Span>,
    #[serde(skip)]
    wait: Option<f64>,
    /// From which span on it is different since it was asked last.
    #[serde(skip)]
    fresh: Option<u64>,
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
    /// It stands in line.
    Waiting,
    /// It holds the lock.
    Holding,
    /// It held the lock, gave no sign of life, and let it lapse: seen so when that was over.
    Forgotten,
    /// Its time has passed, and its lock is still there.
    Lapsed,
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
    Lapsed,
    /// Another took the lock over.
    Taken,
    /// Somebody removed the lock.
    Broken,
    /// It renewed after all.
    Renewed,
}

/// What is different since it was asked last.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Changes {
    /// What time it is, in seconds since 1970.
    pub now: f64,
    /// Cards that are new or changed.
    pub cards: Vec<Card>,
    /// Lanes that are new or changed, from the first span on that is: what a reader has of it from
    /// there on is no more.
    pub lanes: Vec<Lane>,
    /// The numbers of lanes that are too old to be shown.
    pub gone: Vec<u64>,
    /// Locks that are free, and quiet for longer than many others.
    pub forgotten: Vec<String>,
    /// What was said, and when.
    pub said: Vec<(f64, String)>,
}

impl Changes {
    /// Nothing is different but the time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cards.is_empty()
            && self.lanes.is_empty()
            && self.gone.is_empty()
            && self.forgotten.is_empty()
            && self.said.is_empty()
    }
}

impl Board {
    /// A board that keeps what is over for so many seconds.
    #[must_use]
    pub fn new(history: f64) -> Board {
        Board {
            history,
            now: 0.0,
            numbers: 0,
            locks: BTreeMap::new(),
            said: VecDeque::new(),
            fresh_said: 0,
            gone: Vec::new(),
            forgotten: Vec::new(),
            pruned: 0.0,
        }
    }

    /// What time it was last.
    #[must_use]
    pub fn now(&self) -> f64 {
        self.now
    }

    /// All locks.
    pub fn cards(&self) -> impl Iterator<Item = &Card> {
        self.locks.values().map(|table| &table.card)
    }

    /// All lanes of a lock, those who came first first.
    #[must_use]
    pub fn lanes(&self, lock: &str) -> Vec<&Lane> {
        let lanes = self.locks.get(lock).into_iter().flat_map(|table| table.lanes.values());
        let mut lanes: Vec<_> = lanes.collect();
        lanes.sort_by_key(|lane| lane.number);
        lanes
    }

    /// What was said, and when.
    #[must_use]
    pub fn said(&self) -> &VecDeque<(f64, String)> {
        &self.said
    }

    /// This happened.
    pub fn apply(&mut self, event: &Event) {
        self.now = self.now.max(event.at);
        if let What::Said { text } = &event.what {
            self.said.push_back((event.at, text.clone()));
            self.fresh_said += 1;
            if self.said.len() > SAID {
                self.said.pop_front();
            }
            return;
        }
        let lock = &event.lock;
        let table = self.locks.entry(lock.clone()).or_insert_with(|| Table::new(lock));
        table.apply(event.at, &event.what, &mut self.numbers);
    }

    /// So late is it now: what is too old is forgotten.
    pub fn tick(&mut self, now: f64) {
        self.now = self.now.max(now);
        for table in self.locks.values_mut() {
            table.count(self.now);
        }
        // Each second is often enough to walk through all there is.
        if self.now - self.pruned >= 1.0 {
            self.pruned = self.now;
            let gone =
                self.locks.values_mut().flat_map(|table| table.prune(self.now - self.history));
            self.gone.extend(gone);
            self.forget_quiet();
        }
    }

    /// Where each job has a lock of its own, names come for ever.
    fn forget_quiet(&mut self) {
        let is_quiet = |table: &Table| table.card.state == State::Free && table.lanes.is_empty();
        let mut last: Vec<f64> =
            self.locks.values().filter(|table| is_quiet(table)).map(|table| table.last).collect();
        let Some(too_many) = last.len().checked_sub(QUIET).filter(|many| *many > 0) else { return };
        last.sort_unstable_by(f64::total_cmp);
        let old = last[too_many - 1];
        self.locks.retain(|lock, table| {
            let stays = !is_quiet(table) || table.last > old;
            if !stays {
                self.forgotten.push(lock.clone());
            }
            stays
        });
    }

    /// All there is.
    #[must_use]
    pub fn all(&self) -> Changes {
        Changes {
            now: self.now,
            cards: self.cards().cloned().collect(),
            lanes: self.locks.values().flat_map(|table| table.lanes.values()).cloned().collect(),
            gone: Vec::new(),
            forgotten: Vec::new(),
            said: self.said.iter().cloned().collect(),
        }
    }

    /// Nobody wants to know what was different up to now.
    pub fn forget_changes(&mut self) {
        for table in self.locks.values_mut() {
            table.is_fresh = false;
            table.fresh_lanes.clear();
        }
        self.gone.clear();
        self.forgotten.clear();
        self.fresh_said = 0;
    }

    /// What is different since this was asked last.
    pub fn changes(&mut self) -> Changes {
        let mut changes = Changes { now: self.now, ..Changes::default() };
        for table in self.locks.values_mut() {
            if std::mem::take(&mut table.is_fresh) {
                changes.cards.push(table.card.clone());
            }
            for id in std::mem::take(&mut table.fresh_lanes) {
                changes.lanes.extend(table.lanes.get_mut(&id).map(Lane::changes));
            }
        }
        changes.gone = std::mem::take(&mut self.gone);
        changes.forgotten = std::mem::take(&mut self.forgotten);
        let fresh = std::mem::take(&mut self.fresh_said).min(self.said.len());
        changes.said = self.said.range(self.said.len() - fresh..).cloned().collect();
        changes
    }
}

impl Table {
    fn new(lock: &str) -> Table {
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
                lapses_at: None,
                waiting: 0,
                line: Vec::new(),
                holdings: 0,
                missed: 0,
                a_second: 0.0,
                is_busy: false,
            },
            lanes: BTreeMap::new(),
            holdings: VecDeque::new(),
            holder: None,
            line: BTreeSet::new(),
            is_fresh: true,
            fresh_lanes: BTreeSet::new(),
            last: 0.0,
        }
    }

    fn apply(&mut self, at: f64, what: &What, numbers: &mut u64) {
        self.is_fresh = true;
        self.last = at;
        match what {
            What::Appeared | What::Said { .. } => {}
            What::Joined { by } => {
                let since = by.since.map_or(at, |since| since.min(at));
                let lane = self.lane(by, numbers);
                if lane.wait.is_none() {
                    lane.wait = Some(since);
                    lane.open(Span::new(Kind::Waiting, since));
                    let place = lane.rank(since);
                    self.line.insert(place.clone());
                    self.stand(&place);
                }
            }
            What::Left { by, why } => {
                let end = match why {
                    Why::Served => End::Served,
                    Why::GaveUp => End::GaveUp,
                    Why::Died => End::Died,
                    Why::Gone => End::Gone,
                };
                self.wait_ends(by, at, end, numbers);
            }
            What::Acquired { by, token, timeout_s, remaining_s, how } => {
                // Its release was not seen.
                self.end_hold(at, End::Taken);
                self.wait_ends(by, at, End::Served, numbers);
                // Who was there before tells since when.
                let since = by.since.filter(|_| *how == How::Before);
                let since = since.map_or(at, |since| since.min(at));
                let lane = self.lane(by, numbers);
                let span = Span::new(Kind::Holding, since);
                lane.open(Span { token: Some(*token), how: Some(*how), ..span });
                self.holder = Some(by.id.clone());
                let lapses_at = at + remaining_s;
                self.card.state = State::Held;
                self.card.holder = Some(by.clone());
                (self.card.token, self.card.how) = (Some(*token), Some(*how));
                self.card.since = Some(since);
                self.card.renewed_at = Some(lapses_at - timeout_s);
                self.card.lapses_at = Some(lapses_at);
                match how {
                    // Nobody saw when it was got.
                    How::Before => self.card.holdings = self.card.holdings.saturating_add(1),
                    _ => self.held(at, 1),
                }
            }
            What::Renewed { by, times, timeout_s } => {
                let times = times.unwrap_or(1);
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
                self.card.state = State::Held;
                self.card.holder = Some(by.clone());
                self.card.renewed_at = Some(at);
                self.card.lapses_at = Some(at + timeout_s);
            }
            What::Lapsed { by } => {
                let silent_since = self.card.renewed_at.unwrap_or(at);
                let token = self.card.token;
                self.lane(by, numbers).lapses(at, silent_since, token);
                self.card.state = State::Lapsed;
            }
            What::Died { by } => {
                let token = self.card.token;
                let lane = self.lane(by, numbers);
                lane.hold_ends(at, End::Died);
                lane.open(Span { token, ..Span::new(Kind::Dead, at) });
                self.card.state = State::Dead;
            }
            What::Released { .. } => self.freed(at, End::Released),
            What::Broken { .. } => self.freed(at, End::Broken),
            What::Missed { count } => {
                self.card.missed = self.card.missed.saturating_add(*count);
                self.held(at, *count);
            }
            What::Bare => self.is_odd(State::Bare, None),
            What::Foreign { why } => self.is_odd(State::Foreign, Some(why.clone())),
            What::Cleared => {
                if matches!(self.card.state, State::Bare | State::Foreign) {
                    self.is_odd(State::Free, None);
                }
            }
            What::Busy { a_second } => {
                self.card.is_busy = true;
                self.card.a_second = f64::from(*a_second);
            }
            What::Calm => self.card.is_busy = false,
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
        // Who waits tells its process even if its key is held by none.
        lane.who.command = by.command.clone().or(lane.who.command.take());
        lane.who.label = by.label.clone().or(lane.who.label.take());
        lane
    }

    fn held(&mut self, at: f64, count: u64) {
        self.card.holdings = self.card.holdings.saturating_add(count);
        self.holdings.push_back((at, count));
        self.count(at);
    }

    /// How many a second, as of now?
    fn count(&mut self, now: f64) {
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
        let card = &mut self.card;
        (card.state, card.holder) = (State::Free, None);
        (card.since, card.renewed_at, card.lapses_at) = (None, None, None);
    }

    /// Nobody is known to hold it, for this reason.
    fn is_odd(&mut self, state: State, note: Option<String>) {
        (self.card.state, self.card.holder, self.card.note) = (state, None, note);
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
            self.line.remove(&place);
            self.stand(&place);
        }
    }

    /// Who stands in line now that this place was taken or left?
    fn stand(&mut self, place: &(u64, u64, String)) {
        self.card.waiting = self.line.len();
        let is_named = self.line.range(..place).take(NAMED).count() < NAMED;
        if is_named {
            let first = self.line.iter().take(NAMED);
            let lanes = first.filter_map(|(_, _, id)| self.lanes.get(id));
            self.card.line = lanes.filter_map(|lane| Some(lane.place(lane.wait?))).collect();
        }
    }

    /// Forgets what was over before then; the numbers of lanes that are gone.
    fn prune(&mut self, before: f64) -> Vec<u64> {
        let mut gone = Vec::new();
        let mut over: Vec<f64> = self.lanes.values().filter_map(Lane::over_since).collect();
        over.sort_unstable_by(f64::total_cmp);
        let too_many = over.len().checked_sub(OVER + 1).map(|last| over[last]);
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

impl Lane {
    fn open(&mut self, span: Span) {
        self.touch(self.spans.len());
        self.spans.push_back(span);
    }

    /// This span is different, or new.
    fn touch(&mut self, index: usize) {
        let number = self.start + index as u64;
        self.fresh = Some(self.fresh.map_or(number, |fresh| fresh.min(number)));
    }

    fn changes(&mut self) -> Lane {
        let end = self.start + self.spans.len() as u64;
        let start = self.fresh.take().unwrap_or(end).clamp(self.start, end);
        let known = usize::try_from(start - self.start).unwrap_or(usize::MAX);
        let spans = self.spans.iter().skip(known).cloned().collect();
        let (lock, who) = (self.lock.clone(), self.who.clone());
        Lane { lock, who, spans, start, ..*self }
    }

    fn place(&self, since: f64) -> Place {
        Place { lane: self.number, who: self.who.clone(), since }
    }

    /// Since when it neither waits nor holds.
    fn over_since(&self) -> Option<f64> {
        self.spans.iter().try_fold(0.0, |last: f64, span| span.to.map(|to| last.max(to)))
    }

    /// Forgets what was over before then, and what is too much.
    fn prune(&mut self, before: f64) {
        let is_much = |lane: &Lane| lane.spans.len() > SPANS;
        let is_old = |span: &Span, much: bool| span.to.is_some_and(|to| to < before || much);
        while self.spans.front().is_some_and(|span| is_old(span, is_much(self))) {
            self.spans.pop_front();
            self.start += 1;
        }
    }

    /// The last one that is not over, and of such a kind.
    fn last(&mut self, is_it: impl Fn(Kind) -> bool) -> Option<&mut Span> {
        let is_it = |span: &Span| span.to.is_none() && is_it(span.kind);
        let index = self.spans.iter().rposition(is_it)?;
        self.touch(index);
        self.spans.get_mut(index)
    }

    fn wait_ends(&mut self, at: f64, end: End) {
        if let Some(span) = self.last(|kind| kind == Kind::Waiting) {
            span.ends(at, end);
        }
    }

    /// Where it belongs in a line in which it has stood since then.
    fn rank(&self, since: f64) -> (u64, u64, String) {
        (since.to_bits(), self.number, self.who.id.clone())
    }

    /// What it holds now, or has let lapse.
    fn hold_now(&mut self) -> Option<&mut Span> {
        self.last(|kind| kind != Kind::Waiting)
    }

    fn hold_ends(&mut self, at: f64, end: End) {
        if let Some(span) = self.hold_now() {
            span.ends(at, end);
        }
    }

    fn lapses(&mut self, at: f64, silent_since: f64, token: Option<u64>) {
        if let Some(span) = self.hold_now() {
            if silent_since <= span.from {
                span.kind = Kind::Forgotten;
                span.ends(at, End::Lapsed);
            } else {
                span.to = Some(silent_since.min(at));
                let how = span.how;
                let mut silent = Span::new(Kind::Forgotten, silent_since.min(at));
                silent.ends(at, End::Lapsed);
                self.open(Span { token, how, ..silent });
            }
        }
        self.open(Span { token, ..Span::new(Kind::Lapsed, at) });
    }
}

impl Span {
    fn new(kind: Kind, from: f64) -> Span {
        Span { kind, from, to: None, end: None, token: None, how: None, renewals: 0 }
    }

    fn ends(&mut self, at: f64, end: End) {
        (self.to, self.end) = (Some(at.max(self.from)), Some(end));
    }
}
