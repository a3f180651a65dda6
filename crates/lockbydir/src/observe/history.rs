//! The history of one lock: what happened, derived from successive observations. Looks at nothing
//! itself.

use std::collections::VecDeque;
use std::time::Duration;

use super::event::{Contender, Gained, What};
use super::waiting::{Coverage, Waiter, Waiting};

/// How long a lock must be absent before it is forgotten. Without this limit memory would grow
/// forever where each job has a lock of its own.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(60);

/// How many of the last holders are kept: as many as may hold the lock while one event is read.
const HELD_LATELY: usize = 64;

/// A holding, or an open lock, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) by: Contender,
    pub(super) token: u64,
    /// What distinguishes this holding from all others.
    pub(super) nonce: u128,
    /// How often its name was changed, if that is known.
    pub(super) changes: Option<u32>,
    pub(super) timeout: Duration,
    pub(super) remaining: Duration,
    pub(super) age: Duration,
    pub(super) is_open: bool,
}

impl Hold {
    /// Returns true if this holding results from this wait. Waits that have no nonce have the
    /// number of their contender.
    fn is_of(&self, wait: u128) -> bool {
        wait == self.nonce || wait == self.by.id.into()
    }
}

/// The fate of a holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Lives,
    /// Its timeout is over; whether its process is alive is not known.
    Expired,
    /// Its timeout is over, and its process is alive: it may still release the lock.
    Overdue,
    Dead,
}

/// Something in the place of a lock that does not show who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Anomaly {
    /// An empty directory.
    Bare,
    /// Something that is not ours, for this reason.
    Foreign(String),
}

/// What is known about a lock.
#[derive(Debug, Default)]
pub(super) struct LockHistory {
    is_begun: bool,
    /// It was examined.
    is_seen: bool,
    /// It was there before the first look.
    was_there: bool,
    hold: Option<Hold>,
    fate: Fate,
    anomaly: Option<Anomaly>,
    waiting: Waiting,
    /// The last holders, by their nonces: that they waited may be reported later.
    held_lately: VecDeque<u128>,
    /// How often something may have happened unseen.
    gaps: u64,
    /// Changes are found only by looking.
    is_by_looks: bool,
    events: Vec<What>,
}

impl LockHistory {
    /// Returns the events since the last call.
    pub(super) fn take_events(&mut self) -> Vec<What> {
        std::mem::take(&mut self.events)
    }

    /// Marks that what is seen first was there before.
    pub(super) fn was_there(&mut self) {
        self.was_there = true;
    }

    /// Records that the lock is there, whatever is in it.
    pub(super) fn begin(&mut self) {
        if !self.is_begun {
            self.is_begun = true;
            self.events.push(What::Appeared);
        }
    }

    /// Records that a process held it under this nonce, or under one that is larger by the number
    /// of its attempts. Counts that holding as missed, unless it was seen, or counted before.
    pub(super) fn held_by(&mut self, nonce: u128) {
        if !self.has_held(nonce) {
            self.holds(nonce);
            self.events.push(What::Missed(1));
        }
    }

    /// Returns true if this holding was seen, or counted as missed.
    pub(super) fn has_held(&self, nonce: u128) -> bool {
        self.held_lately.iter().any(|&held| is_same_holding(held, nonce))
    }

    /// Records how busy the lock is, in holdings per second.
    pub(super) fn busy(&mut self, a_second: u32) {
        self.events.push(What::Busy(a_second));
    }

    pub(super) fn calm(&mut self) {
        self.events.push(What::Calm);
    }

