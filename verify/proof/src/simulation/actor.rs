//! The behavior of a process, action by action: what it believes after each, and whether the library had a
//! reason for its answer.

use std::fs;
use std::rc::Rc;
use std::time::Duration;

use lockbydir::{Error, ErrorKind, Guard, Key, Lock};
use lockbydir_protocol::{Entry, Nonce, State, margin, promise};
use rustix::io::Errno;

use super::final_check;
use super::handles::{Holding, lock, nonce};
use super::machines::BEGIN;
use super::mutant::{Mutant, THING};
use super::oracle::EVERY_CALL_ENDS;
use super::plot::{Action, SimulatedProcess};
use super::scheduler::{MOVED_INTO, Scheduler};

/// The name under which renewals of another's holding are counted.
pub const RENEWED_BY_KEY: &str = "renewed by another's key";

/// The process's access to the lock.
enum Has {
    Nothing,
    Guard(Rc<Guard>),
    Key(Key),
}

struct Actor<'a> {
    scheduler: &'a Scheduler,
    me: usize,
    part: &'a SimulatedProcess,
    holding: &'a Holding,
}

pub(super) fn act(scheduler: &Scheduler, me: usize, part: &SimulatedProcess, holding: &Holding) {
    if me + 1 == scheduler.state().processes.len() {
        return final_check::act(scheduler, me, part);
    }
    let actor = Actor { scheduler, me, part, holding };
    let mut lock = Some(lock(scheduler, me, part));
    let mut has = Has::Nothing;
    for deed in &part.deeds {
        scheduler.begin(me, &format!("{deed:?}"), *deed == Action::BreakByForce);
        let Some(known) = &lock else { break };
        has = match deed {
            Action::Forget => {
                lock = None;
                has
            }
            deed => actor.perform(known, *deed, has),
        };
    }
    scheduler.begin(me, "the end of its process", false);
    scheduler.state().oracle.beliefs.remove(&me);
}

