//! What a contender does, deed by deed, what it believes then, and whether there was a reason for
//! what it was told.

use std::fs;
use std::rc::Rc;
use std::time::Duration;

use lockbydir::{Error, ErrorKind, Guard, Key, Lock, Owner};
use lockbydir_protocol::{Entry, Nonce, State, margin, promise};
use rustix::io::Errno;

use super::contender::{Action, Holding, SimulatedProcess};
use super::final_check;
use super::mutant::{Mutant, THING};
use super::oracle::EVERY_CALL_ENDS;
use super::scheduler::{BEGIN, MOVED_INTO, Scheduler};

/// How renewals of another's holding are counted.
pub const RENEWED_BY_KEY: &str = "renewed by another's key";

/// What it has of the lock.
enum Has {
    Nothing,
    Guard(Rc<Guard>),
    Key(Key),
}

struct Actor<'a> {
    play: &'a Scheduler,
    me: usize,
    part: &'a SimulatedProcess,
    holding: &'a Holding,
}

/// The lock, by a path of this contender's own: so those of one process do not queue
/// among themselves.
pub(super) fn lock(play: &Scheduler, me: usize, part: &SimulatedProcess) -> Lock {
    let owner = if part.is_nobodys { Owner::Nobody } else { Owner::ThisProcess };
    let linger = if part.lingers { Duration::from_secs(3600) } else { Duration::ZERO };
    Lock::new(play.folder.join(format!("way{me}/jobs")))
        .timeout(part.timeout)
        .fenced(part.fenced)
        .linger(linger)
        .mode(if part.shares { 0o770 } else { 0o700 })
        .owner(owner)
}

