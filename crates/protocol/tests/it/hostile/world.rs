//! A world made of choices: a lock directory and a queue that others change at will, and answers that
//! are true or false at random. Every answer is of the kind that its operation has, and the boot clock
//! never goes back; everything else is possible.

use std::time::Duration;

use lockbydir_protocol::*;

use super::Chance;

/// The nonce of the machine under attack.
const OWN: Nonce = Nonce(5);
/// The number of answers after which the patience of the machine under attack is over.
pub(crate) const PATIENT: usize = 120;

/// The world around the machine under attack.
pub(crate) struct World<'a> {
    pub(crate) chance: Chance<'a>,
    pub(crate) now: Now,
    pub(crate) here: LocalContext,
    /// One answer in this many is false.
    one_false_in: usize,
    /// The entries of D; none if D is absent.
    entries: Option<Vec<Entry>>,
    changed: Stamp,
    queue: Vec<Ticket>,
    /// Entries that were there before: hostile names are often old ones with a small change.
    known: Vec<Entry>,
    until: Duration,
    answers: usize,
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl<'a> World<'a> {
    pub(crate) fn new(mut chance: Chance<'a>) -> World<'a> {
        let origin = match chance.below(4) {
            0 => Origin { boot: 0, time: 0, pids: 0 },
            1 => chance.origin(),
            _ => Origin { boot: 1, time: 1, pids: 1 },
        };
        let now = Now {
            boot: millis(chance.pick(&[0, 1, 50_000, 99_999_999_999_999])),
            wall: Duration::from_secs(chance.pick(&[0, 1_800_000_000, u64::MAX / 2])),
        };
        let booted = Stamp(1_700_000_000_000_000_000);
        let booted = chance.pick(&[None, Some(booted), Some(Stamp(i128::MIN)), Some(Stamp(0))]);
        let here = LocalContext {
            origin,
            is_local: chance.one_in(2),
            booted,
            host: Host::new("h"),
            longest_name: 255,
        };
        let mut world = World {
            now,
            here,
            one_false_in: chance.pick(&[1, 2, 5, 60]),
            entries: None,
            changed: Stamp(0),
            queue: Vec::new(),
            known: Vec::new(),
            until: Duration::ZERO,
            answers: 0,
            chance,
        };
        if world.chance.one_in(2) {
            let entry = world.entry();
            world.entries = Some(vec![entry]);
        }
        world
    }

    /// Returns the request of the machine under attack.
    pub(crate) fn request(&mut self) -> AcquireRequest {
        AcquireRequest {
            nonce: OWN,
            timeout: millis(self.chance.pick(&[100, 200, 10_000, 315_360_000_000])),
            fenced: self.chance.one_in(3),
            shared: false,
            owner: self.chance.owner(),
            host: self.here.host,
            label: Label::new("own").unwrap_or_default(),
            names_child: false,
        }
    }

    /// Returns a holding of the machine under attack; perhaps it is in D.
    pub(crate) fn mine(&mut self, state: State) -> Entry {
        let timeout = millis(self.chance.pick(&[100, 200, 10_000]));
        let origin = if self.chance.one_in(4) { self.origin() } else { self.here.origin };
        let entry = self.chance.entry();
        let stamp = millis(u64::try_from(self.now.boot.as_millis()).unwrap_or(0));
        let mine = printed(Entry { state, nonce: OWN, timeout, origin, stamp, ..entry });
        self.remember(mine.clone());
        if !self.chance.one_in(4) {
            self.entries = Some(vec![mine.clone()]);
        }
        mine
    }

    /// Returns an open entry that the machine under attack left behind; perhaps it is in D.
    pub(crate) fn left_open(&mut self) -> Entry {
        let open = printed(Entry { state: State::Open, ..self.entry() });
        if self.chance.one_in(2) {
            self.entries = Some(vec![open.clone()]);
        }
        open
    }

    pub(crate) fn renew_request(&mut self) -> RenewRequest {
        RenewRequest {
            timeout: self.chance.one_in(3).then(|| millis(self.chance.pick(&[100, 10_000]))),
            owner: self.chance.one_in(3).then(|| self.chance.owner()),
        }
    }

    pub(crate) fn own_ticket(&mut self) -> Ticket {
        Ticket { nonce: OWN, origin: self.here.origin, ..self.chance.ticket() }
    }

    /// Sets and returns when the patience of the machine under attack ends.
    pub(crate) fn until(&mut self) -> Duration {
        self.until = self.now.boot + millis(self.chance.pick(&[0, 10, 1000, 3_600_000]));
        self.until
    }

    fn remember(&mut self, entry: Entry) {
        if self.known.len() < 16 {
            self.known.push(entry);
        }
    }

    fn origin(&mut self) -> Origin {
        let here = self.here.origin;
        match self.chance.below(6) {
            0 => Origin { time: here.time ^ 1, ..here },
            1 => Origin { pids: here.pids ^ 1, ..here },
            2 => Origin { boot: here.boot ^ 3, ..here },
            3 => self.chance.origin(),
            _ => here,
        }
    }

    /// Returns an entry of a hostile directory: a known one, a known one with a change, or any.
    fn entry(&mut self) -> Entry {
        let count = self.known.len();
        let old = (count > 0).then(|| self.chance.below(count)).map(|at| self.known[at].clone());
        let any = self.chance.entry();
        let now =
            millis(u64::try_from(self.now.boot.as_millis()).unwrap_or(0) % 100_000_000_000_000);
        let entry = match (self.chance.below(8), old) {
            (0, Some(old)) => old,
            (1, Some(old)) => Entry { renewals: old.renewals.wrapping_add(1), stamp: now, ..old },
            (2, Some(old)) => Entry { state: any.state, fenced: any.fenced, ..old },
            (3, Some(old)) => Entry { token: any.token, renewals: any.renewals, ..old },
            (4, _) => any,
            (5, _) => Entry { origin: self.origin(), stamp: now, timeout: millis(10_000), ..any },
            (6, _) => Entry { origin: self.origin(), stamp: now, host: self.here.host, ..any },
            (_, _) => Entry { origin: self.origin(), ..any },
        };
        let entry = printed(entry);
        self.remember(entry.clone());
        entry
    }

    fn stamp(&mut self) -> Stamp {
        let wall = i128::try_from(self.now.wall.as_nanos()).unwrap_or(i128::MAX);
        let day = 86_400_000_000_000;
        let booted = self.here.booted.map_or(0, |booted| booted.0);
        Stamp(match self.chance.below(8) {
            0 => wall,
            1 => wall - day,
            2 => wall.saturating_add(day),
            3 => booted.saturating_sub(1),
            4 => booted,
            5 => i128::MIN,
            6 => i128::MAX,
            _ => self.changed.0,
        })
    }

    /// Returns anything that may be at D's path, with hostile names.
    fn hostile_sight(&mut self) -> Observation {
        match self.chance.below(10) {
            0 => return Observation::Absent,
            1 => return Observation::Foreign(Foreign::Symlink),
            _ => {}
        }
        let (mut entries, mut foreign) = (Vec::new(), None);
        for _ in 0..self.chance.pick(&[0, 1, 1, 1, 1, 2, 3, 9]) {
            entries.push(self.entry());
        }
        if self.chance.one_in(6) {
            let length = self.chance.below(256);
            let name = self.chance.name(length);
            match Entry::parse(&name) {
                Some(entry) => entries.push(entry),
                None => foreign = Some(Foreign::Holds(name)),
            }
        }
        Observation::Directory(Listing {
            entries,
            foreign,
            litter: self.chance.one_in(6).then(|| ".nfs0001".into()),
            modified: self.stamp(),
            stranger: self.chance.one_in(8).then_some(1000),
        })
    }

    fn true_sight(&self) -> Observation {
        match &self.entries {
            None => Observation::Absent,
            Some(entries) => Observation::Directory(Listing {
                entries: entries.clone(),
                foreign: None,
                litter: None,
                modified: self.changed,
                stranger: None,
            }),
        }
    }

    fn hostile_queue(&mut self) -> Vec<Ticket> {
        let own = self.queue.last().cloned();
        let mut queue: Vec<Ticket> =
            (0..self.chance.pick(&[0, 1, 1, 2, 5])).map(|_| self.chance.ticket()).collect();
        for ticket in &mut queue {
            ticket.origin = self.origin();
            if let (Some(own), true) = (&own, self.chance.one_in(2)) {
                ticket.order = own.order.saturating_sub(1 + self.chance.number(1000));
            }
        }
        queue.extend(own.filter(|_| !self.chance.one_in(4)));
        queue
    }

    /// Returns the time until the entry in D expires, or a little less.
    fn until_nearly_expired(&mut self) -> Duration {
        let expiry = self.entries.iter().flatten().next().map_or(Duration::ZERO, Entry::expires_at);
        let less = millis(self.chance.pick(&[0, 1, 400]));
        expiry.saturating_sub(self.now.boot).saturating_sub(less)
    }

    /// Lets time pass, and others change the directory.
    fn meanwhile(&mut self) {
        let step = match self.chance.below(24) {
            0 => millis(1),
            1 => millis(7),
            2 => millis(150),
            3 => millis(20_000),
            4 => millis(400_000_000_000),
            5 => self.until_nearly_expired(),
            _ => Duration::ZERO,
        };
        self.now.boot += step;
        if self.answers > PATIENT {
            self.now.boot = self.now.boot.max(self.until);
        }
        self.now.wall = match self.chance.below(24) {
            0 => Duration::from_secs(self.chance.pick(&[0, 1_600_000_000, u64::MAX / 2])),
            _ => self.now.wall.saturating_add(step),
        };
        if self.chance.one_in(10) {
            self.changed = self.stamp();
            self.entries = match self.chance.below(4) {
                0 => None,
                1 => Some(Vec::new()),
                _ => Some(vec![self.entry()]),
            };
        }
    }

    /// Returns the answer to this operation.
    pub(crate) fn answer(&mut self, operation: &Operation) -> Answer {
        self.answers += 1;
        self.meanwhile();
        let is_false = self.chance.one_in(self.one_false_in);
        match operation {
            Operation::Look if is_false && self.chance.one_in(4) => {
                Answer::Failed(self.chance.fault())
            }
            Operation::Look if is_false => Answer::Seen(self.hostile_sight()),
            Operation::Look => Answer::Seen(self.true_sight()),
            Operation::AskLiveness(_) => {
                Answer::Liveness(self.chance.pick(&[Liveness::Alive, Liveness::Gone]))
            }
            Operation::ReadFileClock if is_false => Answer::Failed(self.chance.fault()),
            Operation::ReadFileClock => Answer::FileClock(self.stamp()),
            Operation::AskRemovable if is_false => Answer::Failed(self.chance.fault()),
            Operation::AskRemovable => Answer::Removable(!self.chance.one_in(4)),
            Operation::HasWaiters => Answer::Somebody(self.chance.one_in(2)),
            Operation::ListQueue if is_false && self.chance.one_in(4) => {
                Answer::Failed(self.chance.fault())
            }
            Operation::ListQueue => Answer::Queue(self.hostile_queue()),
            Operation::Sleep(_, wake) => Answer::Woken(self.wake(*wake)),
            change => {
                let is_done = !is_false || self.chance.one_in(2);
                let done = if is_done { self.change(change) } else { Answer::Done(None) };
                match is_false && self.chance.one_in(2) {
                    true => Answer::Failed(self.chance.fault()),
                    false => done,
                }
            }
        }
    }

    fn wake(&mut self, wake: Duration) -> Wake {
        if self.answers > PATIENT {
            self.now.boot = self.now.boot.max(wake);
            return Wake::Time;
        }
        match self.chance.below(9) {
            0 => Wake::Notified,
            1 => Wake::HandoffReceived(Handoff::First),
            2 => Wake::HandoffReceived(Handoff::Behind(Ticket {
                origin: self.origin(),
                ..self.chance.ticket()
            })),
            3 => Wake::PeerGone,
            4 => Wake::Ended,
            5 => Wake::Expelled,
            6 => {
                if self.chance.one_in(8) {
                    Wake::Interrupted
                } else {
                    Wake::PeerGone
                }
            }
            _ => {
                self.now.boot = self.now.boot.max(wake);
                Wake::Time
            }
        }
    }

    /// Changes the directory as the operation asks, and returns the true answer.
    fn change(&mut self, operation: &Operation) -> Answer {
        let there = |entries: &Option<Vec<Entry>>, entry: &Entry| {
            entries.as_ref().and_then(|found| found.iter().position(|other| other == entry))
        };
        let done = match operation {
            Operation::Install(entry) if self.entries.is_none() => {
                self.entries = Some(vec![entry.clone()]);
                Ok(())
            }
            Operation::Install(_) => Err(Fault::Taken),
            Operation::Rename(from, to) => match (there(&self.entries, from), &mut self.entries) {
                (Some(at), Some(entries)) => {
                    entries[at] = to.clone();
                    Ok(())
                }
                _ => Err(Fault::Missing),
            },
            Operation::Unlink(entry) => match (there(&self.entries, entry), &mut self.entries) {
                (Some(at), Some(entries)) => {
                    entries.remove(at);
                    Ok(())
                }
                _ => Err(Fault::Missing),
            },
            Operation::RemoveDir(_) => match &self.entries {
                None => Err(Fault::Missing),
                Some(entries) if entries.is_empty() => {
                    self.entries = None;
                    Ok(())
                }
                Some(_) => Err(Fault::Taken),
            },
            Operation::Reopen(entry) => match &mut self.entries {
                Some(entries) if entries.is_empty() => {
                    entries.push(entry.clone());
                    Ok(())
                }
                _ => Err(Fault::Missing),
            },
            Operation::Enter(ticket) => {
                self.queue = vec![ticket.clone()];
                Ok(())
            }
            Operation::Leave(..) => {
                self.queue.clear();
                Ok(())
            }
            Operation::WakeFirst => {
                self.chance.pick(&[Ok(()), Err(Fault::Missing), Err(Fault::Taken)])
            }
            _ => Ok(()),
        };
        match (done, operation) {
            (Ok(()), Operation::Unlink(_)) => Answer::Done(Some(self.changed)),
            (Ok(()), _) => Answer::Done(None),
            (Err(fault), _) => Answer::Failed(fault),
        }
    }
}

/// Returns an entry as a directory shows it: only with what its name contains.
fn printed(entry: Entry) -> Entry {
    let name = entry.to_string();
    assert!(name.len() <= MAX_NAME, "{name}");
    Entry::parse(&name).unwrap_or_else(|| panic!("not our own: {name}"))
}
