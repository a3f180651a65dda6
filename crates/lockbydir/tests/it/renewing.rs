//! Automatic renewal, with an engine whose calls behave as a test requires.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use lockbydir::engine::{self, Engine, Holding, Opened, Scheme, Wait, boot};
use lockbydir::{Broken, Error, ErrorKind, Guard, How, Key, Lock, LostReason, Status};
use lockbydir_protocol::{AcquireRequest, Nonce, Owner, RenewRequest, margin};

use crate::contract::goes_well;
use crate::{impatient, ms, secs};

/// How calls behave.
#[derive(Clone, Copy, PartialEq)]
enum Calls {
    Work,
    Fail,
    /// Fail until this time of the boot clock.
    FailUntil(Duration),
    Hang,
    /// Hang from this time of the boot clock on; before it, fail.
    HangFrom(Duration),
}

struct Script {
    calls: Mutex<(Calls, usize)>,
    changed: Condvar,
}

static SCRIPTS: Mutex<Option<HashMap<String, Arc<Script>>>> = Mutex::new(None);

impl Script {
    /// Creates a new scripted lock of this name.
    fn of(name: &str) -> Arc<Script> {
        let scheme = Scheme::new("scripted", open, |_| Ok(Vec::new()), |_| Ok(Vec::new()));
        engine::register(scheme);
        let script =
            Arc::new(Script { calls: Mutex::new((Calls::Work, 0)), changed: Condvar::new() });
        let mut all = SCRIPTS.lock().unwrap();
        all.get_or_insert_default().insert(format!("scripted://{name}"), script.clone());
        script
    }

    fn set(&self, calls: Calls) {
        self.calls.lock().unwrap().0 = calls;
        self.changed.notify_all();
    }

    /// Waits until this many more renewals have succeeded.
    #[track_caller]
    fn see_renewals(&self, more: usize) {
        let seen = self.calls.lock().unwrap().1;
        self.see_renewals_in_all(seen + more);
    }

    /// Waits until this many renewals have succeeded.
    #[track_caller]
    fn see_renewals_in_all(&self, until: usize) {
        let calls = self.calls.lock().unwrap();
        let (calls, late) =
            self.changed.wait_timeout_while(calls, secs(60), |calls| calls.1 < until).unwrap();
        let seen = calls.1;
        drop(calls);
        assert!(!late.timed_out(), "{seen} renewals in a minute, {until} wanted");
    }

    /// Makes one call.
    fn call(&self) -> Result<(), Error> {
        let begun = boot();
        let calls = self.calls.lock().unwrap();
        let hangs = |calls: &mut (Calls, usize)| match calls.0 {
            Calls::Hang => true,
            Calls::HangFrom(from) => begun >= from,
            _ => false,
        };
        let mut calls = self.changed.wait_while(calls, hangs).unwrap();
        self.changed.notify_all();
        let fails = match calls.0 {
            Calls::Fail | Calls::HangFrom(_) => true,
            Calls::FailUntil(until) => begun < until,
            Calls::Work | Calls::Hang => false,
        };
        if fails {
            let cause = std::io::Error::from_raw_os_error(5);
            return Err(Error::new(ErrorKind::Io, "cannot call").caused_by(cause));
        }
        calls.1 += 1;
        Ok(())
    }
}

fn open(url: &str, timeout: Duration) -> Opened {
    let script = SCRIPTS.lock().unwrap().as_ref().unwrap()[url].clone();
    Ok(Arc::new(Scripted { script, path: PathBuf::from(format!("{url}.lockdir")), timeout }))
}

struct Scripted {
    script: Arc<Script>,
    path: PathBuf,
    timeout: Duration,
}

impl Engine for Scripted {
    fn path(&self) -> &Path {
        &self.path
    }

    fn acquire(
        &self,
        _: AcquireRequest,
        _: &mut Wait<'_>,
    ) -> Result<(Box<dyn Holding>, How), Error> {
        let (script, timeout) = (self.script.clone(), self.timeout);
        Ok((Box::new(Held { script, timeout, since: boot() }), How::Free))
    }

    fn status(&self) -> Result<Status, Error> {
        Ok(Status::new(&self.path, &self.path))
    }

    fn is_locked(&self) -> Result<bool, Error> {
        Ok(false)
    }

