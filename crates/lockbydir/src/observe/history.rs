//! One lock's chronicle: what happened, told from what is seen of it one time and the next. Looks
//! at nothing itself.

use std::collections::VecDeque;
use std::time::Duration;

use super::event::{Contender, Gained, What};
use super::waiting::{Coverage, Waiter, Waiting};

/// So many who held last are kept: as many as may hold while one event is read.
const HELD_LATELY: usize = 64;

/// A holding, or an open lock, as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) by: Contender,
    pub(super) token: u64,
    /// What tells this holding from all others.
    pub(super) nonce: u128,
    /// How often its name was changed, where that can be told.
    pub(super) changes: Option<u32>,
    pub(super) timeout: Duration,
    pub(super) remaining: Duration,
    pub(super) age: Duration,
    pub(super) is_open: bool,
}

impl Hold {
    /// Did it come of this wait? Where waits have no nonce, they have their contender's number.
    fn is_of(&self, wait: u128) -> bool {
        wait == self.nonce || wait == self.by.id.into()
    }
}

/// What has become of a holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Lives,
    /// Its timeout is over; whether its process lives is not known.
    Expired,
    /// Its timeout is over, and its process lives: it may still release the lock.
    Overdue,
    Dead,
}

/// What is in the place of a lock, and tells nobody who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Anomaly {
    /// An empty directory.
    Bare,
    /// Not ours, for this reason.
    Foreign(String),
}

/// What is known of a lock.
#[derive(Debug, Default)]
pub(super) struct LockHistory {
    is_begun: bool,
    /// Something was looked for in it.
    is_seen: bool,
    /// It was there before anybody looked.
    was_there: bool,
    hold: Option<Hold>,
    fate: Fate,
    oddity: Option<Anomaly>,
    waiting: Waiting,
    /// Who held last, by their nonces: that they wait may be told later.
    held_lately: VecDeque<u128>,
    /// How often something may have happened that was not seen.
    gaps: u64,
    /// Only looks show what happens.
    is_by_looks: bool,
    told: Vec<What>,
}

impl LockHistory {
    /// All that happened since this was asked last.
    pub(super) fn told(&mut self) -> Vec<What> {
        std::mem::take(&mut self.told)
    }

    /// What is seen first was there before.
    pub(super) fn was_there(&mut self) {
        self.was_there = true;
    }

    /// The lock is there, whatever is in it.
    pub(super) fn begin(&mut self) {
        if !self.is_begun {
            self.is_begun = true;
            self.told.push(What::Appeared);
        }
    }

    /// Somebody held it under this nonce, or one that is larger by the number of its attempts. Counts that
    /// holding as missed, unless it was seen, or counted before.
    pub(super) fn held_by(&mut self, nonce: u128) {
        if !self.has_held(nonce) {
            self.holds(nonce);
            self.told.push(What::Missed(1));
        }
    }

    /// Was this holding seen, or counted as missed?
    pub(super) fn has_held(&self, nonce: u128) -> bool {
        self.held_lately.iter().any(|&held| is_same_holding(held, nonce))
    }

    /// It is so busy.
    pub(super) fn busy(&mut self, a_second: u32) {
        self.told.push(What::Busy(a_second));
    }

    pub(super) fn calm(&mut self) {
        self.told.push(What::Calm);
    }

