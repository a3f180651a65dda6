//! The true state of a simulation, whatever the answers were: who made which entry, who believes to hold,
//! and which promise is broken first.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use lockbydir::simulated::{Call, Kind};
use lockbydir_protocol::{Entry, Nonce, Owner, State, Ticket, promise};

/// A promise that was broken, or a state that must never exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The promise by its name.
    pub promise: &'static str,
    /// The observation.
    pub seen: String,
}

/// Not a promise of the lock, but of the library: no panic, no hang, no error without a reason.
pub const EVERY_CALL_ENDS: &str =
    "Every call ends, with an answer or an error that names its reason";

/// The belief of a process in its own hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belief {
    pub(super) nonce: Nonce,
    pub(super) began: Duration,
    pub(super) deadline: Duration,
}

/// The process that makes a change, and the facts by which the change is judged.
pub(super) struct Doer {
    pub(super) who: usize,
    pub(super) now: Duration,
    /// Whether it is breaking by force.
    pub(super) forces: bool,
    /// The timeout that it would use itself.
    pub(super) timeout: Duration,
}

#[derive(Default)]
pub(super) struct Oracle {
    /// The process that drew each nonce.
    pub(super) drawn: HashMap<u128, usize>,
    pub(super) dead: BTreeSet<usize>,
    /// Holds that somebody ended by force.
    pub(super) forced: BTreeSet<Nonce>,
    /// Attempts that were reported as failed.
    pub(super) given_up: BTreeSet<Nonce>,
    /// Holds that another process ended.
    pub(super) ended: BTreeSet<Nonce>,
    pub(super) beliefs: HashMap<usize, Belief>,
    pub(super) largest: u64,
    pub(super) holds: u64,
    /// The simulated time at which the clock of each boot was zero.
    pub(super) boots: HashMap<u64, Duration>,
    /// The longest timeout of all.
    pub(super) longest: Duration,
    /// The files in the folder that do not belong to the lock.
    pub(super) others: BTreeSet<String>,
    pub(super) broken: Option<Broken>,
}

impl Oracle {
    pub(super) fn broke(&mut self, promise: &'static str, seen: impl Into<String>) {
        let seen = seen.into();
        self.broken.get_or_insert(Broken { promise, seen });
    }

    /// Records and judges a change that was really made.
    pub(super) fn changed(&mut self, doer: &Doer, call: &Call<'_>) {
        let entry = |path: &Path| path.to_str().and_then(Entry::parse);
        for path in [Some(call.on), call.to].into_iter().flatten() {
            if !self.is_ours(path) {
                let seen = format!("contender {} changed {}", doer.who, path.display());
                self.broke(promise::NAMES_OF_OTHERS_ARE_NEVER_TOUCHED, seen);
            }
        }
        let (from, to) = (entry(call.on), call.to.and_then(entry));
        match (call.kind, from, to) {
            (Kind::Rename, Some(from), Some(to)) => {
                if from.state == State::Held && (to.state == State::Open || to.nonce != from.nonce)
                {
                    self.ends(doer, &from);
                }
                self.renews(doer, &from, &to);
                if to.state == State::Held && self.given_up.contains(&to.nonce) {
                    self.broke(
                        promise::WHO_GIVES_UP_NEVER_GETS_IT_LATER,
                        format!("{to} was published after its attempt was over"),
                    );
                }
            }
            (Kind::Unlink, Some(entry), _) if entry.state == State::Held => self.ends(doer, &entry),
            _ => {}
        }
    }

