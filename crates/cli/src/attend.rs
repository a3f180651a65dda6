//! Keeps a command under its lock: lets it begin when the lock names it, gives it the lock's deadline,
//! and ends it when the lock cannot be kept. It acts first and prints afterwards.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use lockbydir::{Error, ErrorKind, Guard, Guards, Key, printable};

use crate::args::Run;
use crate::child::{Child, Event};
use crate::exit::{CANNOT_RUN, Failure, IO, LOST, NOT_FOUND, SIGNAL};
use crate::nested::Outer;
use crate::output;

/// Limits the time between asking a command to end and killing it.
const LONGEST_GRACE: Duration = Duration::from_secs(5);
/// Limits one sleep: the clock that wakes this process stops in suspend.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// The least time that a renewal after the deadline has for its answer, if the timeout is shorter. The
/// command stands still meanwhile.
const LEAST_ANSWER: Duration = Duration::from_secs(10);
/// Limits the late renewals in a row: each of them has passed its own deadline when it is answered.
const MOST_LATE: u32 = 3;
/// The first pause before another try to name the command in the lock; later pauses double.
const NAMING_PAUSE: Duration = Duration::from_millis(5);

/// How a command ended by itself.
pub(crate) struct Ended {
    pub(crate) code: u32,
    /// The signal that ended it.
    pub(crate) signal: Option<u8>,
}

/// Why a command did not end by itself.
pub(crate) struct Stopped {
    pub(crate) failure: Failure,
    /// Nobody may enter before the lock's timeout: a process still works, or the lock cannot be reached.
    pub(crate) keeps_lock: bool,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped { failure, keeps_lock: false }
    }
}

/// What keeps a command running.
pub(crate) enum Under {
    /// The locks of this process.
    Own(Arc<Guards>),
    /// The holding of an ancestor, or of a key.
    Outer(Box<Outer>),
}

impl Under {
    /// Returns the key of each lock, in the order in which their names were given.
    pub(crate) fn keys(&self) -> Vec<Key> {
        match self {
            Under::Own(guards) => guards.as_given().into_iter().map(Guard::key).collect(),
            Under::Outer(outer) => vec![outer.key()],
        }
    }

    /// Returns the number of the slot, if it is one.
    pub(crate) fn slot(&self) -> Option<u32> {
        match self {
            Under::Own(guards) => guards.first_to_end().and_then(Guard::slot),
            Under::Outer(_) => None,
        }
    }

    fn path(&self) -> String {
        match self {
            Under::Own(guards) => first_to_end(guards),
            Under::Outer(outer) => outer.path(),
        }
    }

    fn timeout(&self) -> Duration {
        match self {
            Under::Own(guards) => guards.timeout(),
            Under::Outer(outer) => outer.timeout(),
        }
    }

    fn remaining(&self) -> Duration {
        match self {
            Under::Own(guards) => guards.remaining(),
            Under::Outer(outer) => outer.remaining(),
        }
    }

    /// Returns why the lock is lost, if it is known to be.
    fn lost(&mut self) -> Option<String> {
        match self {
            Under::Own(guards) => guards.lost().map(|lost| lost.to_string()),
            Under::Outer(outer) => outer.has_ended().then(|| outer.lost()),
        }
    }

    fn renewal_failure(&self) -> Option<String> {
        match self {
            Under::Own(guards) => guards.renewal_failure(),
            Under::Outer(_) => None,
        }
    }

    /// Lets the locks be free as soon as they are released: the command has not begun.
    pub(crate) fn end_at_once(&self) {
        if let Under::Own(guards) = self {
            guards.end_at_once();
        }
    }

    /// Begins to renew the lock automatically; returns whether that was possible. If no thread can be
    /// started for it, renews the lock itself when that is due.
    fn begin_renewals(&self) -> bool {
        let Under::Own(guards) = self else { return true };
        let has_begun = guards.begin_renewals().is_ok();
        if !has_begun && guards.remaining() < guards.timeout() / 2 {
            // The cause of a failure is kept in the guard.
            let _ = guards.renew();
        }
        has_begun
    }

