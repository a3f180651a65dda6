//! The state that is shown: each lock as a card, each of its contenders as a lane of spans over
//! time. It follows from the events alone, so it is the same live and replayed, in a terminal and
//! in a page.
//!
//! This file has all locks and the changes since they were last taken; `table.rs` is one lock,
//! `card.rs` its present state, `lane.rs` the history of one contender.

mod card;
mod lane;
mod table;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;

pub use self::card::{Card, Place, State};
pub use self::lane::{End, Kind, Lane, Span};
use self::table::Table;
use crate::event::{Event, What};

/// The number of messages kept.
const MAX_SAID: usize = 1000;
/// The number of quiet locks kept: free ones without lanes. Where each job has a lock of its own,
/// there is no end of names.
const MAX_QUIET: usize = 1000;

/// All locks.
#[derive(Debug)]
pub struct Board {
    /// How long ended spans are kept, in seconds.
    history: f64,
    now: f64,
    numbers: u64,
    locks: BTreeMap<String, Table>,
    said: VecDeque<(f64, String)>,
    fresh_said: usize,
    /// Servers that cannot be reached.
    away: BTreeSet<String>,
    gone: Vec<u64>,
    forgotten: Vec<String>,
    pruned: f64,
}

/// The changes since they were last taken.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Changes {
    /// The present time of the source, in seconds since 1970.
    pub now: f64,
    /// Cards that are new or changed.
    pub cards: Vec<Card>,
    /// Lanes that are new or changed, each from its first new or changed span on: a reader replaces
    /// all that it has from there on.
    pub lanes: Vec<Lane>,
    /// The numbers of lanes that were dropped because they are too old.
    pub gone: Vec<u64>,
    /// Free locks that were dropped because many others have been quiet for a shorter time.
    pub forgotten: Vec<String>,
    /// New messages, and when they were said.
    pub said: Vec<(f64, String)>,
    /// Whether servers cannot be reached, so that changes of their locks are not seen. A message is
    /// added when this changes.
    pub is_away: bool,
}

impl Changes {
    /// Returns true if only the time has changed.
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
    /// Creates a board that keeps ended spans for `history` seconds.
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

    /// Returns the latest time that the board knows.
    #[must_use]
    pub fn now(&self) -> f64 {
        self.now
    }

    /// Returns the cards of all locks.
    pub fn cards(&self) -> impl Iterator<Item = &Card> {
        self.locks.values().map(|table| &table.card)
    }

    /// Returns all lanes of a lock, in the order in which they were first seen.
    #[must_use]
    pub fn lanes(&self, lock: &str) -> Vec<&Lane> {
        let lanes = self.locks.get(lock).into_iter().flat_map(|table| table.lanes.values());
        let mut lanes: Vec<_> = lanes.collect();
        lanes.sort_by_key(|lane| lane.number);
        lanes
    }

    /// Returns the messages, and when they were said.
    #[must_use]
    pub fn said(&self) -> &VecDeque<(f64, String)> {
        &self.said
    }

    /// Returns true if servers cannot be reached, so that their locks may be out of date.
    #[must_use]
    pub fn is_away(&self) -> bool {
        !self.away.is_empty()
    }

    /// Applies an event.
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
            if self.said.len() > MAX_SAID {
                self.said.pop_front();
            }
            return;
        }
        let lock = &event.lock;
        let table = self.locks.entry(lock.clone()).or_insert_with(|| Table::new(lock));
        table.apply(event.at, &event.what, &mut self.numbers);
    }

    /// Advances the time, and drops what is too old.
    pub fn tick(&mut self, now: f64) {
        self.now = self.now.max(now);
        for table in self.locks.values_mut() {
            table.count(self.now);
        }
        // Walking through all lanes is expensive; once a second is enough.
        if self.now - self.pruned >= 1.0 {
            self.pruned = self.now;
            let gone =
                self.locks.values_mut().flat_map(|table| table.prune(self.now - self.history));
            self.gone.extend(gone);
            self.forget_quiet();
        }
    }

    /// Drops the free locks that have been quiet longest, above [`MAX_QUIET`]. Where each job has a
    /// lock of its own, new names never end.
    fn forget_quiet(&mut self) {
        let is_quiet = |table: &Table| table.card.state == State::Free && table.lanes.is_empty();
        let mut last: Vec<f64> =
            self.locks.values().filter(|table| is_quiet(table)).map(|table| table.last).collect();
        let Some(too_many) = last.len().checked_sub(MAX_QUIET).filter(|n| *n > 0) else {
            return;
        };
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

    /// Returns the whole board as changes, for a new viewer.
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

    /// Discards the changes up to now. Returns the locks that were dropped meanwhile.
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

    /// Returns the changes since the last call, and takes them.
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