    fn evict(&self, _: bool) -> Result<Broken, Error> {
        Ok(Broken::WasFree)
    }

    fn renew(&self, _: Key, _: Option<Duration>) -> Result<(), Error> {
        self.script.call()
    }

    fn release(&self, _: Key) -> Result<(), Error> {
        self.script.call()
    }
}

struct Held {
    script: Arc<Script>,
    timeout: Duration,
    since: Duration,
}

impl Holding for Held {
    fn key(&self) -> Key {
        Key::new(1, Nonce(1))
    }

    fn deadline(&self) -> Duration {
        self.since + self.timeout - margin(self.timeout)
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn owner(&self) -> Owner {
        Owner::Nobody
    }

    fn renew(&mut self, request: RenewRequest) -> Result<(), Error> {
        let begun = boot();
        self.script.call()?;
        self.since = begun;
        self.timeout = request.timeout.unwrap_or(self.timeout);
        Ok(())
    }

    fn release(&mut self) -> Result<(), Error> {
        self.script.call()
    }
}

/// Returns a guard that is renewed automatically, and the reports of its losses.
fn renewed(name: &str, timeout: Duration) -> (Arc<Script>, Guard, Receiver<Error>) {
    let script = Script::of(name);
    let (sender, losses) = mpsc::channel();
    let lock = Lock::new(format!("scripted://{name}")).timeout(timeout).renew_automatically(true);
    let lock = lock.on_lost(move |error| {
        let copy = Error::new(error.kind(), error.to_string());
        assert_eq!(error.lost_reason(), Some(LostReason::RenewalFailed));
        sender.send(copy).unwrap();
    });
    (script, lock.acquire().unwrap(), losses)
}

#[test]
fn a_shorter_timeout_is_renewed_by_its_own_schedule() {
    let (script, guard, losses) = renewed("shorter", secs(3600));

    guard.set_timeout(secs(4)).unwrap();

    script.see_renewals(4);
    see_held(&guard);
    assert!(losses.try_recv().is_err());
}

#[test]
fn a_guard_that_was_revived_is_renewed_again() {
    let (script, guard, losses) = renewed("revived", secs(2));
    script.set(Calls::Fail);
    let error = losses.recv_timeout(secs(60)).unwrap();
    let cause = std::io::Error::from_raw_os_error(5).to_string();
    assert!(
        error.to_string().contains(&format!("could not be renewed in time ({cause}")),
        "{error}"
    );
    assert!(!guard.is_held() && guard.wait_lost(Duration::ZERO));

    script.set(Calls::Work);
    guard.renew().unwrap();

    see_held(&guard);
    script.see_renewals(3);
    // The next loss is reported too.
    script.set(Calls::Fail);
    losses.recv_timeout(secs(60)).unwrap();
}

/// Waits until the lock is held and not lost. A renewal may be late on a busy machine, and the guard
/// records its answer a moment after the call.
#[track_caller]
fn see_held(guard: &Guard) {
    let begun = boot();
    while !(guard.is_held() && guard.lost().is_none()) {
        assert!(boot() < begun + secs(60), "not held for a minute: {:?}", guard.lost());
        std::thread::yield_now();
    }
}

/// Returns the deadline of a guard that is not renewed meanwhile.
fn deadline(guard: &Guard) -> Duration {
    boot() + guard.remaining()
}

#[test]
fn failed_renewals_are_a_loss_only_after_the_deadline() {
    let (script, guard, losses) = renewed("failing", secs(2));
    script.set(Calls::Fail);
    let deadline = deadline(&guard);

    let error = losses.recv_timeout(secs(60)).unwrap();

    assert!(boot() >= deadline, "{:?} too early", deadline - boot());
    let cause = std::io::Error::from_raw_os_error(5).to_string();
    assert!(error.to_string().contains(&format!("in time ({cause}")), "{error}");
    assert_eq!(guard.renewal_failure(), Some(cause));
}

#[test]
fn nothing_is_lost_if_the_try_at_the_deadline_succeeds() {
    let (script, guard, losses) = renewed("back", secs(2));
    let until = deadline(&guard);
    script.set(Calls::FailUntil(until));

    script.see_renewals(2);

    assert!(boot() >= until && losses.try_recv().is_err());
    see_held(&guard);
    assert_eq!(guard.renewal_failure(), None);
}

#[test]
fn a_hanging_try_at_the_deadline_is_reported() {
    let (script, guard, losses) = renewed("back-and-hanging", secs(2));
    let deadline = deadline(&guard);
    script.set(Calls::HangFrom(deadline));

    let error = losses.recv_timeout(secs(60)).unwrap();

    let at = boot();
    // A failing assertion below drops the guard, and its release makes a call too.
    script.set(Calls::Work);
    assert!(at >= deadline, "{:?} too early", deadline - at);
    assert!(error.to_string().contains("the renewal call has not returned for "), "{error}");
    see_held(&guard);
}

#[test]
fn a_hanging_renewal_is_reported_at_the_deadline() {
    goes_well(|nth| {
        let (script, guard, losses) = renewed(&format!("hanging{nth}"), secs(4));
        script.set(Calls::Hang);
        let deadline = deadline(&guard);

        let error = losses.recv_timeout(secs(60)).unwrap();

        let (at, is_held) = (boot(), guard.is_held());
        // The call answers late, and nobody has taken the lock.
        script.set(Calls::Work);
        assert!(at >= deadline, "{:?} too early", deadline - at);
        assert!(error.to_string().contains("the renewal call has not returned for "), "{error}");
        assert!(!is_held);
        see_held(&guard);
        if at < deadline + secs(2) { Ok(()) } else { Err(at - deadline) }
    });
}

/// Lets calls hang as long as it lives: a guard cannot be dropped meanwhile.
struct Hang<'a>(&'a Script);

