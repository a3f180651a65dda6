//! An observer asks whether one lives who has let go meanwhile, and that is not read yet: a test's
//! world does so at that very moment.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use lockbydir::observe::{Event, Observer, What};
use lockbydir::simulated::{Call, Errno, World, within};
use lockbydir::{Key, Lock, Owner};
use lockbydir_protocol::{Now, Origin, Process};

use crate::{ms, secs};

/// A world like the real one, in which something is done when somebody asks who lives.
struct Meanwhile {
    begun: Instant,
    ahead: Cell<Duration>,
    /// And whether the one who was asked about is gone after that.
    deed: RefCell<Option<Box<dyn FnOnce() -> bool>>>,
    is_gone: Cell<bool>,
}

impl Meanwhile {
    fn new() -> Rc<Meanwhile> {
        let (begun, ahead) = (Instant::now(), Cell::default());
        Rc::new(Meanwhile { begun, ahead, deed: RefCell::default(), is_gone: Cell::default() })
    }

    fn when_asked(&self, deed: impl FnOnce() -> bool + 'static) {
        *self.deed.borrow_mut() = Some(Box::new(deed));
    }
}

impl World for Meanwhile {
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
        let deed = self.deed.borrow_mut().take();
        if let Some(deed) = deed {
            self.is_gone.set(deed());
        }
        self.is_gone.get()
    }
}

/// A lock that lives by this process.
fn taken(folder: &Path) -> (Lock, Key) {
    let lock = Lock::new(folder.join("jobs")).owner(Owner::Process(std::process::id()));
    let key = lock.acquire().unwrap().keep();
    (lock, key)
}

/// What is told until this has come, and for a while after that.
#[track_caller]
fn told(observer: &mut Observer, is_it: impl Fn(&What) -> bool) -> Vec<What> {
    let end = Instant::now() + secs(20);
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
fn who_released_before_it_ended_has_not_died() {
    let folder = tempfile::tempdir().unwrap();
    let world = Meanwhile::new();
    within(world.clone(), || {
        let (lock, key) = taken(folder.path());
        let mut observer = Observer::of(folder.path()).unwrap();
        told(&mut observer, |what| matches!(what, What::Acquired { .. }));

        world.when_asked(move || {
            lock.release(&key).unwrap();
            true
        });
        let told = told(&mut observer, |what| matches!(what, What::Released(_)));

        assert!(matches!(told[..], [What::Released(_)]), "{told:#?}");
    });
}

#[test]
fn who_renewed_after_all_has_not_let_it_expiry() {
    let folder = tempfile::tempdir().unwrap();
    let world = Meanwhile::new();
    within(world.clone(), || {
        let (lock, key) = taken(folder.path());
        let mut observer = Observer::of(folder.path()).unwrap();
        told(&mut observer, |what| matches!(what, What::Acquired { .. }));

        world.when_asked(move || {
            lock.renew(&key).unwrap();
            false
        });
        world.ahead.set(secs(3600));
        let told = told(&mut observer, |what| matches!(what, What::Renewed { .. }));

        assert!(matches!(told[..], [What::Renewed { .. }]), "{told:#?}");
    });
}

#[test]
fn who_left_the_queue_before_it_ended_has_not_died_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let world = Meanwhile::new();
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
        told(&mut observer, |what| matches!(what, What::Joined(_)));

        world.when_asked(move || {
            std::fs::remove_file(&ticket).unwrap();
            true
        });
        let told = told(&mut observer, |what| matches!(what, What::Left { .. }));

        let [What::Left { why, .. }] = &told[..] else { panic!("{told:#?}") };
        assert_eq!(*why, lockbydir::observe::Departure::Gone);
        lock.release(&key).unwrap();
    });
}
