//! System calls that fail, once or always.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use lockbydir::ErrorKind;
use lockbydir::engine::{self, boot};
use lockbydir::simulated::{self, Call, Errno, Kind, World};
use lockbydir_protocol::{Now, Origin, Process};

use crate::{assert_empty, entry, impatient, ms, secs};

/// A world like the real system, in which some calls of one kind fail.
struct Failing {
    kind: Kind,
    errno: Errno,
    times: Cell<usize>,
    here: (Origin, Process),
    host: String,
}

impl Failing {
    fn new(kind: Kind, errno: Errno, times: usize) -> Rc<Failing> {
        let times = Cell::new(times);
        Rc::new(Failing { kind, errno, times, here: engine::here(), host: engine::host() })
    }
}

impl World for Failing {
    fn call(
        &self,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if call.kind != self.kind || self.times.get() == 0 {
            return perform();
        }
        self.times.set(self.times.get() - 1);
        Err(self.errno)
    }

    fn is_hidden(&self) -> bool {
        false
    }

    fn sleep(&self, _: Duration, _: &mut dyn FnMut() -> bool) {
        std::thread::sleep(ms(1));
    }

    fn now(&self) -> Now {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Now { boot: boot_of_the_system(), wall }
    }

    fn nonce(&self) -> u128 {
        self.now().wall.as_nanos()
    }

    fn is_local(&self) -> bool {
        true
    }

    fn here(&self) -> (Origin, Process) {
        self.here
    }

    fn host(&self) -> String {
        self.host.clone()
    }

    fn is_gone(&self, _: Process) -> bool {
        false
    }
}

/// Within a test's world, the library's own clock would ask that world.
fn boot_of_the_system() -> Duration {
    std::thread::spawn(boot).join().unwrap()
}

/// In a process that has no renewer yet.
#[cfg(unix)]
#[test]
fn a_lock_without_a_renewer_is_not_acquired() {
    lockbydir_testbed::needs!(OwnProcess);
    let folder = tempfile::tempdir().unwrap();
    let world = Failing::new(Kind::Thread, Errno::AGAIN, 9);

    let error = simulated::within(world, || impatient(folder.path()).acquire()).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("no thread can be started"), "{error}");
    assert_empty(folder.path());
}

#[cfg(unix)]
const TEMPORARY: [Errno; 6] =
    [Errno::INTR, Errno::AGAIN, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO];

#[cfg(unix)]
#[test]
fn a_child_is_added_although_a_call_fails_once() {
    for (kind, errno) in
        [Kind::Rename, Kind::Open].into_iter().flat_map(|k| TEMPORARY.map(|e| (k, e)))
    {
        let folder = tempfile::tempdir().unwrap();
        let guard = impatient(folder.path()).acquire().unwrap();
        let world = Failing::new(kind, errno, 1);

        let named = simulated::within(world.clone(), || guard.name_child(std::process::id()));

        assert!(named.is_ok(), "{kind:?} {errno:?}: {named:?}");
        assert_eq!(world.times.get(), 0, "no call failed");
    }
}

#[cfg(unix)]
#[test]
fn a_lock_is_acquired_after_one_temporary_error() {
    for errno in TEMPORARY.into_iter().chain([Errno::STALE]) {
        for kind in [Kind::MakeDir, Kind::MakeFile, Kind::Install, Kind::Open] {
            let folder = tempfile::tempdir().unwrap();
            let lock = impatient(folder.path()).patience(secs(30));

            let got = simulated::within(Failing::new(kind, errno, 1), || lock.acquire());

            assert!(got.is_ok(), "{kind:?} {errno:?}: {got:?}");
        }
    }
}

/// A disk that fails once may be slow to wake up; a disk that fails repeatedly is reported long
/// before patience is over.
#[cfg(unix)]
#[test]
fn a_call_that_always_fails_is_tried_only_a_few_times() {
    for kind in [Kind::MakeDir, Kind::Install, Kind::Open] {
        let folder = tempfile::tempdir().unwrap();
        let lock = impatient(folder.path()).patience(secs(600));
        let world = Failing::new(kind, Errno::IO, usize::MAX);

        let error = simulated::within(world.clone(), || lock.acquire()).unwrap_err();

        let failed = usize::MAX - world.times.get();
        assert_eq!(error.raw_os_error(), Some(5), "{error}");
        assert!((9..=40).contains(&failed), "{kind:?} failed {failed} times");
    }
}

#[cfg(unix)]
#[test]
fn a_permanent_error_is_reported_unchanged() {
    for errno in TEMPORARY {
        let folder = tempfile::tempdir().unwrap();
        let guard = impatient(folder.path()).acquire().unwrap();

        let error = simulated::within(Failing::new(Kind::Rename, errno, 99), || guard.renew());

        let error = error.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()), "{error}");
        guard.release().unwrap();
    }
}

/// An empty directory would block everybody until it is old.
#[cfg(unix)]
#[test]
fn a_directory_that_may_not_be_removed_any_more_is_left_open() {
    for errno in [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::IO] {
        let folder = tempfile::tempdir().unwrap();
        let guard = impatient(folder.path()).acquire().unwrap();
        let before = guard.token();

        simulated::within(Failing::new(Kind::RemoveDir, errno, 1), || guard.release()).unwrap();

        assert!(entry(folder.path()).starts_with("v1.open."), "{errno:?}");
        let next = impatient(folder.path()).acquire().unwrap();
        assert!(next.token() > before);
        next.release().unwrap();
        assert_empty(folder.path());
    }
}
