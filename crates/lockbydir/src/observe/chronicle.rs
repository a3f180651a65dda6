//! One lock's chronicle: what happened, told from what is seen of it one time and the next. Looks
//! at nothing itself.

use std::time::Duration;

use super::event::{Contender, Departure, Gained, What};

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
    Lapsed,
    Dead,
}

/// What is in the place of a lock, and tells nobody who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// An empty directory.
    Bare,
    /// Not ours, for this reason.
    Foreign(String),
}

/// One who waits, as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) who: Contender,
    /// What tells this wait from all others; the holding that comes of it has the same.
    pub(super) nonce: u128,
}

/// One who has left the line, and why is not known yet.
#[derive(Debug)]
struct Leaving {
    waiter: Waiter,
    lives: bool,
    since: Duration,
}

/// What is known of a lock.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    is_begun: bool,
    /// Something was looked for in it.
    is_seen: bool,
    /// It was there before anybody looked.
    was_there: bool,
    hold: Option<Hold>,
    fate: Fate,
    oddity: Option<Oddity>,
    line: Vec<Waiter>,
    /// Those of it who are dead, which was told already.
    dead: Vec<u128>,
    /// Those who left the line, and may hold the lock or stand in another place soon.
    leaving: Vec<Leaving>,
    told: Vec<What>,
}

impl Chronicle {
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

    /// A holding came and went unseen.
    pub(super) fn missed(&mut self) {
        self.told.push(What::Missed(1));
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
                        Fate::Lapsed => Gained::AfterLapse,
                        Fate::Dead => Gained::AfterDeath,
                    },
                };
                if let Some(old) = before.filter(|old| !old.is_open) {
                    let is_taken = seen.as_ref().is_some_and(|new| !new.is_open);
                    match fate {
                        Fate::Lives => self.told.push(What::Released(old.by)),
                        _ if is_taken => {}
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

    /// This is all that is in its place now. Who held it until then has let it go before that.
    pub(super) fn saw_all(&mut self, hold: Option<Hold>, oddity: Option<Oddity>) {
        self.saw(hold);
        self.saw_oddity(oddity);
    }

    /// This is in its place now, or nothing odd.
    pub(super) fn saw_oddity(&mut self, seen: Option<Oddity>) {
        if self.oddity == seen {
            return;
        }
        self.begin();
        self.told.push(match &seen {
            None => What::Cleared,
            Some(Oddity::Bare) => What::Bare,
            Some(Oddity::Foreign(why)) => What::Foreign(why.clone()),
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
        let served = |waiter: &Waiter| new.is_of(waiter.nonce);
        let mut waited = self.line.iter().find(|waiter| served(waiter)).map(|waiter| waiter.who.id);
        if let Some(at) = self.leaving.iter().position(|leaving| served(&leaving.waiter)) {
            let Leaving { waiter, .. } = self.leaving.remove(at);
            waited = Some(waiter.who.id);
            self.told.push(What::Left { who: waiter.who, why: Departure::Served });
        }
        new.by.id = waited.unwrap_or(new.by.id);
        let Hold { token, timeout, remaining, age, .. } = *new;
        self.told.push(What::Acquired { by: new.by.clone(), token, timeout, remaining, age, how });
    }

    /// The holder has come to this, if it has not renewed or let go since it was seen.
    pub(super) fn judged(&mut self, fate: Fate) {
        let Some(hold) = self.hold.as_ref().filter(|hold| !hold.is_open) else { return };
        if fate == self.fate {
            return;
        }
        match fate {
            Fate::Lives => {}
            Fate::Lapsed => self.told.push(What::Lapsed(hold.by.clone())),
            Fate::Dead => self.told.push(What::Died(hold.by.clone())),
        }
        self.fate = fate;
    }

    pub(super) fn joined(&mut self, waiter: Waiter) {
        // Who takes another place in the line leaves the one it had.
        if let Some(at) = self.leaving.iter().position(|left| left.waiter.nonce == waiter.nonce) {
            self.leaving.remove(at);
            self.line.push(waiter);
            return;
        }
        if self.line.iter().all(|known| known.nonce != waiter.nonce) {
            self.begin();
            self.told.push(What::Joined(waiter.who.clone()));
            self.line.push(waiter);
        }
    }

    /// This one is not in line any more, as of now; does its process live?
    pub(super) fn left(&mut self, nonce: u128, lives: bool, since: Duration) {
        if let Some(at) = self.line.iter().position(|known| known.nonce == nonce) {
            let waiter = self.line.remove(at);
            if let Some(at) = self.dead.iter().position(|dead| *dead == nonce) {
                self.dead.remove(at);
            } else if self.hold.as_ref().is_some_and(|hold| hold.is_of(nonce)) {
                self.told.push(What::Left { who: waiter.who, why: Departure::Served });
            } else {
                self.leaving.push(Leaving { waiter, lives, since });
            }
        }
    }

    /// This one of the line is dead.
    pub(super) fn died_waiting(&mut self, nonce: u128) {
        let waiter = self.line.iter().find(|known| known.nonce == nonce);
        if let Some(waiter) = waiter.filter(|_| !self.dead.contains(&nonce)) {
            self.told.push(What::Left { who: waiter.who.clone(), why: Departure::Died });
            self.dead.push(nonce);
        }
    }

    /// These are all who are in line.
    pub(super) fn stand(
        &mut self,
        line: Vec<Waiter>,
        now: Duration,
        mut lives: impl FnMut(&Waiter) -> bool,
    ) {
        let is_there = |nonce: u128| line.iter().any(|waiter| waiter.nonce == nonce);
        let gone: Vec<Waiter> =
            self.line.iter().filter(|known| !is_there(known.nonce)).cloned().collect();
        for waiter in gone {
            let lives = lives(&waiter);
            self.left(waiter.nonce, lives, now);
        }
        for waiter in line {
            self.joined(waiter);
        }
    }

    /// Since when somebody has left the line of whom it is not known yet why.
    pub(super) fn unsettled_since(&self) -> Option<Duration> {
        self.leaving.iter().map(|leaving| leaving.since).min()
    }

    /// Who left the line until then, and does not hold the lock now, has not got it.
    pub(super) fn settle(&mut self, until: Duration) {
        for Leaving { waiter, lives, .. } in self.leaving.extract_if(.., |one| one.since <= until) {
            let why = if lives { Departure::GaveUp } else { Departure::Gone };
            self.told.push(What::Left { who: waiter.who, why });
        }
    }
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
        let mut chronicle = Chronicle::default();
        chronicle.saw_all(Some(hold()), None);
        chronicle.told();

        chronicle.saw_all(None, Some(Oddity::Bare));

        assert_eq!(chronicle.told(), [What::Released(hold().by), What::Bare]);
    }
}