    /// Renews the lock after its deadline, when nothing that the command has started runs; returns
    /// whether it is held again.
    fn renew_late(&mut self, args: &Run, child: &mut Child) -> Result<bool, Stopped> {
        match self {
            Under::Own(guards) => renew_late(args, guards, child).map(|()| true),
            Under::Outer(outer) => Ok(outer.is_renewed_late()),
        }
    }
}

/// Names a process in the locks and returns how long they are then held.
pub(crate) fn name(under: &Under, pid: u32) -> Result<Duration, Failure> {
    match under {
        Under::Own(guards) => name_in_all(guards, pid),
        // Its entry is not ours to change.
        Under::Outer(outer) => Ok(outer.remaining()),
    }
}

fn name_in_all(guards: &Guards, pid: u32) -> Result<Duration, Failure> {
    for guard in guards.as_given() {
        name_in(guard, pid)?;
    }
    // The answers may have taken longer than a lock lasts. A late renewal proves that nobody held it in
    // between.
    if guards.remaining().is_zero() {
        guards.renew()?;
    }
    match guards.remaining() {
        Duration::ZERO => {
            let message = format!(
                "the lock {} expired before the command could start, so it was not started; use a longer --timeout",
                first_to_end(guards)
            );
            Err(Failure::new(LOST, message))
        }
        held => Ok(held),
    }
}

/// Names a process in one lock. Retries after errors that may pass.
fn name_in(guard: &Guard, pid: u32) -> Result<(), Failure> {
    let mut pause = NAMING_PAUSE;
    while let Err(error) = guard.name_child(pid) {
        let may_pass = error.kind() == ErrorKind::Io;
        if !may_pass || guard.remaining() < guard.timeout() / 4 + pause {
            return Err(error.into());
        }
        thread::sleep(pause);
        pause = pause.saturating_mul(2).min(LONGEST_SLEEP).min(guard.timeout() / 8);
    }
    Ok(())
}

/// Returns the path of the lock that ends first, for people.
fn first_to_end(guards: &Guards) -> String {
    guards.first_to_end().map(|guard| printable(guard.path())).unwrap_or_default()
}

/// Waits until the command ends; ends it when the lock cannot be kept.
pub(crate) fn attend(args: &Run, under: &mut Under, child: &mut Child) -> Result<Ended, Stopped> {
    let timeout = under.timeout();
    let grace = (timeout / 8).min(LONGEST_GRACE);
    // If renewals fail, the command is asked to end while a quarter of the timeout is left. If a renewal
    // has no answer yet, it costs nothing to wait until the deadline where the command can be stopped then.
    let notice = match (args.no_renew, Child::STOPS_WHEN_LATE) {
        (true, _) => grace,
        (false, true) => Duration::ZERO,
        (false, false) => timeout / 5,
    };
    let mut ended = None;
    let mut late = 0;
    let mut is_renewed = args.no_renew;
    let mut has_waited = false;
    loop {
        // A command that ends at once needs no thread for renewals.
        if std::mem::replace(&mut has_waited, true) && !is_renewed {
            is_renewed = under.begin_renewals();
        }
        if let Some(lost) = under.lost() {
            return Err(end(under, child, grace, &lost));
        }
        let held = under.remaining();
        if !args.no_renew
            && held <= timeout / 4
            && !held.is_zero()
            && let Some(cause) = under.renewal_failure()
        {
            let lock = under.path();
            let why = format!("lost the lock {lock}: it could not be renewed in time ({cause})");
            return Err(end(under, child, grace, &why));
        }
        if held.is_zero() && !args.no_renew && Child::STOPS_WHEN_LATE && late < MOST_LATE {
            late += 1;
            if under.renew_late(args, child)? {
                continue;
            }
        }
        if held <= notice || held.is_zero() {
            let why = format!("the lock {} has reached its timeout", under.path());
            return Err(end(under, child, grace, &why));
        }
        late = 0;
        child.set_deadline(held);
        let pause = held.min(timeout / 8).clamp(Duration::from_millis(1), LONGEST_SLEEP);
        if let Some(ended) = ended.take_if(|_| child.have_all_ended(pause)) {
            return Ok(ended);
        }
        if ended.is_some() {
            continue;
        }
        match child.event(pause) {
            None => {}
            Some(Event::Ended { code, signal }) if args.wait_children => {
                ended = Some(Ended { code, signal });
            }
            Some(Event::Ended { code, signal }) => return Ok(Ended { code, signal }),
            Some(Event::NotStarted(error)) => return Err(not_started(args, &error).into()),
            Some(Event::Unsupervised(left)) => return Err(unsupervised(&left)),
        }
    }
}