    /// This is in the lock now.
    pub(super) fn saw(&mut self, mut seen: Option<Hold>) {
        let is_first = !std::mem::replace(&mut self.is_seen, true) && self.was_there;
        if seen.is_some() {
            self.begin();
        }
        let before = self.hold.take();
        let fate = std::mem::take(&mut self.fate);
        match (&before, &mut seen) {
            (Some(old), Some(new)) if old.nonce == new.nonce => {
                // It may hold under the number it waited under.
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
                        Fate::Lives => self.told.push(What::Released(old.by)),
                        _ if is_taken => {}
                        Fate::Overdue => self.told.push(What::Released(old.by)),
                        _ => self.told.push(What::Broken(old.by)),
                    }
                }
                if let Some(new) = seen.as_mut().filter(|new| !new.is_open) {
                    self.acquired(new, how);
                }
            }
        }
        self.hold = seen;
    }

    /// What is in its place that is odd, as far as was told.
    pub(super) fn oddity(&self) -> Option<&Anomaly> {
        self.oddity.as_ref()
    }

    /// This is all that is in its place now. Who held it until then has let it go before that.
    pub(super) fn saw_all(&mut self, hold: Option<Hold>, oddity: Option<Anomaly>) {
        self.saw(hold);
        self.saw_oddity(oddity);
    }

    /// This is in its place now, or nothing odd.
    pub(super) fn saw_oddity(&mut self, seen: Option<Anomaly>) {
        if self.oddity == seen {
            return;
        }
        self.begin();
        self.told.push(match &seen {
            None => What::Cleared,
            Some(Anomaly::Bare) => What::Bare,
            Some(Anomaly::Foreign(why)) => What::Foreign(why.clone()),
        });
        self.oddity = seen;
    }

    fn changed(&mut self, old: &Hold, new: &mut Hold, fate: Fate) {
        if new.is_open && !old.is_open {
            self.told.push(What::Released(old.by.clone()));
        } else if !new.is_open && old.is_open {
            self.acquired(new, Gained::HandedOver);
        } else if !new.is_open && (old.changes, old.remaining) != (new.changes, new.remaining) {
            let times = new.changes.zip(old.changes).map(|(new, old)| new.wrapping_sub(old));
            // The same name, looked at once more, is as it was.
            let is_renewed = times.map_or(new.remaining > old.remaining, |times| times > 0);
            if is_renewed {
                let (by, timeout) = (new.by.clone(), new.timeout);
                self.told.push(What::Renewed { by, times, timeout });
            } else {
                self.fate = fate;
            }
        } else {
            self.fate = fate;
        }
    }

    fn acquired(&mut self, new: &mut Hold, how: Gained) {
        self.holds(new.nonce);
        if let Some((id, told)) = self.waiting.served(|wait| new.is_of(wait)) {
            new.by.id = id;
            self.told.extend(told);
        }
        let Hold { token, timeout, remaining, age, .. } = *new;
        self.told.push(What::Acquired { by: new.by.clone(), token, timeout, remaining, age, how });
    }

    /// This holding was there before the one that is known.
    pub(super) fn saw_late(&mut self, nonce: u128) {
        self.held_by(nonce);
        let told = self.waiting.served(|wait| wait == nonce);
        self.told.extend(told.and_then(|(_, told)| told));
    }

    fn holds(&mut self, nonce: u128) {
        self.held_lately.truncate(HELD_LATELY - 1);
        self.held_lately.push_front(nonce);
    }

    /// Something may have happened to the lock that is never told.
    pub(super) fn gap(&mut self) {
        self.gaps += 1;
    }

    /// Do only looks show from now on what happens?
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

    /// The holder has come to this, if it has not renewed or let go since it was seen.
    pub(super) fn judged(&mut self, fate: Fate) {
        let Some(hold) = self.hold.as_ref().filter(|hold| !hold.is_open) else { return };
        if fate == self.fate {
            return;
        }
        match fate {
            Fate::Lives => {}
            Fate::Expired | Fate::Overdue => self.told.push(What::Expired(hold.by.clone())),
            Fate::Dead => self.told.push(What::Died(hold.by.clone())),
        }
        self.fate = fate;
    }

    /// What has become of the holder, as far as was told.
    pub(super) fn fate(&self) -> Fate {
        self.fate
    }

    pub(super) fn joined(&mut self, waiter: &Waiter) {
        let is_served = self.has_held(waiter.nonce);
        if self.waiting.joined(waiter, is_served, self.coverage()) {
            self.begin();
            self.told.push(What::Joined(waiter.who.clone()));
        }
    }

    /// This one is not in the queue any more, as of now; was its process seen alive after that?
    pub(super) fn left(&mut self, nonce: u128, has_lived: bool, since: Duration) {
        let told = self.waiting.left(nonce, has_lived, self.coverage(), since);
        self.told.extend(told);
    }

    /// This one of the queue is dead.
    pub(super) fn died_waiting(&mut self, nonce: u128) {
        self.told.extend(self.waiting.died(nonce));
    }

    /// Is it known that this one of the queue is dead?
    pub(super) fn is_dead_waiter(&self, nonce: u128) -> bool {
        self.waiting.is_dead(nonce)
    }

    /// These are all who are in the queue.
    pub(super) fn stand(
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

    /// Is it not known yet why this one has left the queue?
    pub(super) fn is_leaving(&self, nonce: u128) -> bool {
        self.waiting.is_leaving(nonce)
    }

    /// When to settle why those have left who left so long before this at least.
    pub(super) fn next_settling(&self, at_least: Duration) -> Option<Duration> {
        self.waiting.next_settling(at_least)
    }

    /// Tells why those have left who left so long before this at least, as far as that follows from
    /// what was seen up to then.
    pub(super) fn settle(
        &mut self,
        seen_until: Duration,
        at_least: Duration,
        ended: impl FnMut(u128) -> Option<Duration>,
    ) {
        let told = self.waiting.settle(seen_until, at_least, self.coverage(), ended);
        self.told.extend(told);
    }
}

/// A stage has the nonce of its acquisition and its number among the attempts, which is of 32 bits.
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
    fn what_is_odd_is_told_after_the_release_of_who_held_it_before() {
        let mut chronicle = LockHistory::default();
        chronicle.saw_all(Some(hold()), None);
        chronicle.told();

        chronicle.saw_all(None, Some(Anomaly::Bare));

        assert_eq!(chronicle.told(), [What::Released(hold().by), What::Bare]);
    }
}