    /// Records what is in the lock now.
    pub(super) fn saw(&mut self, mut seen: Option<Hold>) {
        let is_first = !std::mem::replace(&mut self.is_seen, true) && self.was_there;
        if seen.is_some() {
            self.begin();
        }
        let before = self.hold.take();
        let fate = std::mem::take(&mut self.fate);
        match (&before, &mut seen) {
            (Some(old), Some(new)) if old.nonce == new.nonce => {
                // It may hold the lock under the number under which it waited.
                new.by.id = old.by.id;
                self.changed(old, new, fate);
            }
            _ => {
                let how = match &before {
                    None if is_first => Gained::Before,
                    None => Gained::Free,
                    Some(old) if old.is_open => Gained::HandedOver,
                    Some(_) => match fate {
                        Fate::Lives => Gained::HandedOver,
                        Fate::Expired | Fate::Overdue => Gained::AfterExpiry,
                        Fate::Dead => Gained::AfterDeath,
                    },
                };
                if let Some(old) = before.filter(|old| !old.is_open) {
                    let is_taken = seen.as_ref().is_some_and(|new| !new.is_open);
                    match fate {
                        Fate::Lives => self.events.push(What::Released(old.by)),
                        _ if is_taken => {}
                        Fate::Overdue => self.events.push(What::Released(old.by)),
                        _ => self.events.push(What::Broken(old.by)),
                    }
                }
                if let Some(new) = seen.as_mut().filter(|new| !new.is_open) {
                    self.acquired(new, how);
                }
            }
        }
        self.hold = seen;
    }

    /// Returns the anomaly in its place, as far as it was reported.
    pub(super) fn anomaly(&self) -> Option<&Anomaly> {
        self.anomaly.as_ref()
    }

    /// Records all that is in its place now. The previous holder has released it before that.
    pub(super) fn saw_all(&mut self, hold: Option<Hold>, anomaly: Option<Anomaly>) {
        self.saw(hold);
        self.saw_anomaly(anomaly);
    }

    /// Records the anomaly in its place, or that there is none.
    pub(super) fn saw_anomaly(&mut self, seen: Option<Anomaly>) {
        if self.anomaly == seen {
            return;
        }
        self.begin();
        self.events.push(match &seen {
            None => What::Cleared,
            Some(Anomaly::Bare) => What::Bare,
            Some(Anomaly::Foreign(why)) => What::Foreign(why.clone()),
        });
        self.anomaly = seen;
    }

    fn changed(&mut self, old: &Hold, new: &mut Hold, fate: Fate) {
        if new.is_open && !old.is_open {
            self.events.push(What::Released(old.by.clone()));
        } else if !new.is_open && old.is_open {
            self.acquired(new, Gained::HandedOver);
        } else if !new.is_open && (old.changes, old.remaining) != (new.changes, new.remaining) {
            let times = new.changes.zip(old.changes).map(|(new, old)| new.wrapping_sub(old));
            // The same name, seen once more, is no renewal.
            let is_renewed = times.map_or(new.remaining > old.remaining, |times| times > 0);
            if is_renewed {
                let (by, timeout) = (new.by.clone(), new.timeout);
                self.events.push(What::Renewed { by, times, timeout });
            } else {
                self.fate = fate;
            }
        } else {
            self.fate = fate;
        }
    }

    fn acquired(&mut self, new: &mut Hold, how: Gained) {
        self.holds(new.nonce);
        if let Some((id, events)) = self.waiting.served(|wait| new.is_of(wait)) {
            new.by.id = id;
            self.events.extend(events);
        }
        let Hold { token, timeout, remaining, age, .. } = *new;
        self.events.push(What::Acquired {
            by: new.by.clone(),
            token,
            timeout,
            remaining,
            age,
            how,
        });
    }

    /// Records a holding that was there before the one that is known.
    pub(super) fn saw_late(&mut self, nonce: u128) {
        self.held_by(nonce);
        let events = self.waiting.served(|wait| wait == nonce);
        self.events.extend(events.and_then(|(_, events)| events));
    }

    fn holds(&mut self, nonce: u128) {
        self.held_lately.truncate(HELD_LATELY - 1);
        self.held_lately.push_front(nonce);
    }

    /// Records that something may have happened to the lock that is never reported.
    pub(super) fn gap(&mut self) {
        self.gaps += 1;
    }

    /// Sets whether changes are found only by looking from now on.
    pub(super) fn by_looks(&mut self, is_by_looks: bool) {
        self.gaps += u64::from(self.is_by_looks != is_by_looks);
        self.is_by_looks = is_by_looks;
    }

    pub(super) fn is_by_looks(&self) -> bool {
        self.is_by_looks
    }