fn not_started(args: &Run, error: &std::io::Error) -> Failure {
    let program = args.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(NOT_FOUND, format!("`{program}` is not found"))
        }
        _ => Failure::new(CANNOT_RUN, format!("cannot run `{program}`: {error}")),
    }
}

fn unsupervised(left: &[u32]) -> Stopped {
    const KILLED: u8 = 9;
    let message = match left {
        [] => "the command's supervisor was killed, so the command was ended".into(),
        left => format!("the command's supervisor was killed; {}", not_ended(left)),
    };
    Stopped { failure: Failure::new(SIGNAL + KILLED, message), keeps_lock: !left.is_empty() }
}

/// Ends the processes that a contained command has left at its end.
pub(crate) fn leaves_nothing(child: &mut Child) -> Result<(), Stopped> {
    let left = child.end();
    if left.is_empty() {
        return Ok(());
    }
    let message = format!("the command has ended; what it started {}", not_ended(&left));
    Err(Stopped { failure: Failure::new(IO, message), keeps_lock: true })
}

fn not_ended(left: &[u32]) -> String {
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    format!("could not be ended: {}; end them by hand", left.join(", "))
}

/// Renews the lock after its deadline, when nothing that the command has started runs. A renewal that
/// succeeds proves that nobody held the lock in between: then the command goes on.
fn renew_late(args: &Run, guards: &Arc<Guards>, child: &mut Child) -> Result<(), Stopped> {
    let (sender, answer) = channel();
    let ours = guards.clone();
    let renew = move || {
        let done = ours.renew();
        drop(ours);
        let _ = sender.send(done);
    };
    let done = match thread::Builder::new().name("late renewal".into()).spawn(renew) {
        Ok(_) => answer.recv_timeout(guards.timeout().max(LEAST_ANSWER)).ok(),
        Err(_) => Some(guards.renew()),
    };
    let lock = first_to_end(guards);
    match done {
        Some(Ok(())) => {
            child.set_deadline(guards.remaining());
            if !args.holding.quiet {
                output::note(format!(
                    "the lock {lock} was renewed late; nobody held it in between, so the command goes on"
                ));
            }
            Ok(())
        }
        Some(Err(error)) => {
            let left = child.end();
            output::note(why_lost(guards, &error));
            Err(stopped(&left, false))
        }
        None => {
            let left = child.end();
            output::note(format!("lost the lock {lock}: its renewal was not answered"));
            Err(stopped(&left, true))
        }
    }
}

fn why_lost(guards: &Guards, error: &Error) -> String {
    match error.is_lost() {
        true => error.to_string(),
        false => {
            format!("lost the lock {}: not renewed in time: {error}", first_to_end(guards))
        }
    }
}

/// Ends the command: asks it first, and kills it after the grace. All that it has started ends with it.
fn end(under: &Under, child: &mut Child, grace: Duration, why: &str) -> Stopped {
    child.ask_to_end();
    output::note(format!("{why}; ending the command"));
    let last = Instant::now() + grace.min(under.remaining().max(grace / 2));
    loop {
        let rest = last.saturating_duration_since(Instant::now());
        if rest.is_zero() || child.event(rest.min(LONGEST_SLEEP)).is_some() {
            break;
        }
    }
    let left = child.end();
    stopped(&left, false)
}