impl Hang<'_> {
    fn new(script: &Script) -> Hang<'_> {
        script.set(Calls::Hang);
        Hang(script)
    }
}

impl Drop for Hang<'_> {
    fn drop(&mut self) {
        self.0.set(Calls::Work);
    }
}

/// Returns a lock of this name, and the reasons of its losses.
fn reporting(name: &str) -> (Arc<Script>, Lock, Receiver<Option<LostReason>>) {
    let script = Script::of(name);
    let (sender, losses) = mpsc::channel();
    let lock = Lock::new(format!("scripted://{name}"))
        .on_lost(move |error| sender.send(error.lost_reason()).unwrap());
    (script, lock, losses)
}

#[test]
fn a_lock_without_a_chosen_timeout_is_renewed() {
    let (script, lock, losses) = reporting("default");

    let guard = lock.acquire().unwrap();

    script.see_renewals(1);
    assert!(guard.is_held() && losses.try_recv().is_err());
}

#[test]
fn a_chosen_timeout_is_a_fixed_one_whose_end_is_reported() {
    let (script, lock, losses) = reporting("fixed");
    let guard = lock.timeout(secs(1)).acquire().unwrap();
    let deadline = deadline(&guard);

    let reason = losses.recv_timeout(secs(60)).unwrap();

    assert!(boot() >= deadline, "{:?} too early", deadline - boot());
    assert_eq!(reason, Some(LostReason::Expired));
    assert_eq!(guard.lost().and_then(|error| error.lost_reason()), reason);
    assert_eq!(script.calls.lock().unwrap().1, 0, "renewed");
    // Nobody has taken it: it may be renewed, and its next end is reported too.
    guard.set_timeout(secs(3600)).unwrap();
    assert!(guard.is_held() && guard.lost().is_none());
    guard.set_timeout(secs(1)).unwrap();
    assert_eq!(losses.recv_timeout(secs(60)).unwrap(), reason);
}

#[test]
fn a_fixed_timeout_that_is_made_longer_ends_later() {
    let (_script, lock, losses) = reporting("prolonged");
    let guard = lock.timeout(secs(4)).acquire().unwrap();
    let before = deadline(&guard);

    guard.set_timeout(secs(5)).unwrap();

    let deadline = deadline(&guard);
    assert!(deadline > before && guard.is_held());
    losses.recv_timeout(secs(60)).unwrap();
    assert!(boot() >= deadline, "{:?} too early", deadline - boot());
}

#[test]
fn an_expired_lock_is_known_to_be_lost_without_a_callback() {
    let script = Script::of("silent");
    let guard = Lock::new("scripted://silent").timeout(ms(200)).acquire().unwrap();

    assert!(guard.wait_lost(secs(60)));
    while guard.is_held() {
        std::thread::yield_now();
    }

    assert_eq!(guard.lost().and_then(|e| e.lost_reason()), Some(LostReason::Expired));
    drop((guard, script));
}