    fn coverage(&self) -> Coverage {
        let (gaps, is_by_looks) = (self.gaps, self.is_by_looks);
        let hold = self.hold.as_ref().filter(|hold| !hold.is_open && self.fate == Fate::Lives);
        Coverage { gaps, is_by_looks, held: hold.map(|hold| hold.nonce) }
    }

    /// Records the fate of the holder. It must not have renewed or released since it was seen.
    pub(super) fn judged(&mut self, fate: Fate) {
        let Some(hold) = self.hold.as_ref().filter(|hold| !hold.is_open) else { return };
        if fate == self.fate {
            return;
        }
        match fate {
            Fate::Lives => {}
            Fate::Expired | Fate::Overdue => self.events.push(What::Expired(hold.by.clone())),
            Fate::Dead => self.events.push(What::Died(hold.by.clone())),
        }
        self.fate = fate;
    }

    /// Returns the fate of the holder, as far as it was reported.
    pub(super) fn fate(&self) -> Fate {
        self.fate
    }

    pub(super) fn joined(&mut self, waiter: &Waiter) {
        let is_served = self.has_held(waiter.nonce);
        if self.waiting.joined(waiter, is_served, self.coverage()) {
            self.begin();
            self.events.push(What::Joined(waiter.who.clone()));
        }
    }

    /// Records that this waiter is not in the queue any more; `has_lived` is whether its process
    /// was seen alive after that.
    pub(super) fn left(&mut self, nonce: u128, has_lived: bool, since: Duration) {
        let events = self.waiting.left(nonce, has_lived, self.coverage(), since);
        self.events.extend(events);
    }

    /// Records that this waiter in the queue is dead.
    pub(super) fn died_waiting(&mut self, nonce: u128) {
        self.events.extend(self.waiting.died(nonce));
    }

    /// Returns true if this waiter in the queue is known to be dead.
    pub(super) fn is_dead_waiter(&self, nonce: u128) -> bool {
        self.waiting.is_dead(nonce)
    }

    /// Records all waiters in the queue.
    pub(super) fn saw_queue(
        &mut self,
        queue: &[Waiter],
        now: Duration,
        mut has_lived: impl FnMut(&Waiter) -> bool,
    ) {
        for waiter in self.waiting.without(queue) {
            let has_lived = has_lived(&waiter);
            self.left(waiter.nonce, has_lived, now);
        }
        for waiter in queue {
            self.joined(waiter);
        }
    }

    /// Returns true if it is not known yet why this waiter has left the queue.
    pub(super) fn is_leaving(&self, nonce: u128) -> bool {
        self.waiting.is_leaving(nonce)
    }

    /// Returns when to settle why waiters have left that left at least this long before.
    pub(super) fn next_settling(&self, at_least: Duration) -> Option<Duration> {
        self.waiting.next_settling(at_least)
    }

    /// Reports why waiters have left that left at least this long before, as far as that follows
    /// from what was seen up to `seen_until`.
    pub(super) fn settle(
        &mut self,
        seen_until: Duration,
        at_least: Duration,
        ended: impl FnMut(u128) -> Option<Duration>,
    ) {
        let events = self.waiting.settle(seen_until, at_least, self.coverage(), ended);
        self.events.extend(events);
    }
}

/// Returns true if both nonces belong to the same holding. The nonce of a stage is that of its
/// acquisition plus the number of the attempt, which has 32 bits.
fn is_same_holding(one: u128, other: u128) -> bool {
    one.wrapping_sub(other).min(other.wrapping_sub(one)) <= u32::MAX.into()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn hold() -> Hold {
        let (host, since) = ("web1".into(), SystemTime::UNIX_EPOCH);
        let by = Contender { id: 1, host, pid: Some(42), command: None, label: None, since };
        let (timeout, remaining) = (Duration::from_secs(10), Duration::from_secs(9));
        let (changes, age) = (None, Duration::from_secs(1));
        Hold { by, token: 7, nonce: 7, changes, timeout, remaining, age, is_open: false }
    }

    #[test]
    fn anomalies_are_reported_after_the_release_before_them() {
        let mut history = LockHistory::default();
        history.saw_all(Some(hold()), None);
        history.take_events();

        history.saw_all(None, Some(Anomaly::Bare));

        assert_eq!(history.take_events(), [What::Released(hold().by), What::Bare]);
    }
}
