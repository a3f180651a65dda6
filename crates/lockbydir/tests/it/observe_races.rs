//! An observer checks whether a holder or waiter is alive that has released or left meanwhile, in
//! an event that is not read yet. A test's world does that at exactly this moment.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use lockbydir::observe::{Event, Observer, What};
use lockbydir::simulated::{Call, Errno, World, within};
use lockbydir::{Key, Lock, Owner};
use lockbydir_protocol::{Now, Origin, Process};

use crate::{ms, secs};

/// A world like the real system, in which an action runs when the observer checks whether a process
/// is alive.
struct ActingWorld {
    begun: Instant,
    ahead: Cell<Duration>,
    /// Runs at the next check; returns whether the process is gone after that.
    action: RefCell<Option<Box<dyn FnOnce() -> bool>>>,
    is_gone: Cell<bool>,
}

impl ActingWorld {
    fn new() -> Rc<ActingWorld> {
        let (begun, ahead) = (Instant::now(), Cell::default());
        Rc::new(ActingWorld { begun, ahead, action: RefCell::default(), is_gone: Cell::default() })
    }

    fn when_asked(&self, action: impl FnOnce() -> bool + 'static) {
        *self.action.borrow_mut() = Some(Box::new(action));
    }
}

impl World for ActingWorld {
    fn call(
        &self,
        _: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        perform()
    }

    fn is_hidden(&self) -> bool {
        false
    }

    fn sleep(&self, _: Duration, _: &mut dyn FnMut() -> bool) {}

    fn now(&self) -> Now {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Now { boot: secs(1000) + self.begun.elapsed() + self.ahead.get(), wall }
    }

    fn nonce(&self) -> u128 {
        use std::hash::{BuildHasher, RandomState};
        u128::from(RandomState::new().hash_one(0))
    }

    fn is_local(&self) -> bool {
        true
    }

    fn here(&self) -> (Origin, Process) {
        (Origin { boot: 1, time: 1, pids: 1 }, Process { pid: 1, start: 1 })
    }

    fn host(&self) -> String {
        "here".into()
    }

    fn is_gone(&self, _: Process) -> bool {
        let action = self.action.borrow_mut().take();
        if let Some(action) = action {
            self.is_gone.set(action());
        }
        self.is_gone.get()
    }
}

/// Acquires a lock whose life depends on this process.
fn acquired(folder: &Path) -> (Lock, Key) {
    let lock = Lock::new(folder.join("jobs")).owner(Owner::Process(std::process::id()));
    let key = lock.acquire().unwrap().keep();
    (lock, key)
}

/// Returns the events up to the first that matches, and those of a while after it.
#[track_caller]
fn events_until(observer: &mut Observer, is_it: impl Fn(&What) -> bool) -> Vec<What> {
    let end = Instant::now() + secs(60);
    let mut all: Vec<What> = Vec::new();
    let mut more = |all: &mut Vec<What>| {
        let what = |event: Event| event.what;
        all.extend(observer.next(ms(300)).unwrap().into_iter().map(what));
    };
    while !all.iter().any(&is_it) {
        assert!(Instant::now() < end, "only this came: {all:#?}");
        more(&mut all);
    }
    for _ in 0..3 {
        more(&mut all);
    }
    all
}

#[test]
fn a_holder_that_released_before_it_ended_has_not_died() {
    let folder = tempfile::tempdir().unwrap();
    let world = ActingWorld::new();
    within(world.clone(), || {
        let (lock, key) = acquired(folder.path());
        let mut observer = Observer::of(folder.path()).unwrap();
        events_until(&mut observer, |what| matches!(what, What::Acquired { .. }));

        world.when_asked(move || {
            lock.release(&key).unwrap();
            true
        });
        let events = events_until(&mut observer, |what| matches!(what, What::Released(_)));

        assert!(matches!(events[..], [What::Released(_)]), "{events:#?}");
    });
}

#[test]
fn a_holder_that_renewed_late_has_not_expired() {
    let folder = tempfile::tempdir().unwrap();
    let world = ActingWorld::new();
    within(world.clone(), || {
        let (lock, key) = acquired(folder.path());
        let mut observer = Observer::of(folder.path()).unwrap();
        events_until(&mut observer, |what| matches!(what, What::Acquired { .. }));

        world.when_asked(move || {
            lock.renew(&key).unwrap();
            false
        });
        world.ahead.set(secs(3600));
        let events = events_until(&mut observer, |what| matches!(what, What::Renewed { .. }));

        assert!(matches!(events[..], [What::Renewed { .. }]), "{events:#?}");
    });
}

#[test]
fn a_waiter_that_left_before_it_ended_has_not_died() {
    let folder = tempfile::tempdir().unwrap();
    let world = ActingWorld::new();
    within(world.clone(), || {
        let lock = Lock::new(folder.path().join("jobs")).owner(Owner::Nobody);
        let key = lock.acquire().unwrap().keep();
        let queue = folder.path().join("jobs.lockdir.queue");
        std::fs::create_dir(&queue).unwrap();
        let ticket = queue.join(
            "t1.1.00000000000000000000000001.5.0000000000000001.00000001.00000001.7-7.here.-",
        );
        crate::queue::make_ticket(&ticket);
        let mut observer = Observer::of(folder.path()).unwrap();
        events_until(&mut observer, |what| matches!(what, What::Joined(_)));

        world.when_asked(move || {
            std::fs::remove_file(&ticket).unwrap();
            true
        });
        let events = events_until(&mut observer, |what| matches!(what, What::Left { .. }));

        let [What::Left { why, .. }] = &events[..] else { panic!("{events:#?}") };
        assert_eq!(*why, lockbydir::observe::Departure::Gone);
        lock.release(&key).unwrap();
    });
}