fn stopped(left: &[u32], is_unreachable: bool) -> Stopped {
    let message = match left {
        [] => "the lock was lost, so the command was ended".into(),
        left => format!("the lock was lost; {}", not_ended(left)),
    };
    let failure = Failure::new(LOST, message);
    Stopped { failure, keeps_lock: is_unreachable || !left.is_empty() }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use lockbydir::Lock;
    use lockbydir::simulated::{Call, Errno, Kind, World, within};

    use super::*;

    /// A machine whose file system answers renames late, or fails the first ones.
    struct Slow {
        clock: Cell<Duration>,
        /// How long one rename takes.
        takes: Cell<Duration>,
        /// The error of the next renames, and how many of them fail.
        fails: Cell<Option<(Errno, u32)>>,
    }

    impl World for Slow {
        fn call(
            &self,
            call: &Call<'_>,
            perform: &mut dyn FnMut() -> Result<(), Errno>,
        ) -> Result<(), Errno> {
            if call.kind != Kind::Rename {
                return perform();
            }
            if let Some((errno, times @ 1..)) = self.fails.get() {
                self.fails.set(Some((errno, times - 1)));
                return Err(errno);
            }
            self.clock.set(self.clock.get() + self.takes.get());
            perform()
        }

        fn is_hidden(&self) -> bool {
            false
        }

        fn sleep(&self, _until: Duration, _is_heard: &mut dyn FnMut() -> bool) {}

        fn now(&self) -> lockbydir_protocol::Now {
            let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            lockbydir_protocol::Now { boot: self.clock.get(), wall }
        }

        fn nonce(&self) -> u128 {
            7
        }

        fn is_local(&self) -> bool {
            true
        }

        fn here(&self) -> (lockbydir_protocol::Origin, lockbydir_protocol::Process) {
            let pid = std::process::id();
            let origin = lockbydir_protocol::Origin { boot: 1, time: 1, pids: 1 };
            (origin, lockbydir_protocol::Process { pid, start: 1 })
        }

        fn host(&self) -> String {
            "here".into()
        }

        fn is_gone(&self, _process: lockbydir_protocol::Process) -> bool {
            false
        }
    }

    /// Names a process in a lock with a timeout of 1 s on such a machine.
    fn named(takes: u64, fails: Option<(Errno, u32)>) -> Result<Duration, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let clock = Cell::new(Duration::from_secs(1000));
        let world = Rc::new(Slow { clock, takes: Cell::default(), fails: Cell::default() });
        within(world.clone(), || {
            let lock = Lock::new(folder.path().join("jobs")).timeout(Duration::from_secs(1));
            let guard = lock.acquire().unwrap();
            world.takes.set(Duration::from_millis(takes));
            world.fails.set(fails);
            name_in_all(&Guards::from(guard), std::process::id())
        })
    }

    #[test]
    fn a_command_named_too_late_does_not_begin() {
        let failure = named(1600, None).expect_err("the lock is over");

        assert_eq!(failure.code, LOST);
        assert!(failure.message.contains("was not started"), "{}", failure.message);
        assert!(named(400, None).is_ok_and(|held| held <= Duration::from_millis(600)));
    }

    #[test]
    fn naming_is_retried_after_a_passing_error() {
        // No more files in the whole system; Windows has only the limit of a process.
        #[cfg(unix)]
        const NO_FILES: Errno = Errno::NFILE;
        #[cfg(windows)]
        const NO_FILES: Errno = Errno::MFILE;
        for errno in [Errno::INTR, Errno::IO, Errno::NOMEM, NO_FILES] {
            assert!(named(0, Some((errno, 1))).is_ok(), "{errno:?}");
        }
        let denied = named(0, Some((Errno::ACCESS, 1))).expect_err("that will not pass");
        assert_eq!(denied.code, crate::exit::DENIED);
    }
}