    /// Whether the protocol makes names like this one.
    fn is_ours(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return path.as_os_str().is_empty();
        };
        let is_stage =
            name.strip_prefix("jobs.lockdir.").and_then(Nonce::parse).is_some_and(|nonce| {
                // Each attempt of an acquisition stages under the next number.
                (0..1_000).any(|before| self.drawn.contains_key(&nonce.0.wrapping_sub(before)))
            });
        is_stage
            || matches!(name, "jobs.lockdir" | "jobs.lockdir.queue" | "bell")
            || Entry::parse(name).is_some_and(|entry| self.drawn.contains_key(&entry.nonce.0))
            || Ticket::parse(name).is_some()
    }

    /// Judges the end of the hold of this entry.
    fn ends(&mut self, doer: &Doer, entry: &Entry) {
        let Some(&owner) = self.drawn.get(&entry.nonce.0) else { return };
        if doer.forces {
            self.ended.insert(entry.nonce);
            self.forced.insert(entry.nonce);
            self.beliefs.retain(|_, belief| belief.nonce != entry.nonce);
            return;
        }
        if owner == doer.who {
            return;
        }
        self.ended.insert(entry.nonce);
        let stamp = self.stamp(entry);
        let is_dead = self.dead.contains(&owner) && entry.owner != Owner::Nobody;
        if is_dead || doer.now >= stamp + entry.timeout {
            return;
        }
        let is_shortened = entry.timeout > doer.timeout && doer.now >= stamp + doer.timeout;
        self.broke(
            if is_shortened {
                promise::A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS
            } else {
                promise::ONLY_THE_HOLDER_ENDS_A_HOLD
            },
            format!(
                "contender {} ended {entry} of contender {owner}, {:?} before it expires",
                doer.who,
                stamp + entry.timeout - doer.now
            ),
        );
    }

    /// Judges a renewal: a live process may have a guard, which does not learn that its time was shortened.
    fn renews(&mut self, doer: &Doer, from: &Entry, to: &Entry) {
        let is_renewal =
            from.nonce == to.nonce && (from.state, to.state) == (State::Held, State::Held);
        let owner = self.drawn.get(&from.nonce.0).copied();
        let lives = |owner: &usize| *owner != doer.who && !self.dead.contains(owner);
        if is_renewal
            && from.owner != Owner::Nobody
            && owner.as_ref().is_some_and(lives)
            && self.stamp(to) + to.timeout < self.stamp(from) + from.timeout
        {
            let seen = format!("contender {} renewed {from} as {to}", doer.who);
            self.broke(promise::A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS, seen);
        }
    }

    /// Returns the simulated time at which an entry was stamped.
    fn stamp(&self, entry: &Entry) -> Duration {
        let booted = self.boots.get(&entry.origin.boot).copied().unwrap_or_default();
        booted + entry.stamp
    }

    /// Records that this process believes to hold until `until`; `is_new` after an acquisition.
    pub(super) fn believes(
        &mut self,
        who: usize,
        nonce: Nonce,
        token: u64,
        now: Duration,
        until: Duration,
        is_new: bool,
    ) {
        if self.forced.contains(&nonce) {
            return;
        }
        let began = match self.beliefs.get(&who) {
            Some(known) if !is_new => known.began,
            _ => now,
        };
        let others: Vec<(usize, Belief)> = self
            .beliefs
            .iter()
            .filter(|(other, _)| **other != who && !self.dead.contains(other))
            .map(|(other, belief)| (*other, *belief))
            .collect();
        for (other, belief) in others {
            let is_overlap = until > now && belief.deadline > now;
            // A successful renewal claims that nobody held in between.
            if is_overlap || until > now && !is_new && belief.began > began {
                self.broke(
                    promise::AT_MOST_ONE_VALID_HOLDER,
                    format!(
                        "contender {who} ({nonce}, valid from {now:?} to {until:?}) and contender {other} ({}, valid to {:?})",
                        belief.nonce, belief.deadline
                    ),
                );
            }
        }
        if is_new {
            self.holds += 1;
            if self.given_up.contains(&nonce) {
                self.broke(promise::WHO_GIVES_UP_NEVER_GETS_IT_LATER, format!("{nonce} holds"));
            }
            // A hold that is over when the acquisition returns holds nothing.
            if until > now && token <= self.largest {
                let seen = format!("contender {who} got {token} after {}", self.largest);
                self.broke(promise::NUMBERS_GROW, seen);
            }
            self.largest = self.largest.max(token);
        }
        self.beliefs.insert(who, Belief { nonce, began, deadline: until });
    }
}
