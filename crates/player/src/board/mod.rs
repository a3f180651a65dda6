//! What there is to see: each lock as a card, each contender of it as a lane of spans over time. It
//! follows from the events alone, so it is the same live and replayed, in a terminal and in a page.
//!
//! Here are all locks, and what is different since it was asked last; `table.rs` is one lock,
//! `card.rs` how it is now, `lane.rs` what one contender did.

mod card;
mod lane;
mod table;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;

pub use self::card::{Card, Place, State};
pub use self::lane::{End, Kind, Lane, Span};
use self::table::Table;
use crate::event::{Event, What};

/// So much of what was said is kept.
const SAID: usize = 1000;
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
    /// Servers that are out of reach.
    away: BTreeSet<String>,
    gone: Vec<u64>,
    forgotten: Vec<String>,
    pruned: f64,
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
    /// Servers are out of reach: what they know is not seen. Something is said when that changes.
    pub is_away: bool,
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
            away: BTreeSet::new(),
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

    /// Servers are out of reach, so what is shown of their locks may be old.
    #[must_use]
    pub fn is_away(&self) -> bool {
        !self.away.is_empty()
    }

    /// This happened.
    pub fn apply(&mut self, event: &Event) {
        self.now = self.now.max(event.at);
        match &event.what {
            What::Unreachable { servers, .. } => {
                self.away.insert(servers.clone());
            }
            What::Reachable { servers } => {
                self.away.remove(servers);
            }
            _ => {}
        }
        if let Some(text) = event.what.said() {
            self.said.push_back((event.at, text));
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
            is_away: self.is_away(),
        }
    }

    /// Nobody wants to know what was different up to now. Tells which locks were forgotten.
    pub fn forget_changes(&mut self) -> Vec<String> {
        for table in self.locks.values_mut() {
            table.is_fresh = false;
            for id in std::mem::take(&mut table.fresh_lanes) {
                if let Some(lane) = table.lanes.get_mut(&id) {
                    lane.fresh = None;
                }
            }
        }
        self.gone.clear();
        self.fresh_said = 0;
        std::mem::take(&mut self.forgotten)
    }

    /// What is different since this was asked last.
    pub fn changes(&mut self) -> Changes {
        let mut changes = Changes { now: self.now, is_away: self.is_away(), ..Changes::default() };
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