pub(super) fn act(play: &Scheduler, me: usize, part: &SimulatedProcess, holding: &Holding) {
    if me + 1 == play.scene().figures.len() {
        return final_check::act(play, me, part);
    }
    let actor = Actor { play, me, part, holding };
    let mut lock = Some(lock(play, me, part));
    let mut has = Has::Nothing;
    for deed in &part.deeds {
        play.begin(me, &format!("{deed:?}"), *deed == Action::BreakByForce);
        let Some(known) = &lock else { break };
        has = match deed {
            Action::Forget => {
                lock = None;
                has
            }
            deed => actor.perform(known, *deed, has),
        };
    }
    play.begin(me, "the end of its process", false);
    play.scene().truth.beliefs.remove(&me);
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
                let guard = self.let_go(guard);
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
                drop(self.let_go(guard));
                Has::Nothing
            }
            (Action::Keep, Has::Guard(guard)) => {
                self.holding.take();
                let guard = Rc::into_inner(guard).expect("its only owner");
                Has::Key(guard.keep())
            }
            (Action::BreakLapsed, has) => {
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
                self.play.pause(self.me, how_long);
                has
            }
            (Action::RenewAnothers, has) => {
                self.renew_anothers(lock);
                has
            }
            (Action::MakeBare, has) => {
                self.play.make_bare(self.me);
                has
            }
            (Action::Misbehave, has) => {
                if let Some(mutant) = self.part.mutant {
                    mutant.misbehave(self.play, self.me, self.part);
                }
                has
            }
            (Action::Die, has) => {
                self.play.dies(self.me);
                has
            }
            (_, has) => has,
        }
    }

    /// Renews what is held now, if it depends on the life of another process: that one may have a
    /// guard, which learns of it at its own renewal.
    fn renew_anothers(&self, lock: &Lock) {
        let names = fs::read_dir(self.play.lockdir()).into_iter().flatten().flatten();
        let mut entries = names.filter_map(|name| name.file_name().to_str().and_then(Entry::parse));
        let is_anothers = |entry: &Entry| {
            let scene = self.play.scene();
            let who = scene.truth.drawn.get(&entry.nonce.0).copied();
            // Nobody was given the key of an attempt that failed.
            let has_a_key = !scene.truth.given_up.contains(&entry.nonce);
            entry.state == State::Held
                && has_a_key
                && entry.owner != lockbydir_protocol::Owner::Nobody
                && who.is_some_and(|who| who != self.me)
        };
        let Some(entry) = entries.find(is_anothers) else { return };
        // All guards are this very process's; by another number none is found, and nonces decide.
        let key = Key::new(0, entry.nonce);
        match lock.renew(&key) {
            Ok(()) => *self.play.scene().counts.entry(RENEWED_BY_KEY).or_default() += 1,
            Err(error) if error.is_lost() || error.kind() == ErrorKind::Usage => {}
            Err(error) => self.judge(Some(&error), entry.nonce),
        }
    }

    fn now(&self) -> Duration {
        self.play.scene().now
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
                let mut scene = self.play.scene();
                let drawn = scene.figures[self.me].drawn.clone();
                scene.truth.given_up.extend(drawn.iter().map(|nonce| Nonce(*nonce)));
                let nobody_lied = scene.figures[self.me].lies == 0;
                drop(scene);
                if nobody_lied {
                    self.assert_left_nothing(&drawn);
                }
                Has::Nothing
            }
        }
    }

    /// An attempt that nobody lied to, and that has not got it, has no entry in D.
    fn assert_left_nothing(&self, drawn: &[u128]) {
        let names = fs::read_dir(self.play.lockdir()).into_iter().flatten().flatten();
        for name in names {
            let entry = name.file_name().to_str().and_then(Entry::parse);
            if let Some(entry) = entry.filter(|entry| drawn.contains(&entry.nonce.0)) {
                let seen = format!("{entry} is there, and contender {} was told no", self.me);
                self.play.scene().truth.broke(promise::WHO_GIVES_UP_NEVER_GETS_IT_LATER, seen);
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
        let mut scene = self.play.scene();
        let now = scene.now;
        let until = match self.part.mutant {
            Some(Mutant::HoldsTooLong) => until + Duration::from_secs(3600),
            _ => until,
        };
        scene.tell(self.me, || format!("holds {key} until {:?}", until - BEGIN));
        scene.figures[self.me].deadline = until;
        scene.truth.believes(self.me, nonce(key), key.token(), now, until, is_new);
    }

    /// It holds no more, whatever becomes of the release.
    fn let_go(&self, guard: Rc<Guard>) -> Guard {
        self.believes_no_more();
        self.holding.take();
        Rc::into_inner(guard).expect("its only owner")
    }

    fn believes_no_more(&self) {
        self.play.scene().truth.beliefs.remove(&self.me);
    }

    /// Is there a reason for such an error?
    fn judge(&self, error: Option<&Error>, nonce: Nonce) {
        let Some(error) = error else { return };
        let mut scene = self.play.scene();
        scene.tell(self.me, || format!("is told: {error}"));
        let figure = &scene.figures[self.me];
        let was_told = |errno: Errno| figure.told.contains(&errno);
        let code = error.raw_os_error();
        // "Missing" and "taken" have one number each, whatever the system called them.
        let is_known = code.is_none_or(|code| {
            matches!(code, 2 | 39) || figure.told.iter().any(|told| told.raw_os_error() == code)
        });
        let is_right = match error.kind() {
            ErrorKind::PatienceOver => true,
            // Beyond the deadline it counts as lost, whoever removed it.
            ErrorKind::Lost => {
                figure.lies > 0
                    || figure.deadline <= scene.now
                    || scene.truth.ended.contains(&nonce)
            }
            ErrorKind::PermissionDenied => was_told(Errno::ACCESS),
            ErrorKind::CannotMake => was_told(Errno::ROFS) || was_told(Errno::NOENT),
            // "Not empty" is said of a directory that others changed meanwhile.
            ErrorKind::Io => {
                code == Some(39)
                    || figure.lies > 0 && is_known
                    || scene.counts.contains_key(MOVED_INTO)
            }
            ErrorKind::Foreign => self.play.lockdir().join(THING).exists(),
            _ => false,
        };
        if !is_right {
            let seen = format!("contender {} was told without a reason: {error:?}", self.me);
            scene.truth.broke(EVERY_CALL_ENDS, seen);
        }
    }
}

pub(super) fn nonce(key: &Key) -> Nonce {
    let text = key.to_string();
    let nonce = text.split_once('-').and_then(|(_, nonce)| Nonce::parse(nonce));
    nonce.unwrap_or(Nonce(0))
}