#[test]
fn a_hanging_renewal_and_a_blocking_callback_delay_no_other_guard() {
    let (hanging, _stuck, _losses) = renewed("stuck", secs(2));
    let _hang = Hang::new(&hanging);
    let (blocked, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (sender, called) = mpsc::channel();
    Script::of("blocking");
    let blocking = Lock::new("scripted://blocking").timeout(ms(300)).on_lost(move |_| {
        sender.send(()).unwrap();
        let _ = wait.lock().unwrap().recv();
    });
    let expired = blocking.acquire().unwrap();
    called.recv_timeout(secs(60)).unwrap();

    let (script, guard, losses) = renewed("beside", secs(4));

    script.see_renewals(4);
    see_held(&guard);
    assert!(losses.try_recv().is_err());
    drop((blocked, expired));
}

#[test]
fn a_panicking_callback_stops_no_renewal() {
    Script::of("panicking");
    let panicking = Lock::new("scripted://panicking").timeout(ms(200));
    let (sender, called) = mpsc::channel();
    let guard = panicking
        .on_lost(move |_| {
            sender.send(()).unwrap();
            panic!("as the test wants");
        })
        .acquire()
        .unwrap();
    called.recv_timeout(secs(60)).unwrap();

    let (script, other, _losses) = renewed("unimpressed", secs(2));

    script.see_renewals(4);
    see_held(&other);
    assert!(!guard.is_held());
    guard.renew().unwrap();
    called.recv_timeout(secs(60)).unwrap();
}

/// Returns the threads of this process with a name like this.
#[cfg(target_os = "linux")]
fn threads(name: &str) -> Vec<PathBuf> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let threads = threads.flatten().map(|thread| thread.path());
    let name_of = |thread: &Path| std::fs::read_to_string(thread.join("comm"));
    threads.filter(|path| name_of(path).is_ok_and(|found| found.trim_end() == name)).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn all_guards_share_one_thread() {
    lockbydir_testbed::needs!(OwnProcess);
    let scripts: Vec<_> = (0..100).map(|nth| Script::of(&format!("many{nth}"))).collect();
    let guards: Vec<_> = (0..100)
        .map(|nth| Lock::new(format!("scripted://many{nth}")).timeout(secs(2)))
        .map(|lock| lock.renew_automatically(true).acquire().unwrap())
        .collect();

    for script in &scripts {
        script.see_renewals_in_all(3);
        // One that has no more to do may not have ended yet.
        while threads("lockbydir-renew").len() != 1 {
            std::thread::yield_now();
        }
    }

    guards.iter().for_each(see_held);
}

/// In a process where no other test has guards.
#[cfg(target_os = "linux")]
#[test]
fn the_thread_ends_after_the_last_guard_and_starts_again() {
    lockbydir_testbed::needs!(OwnProcess);
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());

    for _ in 0..2 {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            lock.acquire().unwrap().release().unwrap();
            seen.extend(threads("lockbydir-renew"));
        }
        // Only a pause of half a second between two of them may end it.
        assert!((1..10).contains(&seen.len()), "{} threads, one after the other", seen.len());
        while !threads("lockbydir-renew").is_empty() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_release_that_failed_may_be_tried_again() {
    let (script, guard, _losses) = renewed("releasing", secs(3600));
    script.set(Calls::Fail);
    assert_eq!(guard.release_by_ref().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(guard.release_by_ref().unwrap_err().kind(), ErrorKind::Io);
    script.set(Calls::Work);

    let before = script.calls.lock().unwrap().1;
    guard.release_by_ref().unwrap();
    guard.release_by_ref().unwrap();
    drop(guard);

    assert_eq!(script.calls.lock().unwrap().1, before + 1, "released once");
}

#[test]
fn an_engine_that_cannot_share_is_not_asked_to() {
    let (_script, guard, _losses) = renewed("unshared", secs(3600));
    let lock = Lock::new("scripted://unshared");

    let refused = [
        lock.acquire_shared().map(drop).unwrap_err(),
        lock.try_acquire_shared().map(drop).unwrap_err(),
        guard.downgrade().unwrap_err(),
    ];

    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("cannot be shared by readers"), "{error}");
    }
    assert!(!guard.is_shared() && guard.try_upgrade().unwrap());
    see_held(&guard);
}