impl Actor<'_> {
    fn perform(&self, lock: &Lock, deed: Action, has: Has) -> Has {
        match (deed, has) {
            (Action::Acquire(patience), Has::Nothing) => self.acquire(lock, patience),
            (Action::Renew, Has::Guard(guard)) => {
                let renewed = guard.renew();
                self.renewed(&guard, renewed);
                Has::Guard(guard)
            }
            (Action::SetTimeout(timeout), Has::Guard(guard)) => {
                let renewed = guard.set_timeout(timeout);
                self.renewed(&guard, renewed);
                Has::Guard(guard)
            }
            (Action::Renew, Has::Key(key)) => {
                let begun = self.now();
                let renewed = lock.renew(&key);
                self.judge(renewed.as_ref().err(), nonce(&key));
                match renewed {
                    Ok(()) => {
                        let until = begun + self.part.timeout - margin(self.part.timeout);
                        self.believes(&key, until, false);
                    }
                    Err(error) if error.is_lost() => self.believes_no_more(),
                    Err(_) => {}
                }
                Has::Key(key)
            }
            (Action::Release, Has::Guard(guard)) => {
                let guard = self.end_hold(guard);
                let nonce = nonce(&guard.key());
                self.judge(guard.release().as_ref().err(), nonce);
                Has::Nothing
            }
            (Action::Release, Has::Key(key)) => {
                self.believes_no_more();
                let released = lock.release(&key);
                self.judge(released.as_ref().err(), nonce(&key));
                if released.is_err_and(|error| !error.is_lost()) {
                    Has::Key(key)
                } else {
                    Has::Nothing
                }
            }
            (Action::Drop, Has::Guard(guard)) => {
                drop(self.end_hold(guard));
                Has::Nothing
            }
            (Action::Keep, Has::Guard(guard)) => {
                self.holding.take();
                let guard = Rc::into_inner(guard).expect("its only owner");
                Has::Key(guard.keep())
            }
            (Action::BreakStale, has) => {
                self.judge(lock.break_stale().as_ref().err(), Nonce(0));
                has
            }
            (Action::BreakByForce, has) => {
                self.judge(lock.break_by_force().as_ref().err(), Nonce(0));
                has
            }
            (Action::Look, has) => {
                self.judge(lock.status().as_ref().err(), Nonce(0));
                self.judge(lock.is_locked().as_ref().err(), Nonce(0));
                has
            }
            (Action::Work(how_long), has) => {
                self.scheduler.pause(self.me, how_long);
                has
            }
            (Action::RenewAnothers, has) => {
                self.renew_anothers(lock);
                has
            }
            (Action::MakeBare, has) => {
                self.scheduler.make_bare(self.me);
                has
            }
            (Action::Misbehave, has) => {
                if let Some(mutant) = self.part.mutant {
                    mutant.misbehave(self.scheduler, self.me, self.part);
                }
                has
            }
            (Action::Die, has) => {
                self.scheduler.dies(self.me);
                has
            }
            (_, has) => has,
        }
    }

    /// Renews the present holding, if it depends on the life of another process: that one may have a guard,
    /// which learns of the change at its own renewal.
    fn renew_anothers(&self, lock: &Lock) {
        let names = fs::read_dir(self.scheduler.lockdir()).into_iter().flatten().flatten();
        let mut entries = names.filter_map(|name| name.file_name().to_str().and_then(Entry::parse));
        let is_anothers = |entry: &Entry| {
            let state = self.scheduler.state();
            let who = state.oracle.drawn.get(&entry.nonce.0).copied();
            // Nobody received the key of an attempt that failed.
            let has_a_key = !state.oracle.given_up.contains(&entry.nonce);
            entry.state == State::Held
                && has_a_key
                && entry.owner != lockbydir_protocol::Owner::Nobody
                && who.is_some_and(|who| who != self.me)
        };
        let Some(entry) = entries.find(is_anothers) else { return };
        // All guards belong to this same process; by another number none is found, and nonces decide.
        let key = Key::new(0, entry.nonce);
        match lock.renew(&key) {
            Ok(()) => *self.scheduler.state().counts.entry(RENEWED_BY_KEY).or_default() += 1,
            Err(error) if error.is_lost() || error.kind() == ErrorKind::Usage => {}
            Err(error) => self.judge(Some(&error), entry.nonce),
        }
    }

    fn now(&self) -> Duration {
        self.scheduler.state().now
    }

    fn acquire(&self, lock: &Lock, patience: Duration) -> Has {
        match lock.clone().patience(patience).acquire() {
            Ok(guard) => {
                let until = self.now() + guard.remaining();
                self.believes(&guard.key(), until, true);
                let guard = Rc::new(guard);
                if self.part.mutant != Some(Mutant::HoldsTooLong) {
                    self.holding.replace(Rc::downgrade(&guard));
                }
                Has::Guard(guard)
            }
            Err(error) => {
                self.judge(Some(&error), Nonce(0));
                let mut state = self.scheduler.state();
                let drawn = state.processes[self.me].drawn.clone();
                state.oracle.given_up.extend(drawn.iter().map(|nonce| Nonce(*nonce)));
                let nobody_lied = state.processes[self.me].lies == 0;
                drop(state);
                if nobody_lied {
                    self.assert_left_nothing(&drawn);
                }
                Has::Nothing
            }
        }
    }

    /// Checks that a failed attempt to which nobody lied has no entry in D.
    fn assert_left_nothing(&self, drawn: &[u128]) {
        let names = fs::read_dir(self.scheduler.lockdir()).into_iter().flatten().flatten();
        for name in names {
            let entry = name.file_name().to_str().and_then(Entry::parse);
            if let Some(entry) = entry.filter(|entry| drawn.contains(&entry.nonce.0)) {
                let seen = format!("{entry} is there, and contender {} got the answer no", self.me);
                self.scheduler
                    .state()
                    .oracle
                    .broke(promise::WHO_GIVES_UP_NEVER_GETS_IT_LATER, seen);
            }
        }
    }

    fn renewed(&self, guard: &Guard, renewed: Result<(), Error>) {
        self.judge(renewed.as_ref().err(), nonce(&guard.key()));
        let until = self.now() + guard.remaining();
        match renewed {
            Ok(()) => self.believes(&guard.key(), until, false),
            Err(_) if guard.remaining().is_zero() => self.believes_no_more(),
            Err(_) => {}
        }
    }

    fn believes(&self, key: &Key, until: Duration, is_new: bool) {
        let mut state = self.scheduler.state();
        let now = state.now;
        let until = match self.part.mutant {
            Some(Mutant::HoldsTooLong) => until + Duration::from_secs(3600),
            _ => until,
        };
        state.log(self.me, || format!("holds {key} until {:?}", until - BEGIN));
        state.processes[self.me].deadline = until;
        state.oracle.believes(self.me, nonce(key), key.token(), now, until, is_new);
    }

    /// Records that the process no longer holds, whatever the result of the release.
    fn end_hold(&self, guard: Rc<Guard>) -> Guard {
        self.believes_no_more();
        self.holding.take();
        Rc::into_inner(guard).expect("its only owner")
    }

    fn believes_no_more(&self) {
        self.scheduler.state().oracle.beliefs.remove(&self.me);
    }

    /// Checks that there is a reason for this error.
    fn judge(&self, error: Option<&Error>, nonce: Nonce) {
        let Some(error) = error else { return };
        let mut state = self.scheduler.state();
        state.log(self.me, || format!("gets the error: {error}"));
        let process = &state.processes[self.me];
        let saw_error = |errno: Errno| process.errors.contains(&errno);
        let code = error.raw_os_error();
        // "Missing" and "taken" have one number each, whatever error the system returned.
        let is_known = code.is_none_or(|code| {
            matches!(code, 2 | 39)
                || process.errors.iter().any(|errno| errno.raw_os_error() == code)
        });
        let is_right = match error.kind() {
            ErrorKind::PatienceOver => true,
            // Beyond the deadline it counts as lost, whoever removed it.
            ErrorKind::Lost => {
                process.lies > 0
                    || process.deadline <= state.now
                    || state.oracle.ended.contains(&nonce)
            }
            ErrorKind::PermissionDenied => saw_error(Errno::ACCESS),
            ErrorKind::CannotMake => saw_error(Errno::ROFS) || saw_error(Errno::NOENT),
            // "Not empty" is returned for a directory that others changed meanwhile.
            ErrorKind::Io => {
                code == Some(39)
                    || process.lies > 0 && is_known
                    || state.counts.contains_key(MOVED_INTO)
            }
            ErrorKind::Foreign => self.scheduler.lockdir().join(THING).exists(),
            _ => false,
        };
        if !is_right {
            let seen = format!("contender {} got an error without a reason: {error:?}", self.me);
            state.oracle.broke(EVERY_CALL_ENDS, seen);
        }
    }
}
