//! The doctor on good folders, and on faulty ones: a test's world answers its calls.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use lockbydir::doctor::{Examination, Finding, Grade, Other, Report, Verdict, examine};
use lockbydir::simulated::{Call, Errno, Kind, World, within};
use lockbydir::{ErrorKind, Interrupt, Patience};
use lockbydir_protocol::{Now, Origin, Process};

use crate::assert_empty;

/// Makes a call.
type Perform<'a> = dyn FnMut() -> Result<(), Errno> + 'a;
/// Answers a call, which it makes or does not make.
type Fault = fn(&Call<'_>, &mut Perform<'_>) -> Result<(), Errno>;

/// A world like the real system, except for one fault.
struct FaultyWorld {
    fault: Fault,
    /// How far the wall clock is ahead of the file system's.
    ahead: Duration,
}

impl FaultyWorld {
    fn with(fault: Fault) -> Rc<FaultyWorld> {
        Rc::new(FaultyWorld { fault, ahead: Duration::ZERO })
    }
}

impl World for FaultyWorld {
    fn call(
        &self,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        (self.fault)(call, perform)
    }

    fn is_hidden(&self) -> bool {
        false
    }

    fn sleep(&self, _until: Duration, _is_heard: &mut dyn FnMut() -> bool) {}

    fn now(&self) -> Now {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Now { boot: Duration::from_secs(1000), wall: wall + self.ahead }
    }

    fn nonce(&self) -> u128 {
        rand()
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

    fn is_gone(&self, _process: Process) -> bool {
        false
    }
}

/// Returns different bits each time.
fn rand() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    u128::from(RandomState::new().hash_one(0))
}

fn finding<'a>(report: &'a Report, name: &str) -> &'a Finding {
    report.findings.iter().find(|finding| finding.name == name).unwrap_or_else(|| {
        panic!("nothing on {name} in {report:#?}");
    })
}

/// Returns the doctor's report in a world with this fault.
fn report_with(fault: Fault) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let report = within(FaultyWorld::with(fault), || examine(folder.path()).unwrap());
    assert_eq!(report.verdict(), Verdict::NotSafe, "{report:#?}");
    report
}

fn ends_in(path: &Path, end: &str) -> bool {
    path.to_string_lossy().ends_with(end)
}

#[test]
fn a_good_folder_has_a_good_report_and_nothing_is_left_in_it() {
    let folder = tempfile::tempdir().unwrap();

    let report = examine(folder.path()).unwrap();

    let bad: Vec<_> =
        report.findings.iter().filter(|finding| finding.grade == Grade::Fatal).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(report.other, Other::Thread);
    let race = finding(&report, "race");
    assert!(race.seen.contains("none won by both") || race.grade == Grade::Untried, "{race:?}");
    assert_empty(folder.path());
}

#[test]
fn a_file_that_is_renamed_twice_is_not_safe() {
    let report = report_with(|call, perform| match call.kind {
        // The peer is first, but the answer says that we were.
        Kind::Rename if call.on.to_string_lossy().starts_with("probe-race-") => Ok(()),
        Kind::Rename => match perform() {
            Err(Errno::NOENT) => Ok(()),
            done => done,
        },
        _ => perform(),
    });

    assert_eq!(finding(&report, "rename-twice").grade, Grade::Fatal);
    assert_eq!(finding(&report, "race").grade, Grade::Fatal);
}

#[test]
fn a_full_directory_that_is_replaced_is_not_safe() {
    let report = report_with(|call, perform| {
        if call.kind == Kind::Install && call.to.is_some_and(|to| ends_in(to, "probe-full-3")) {
            fs::remove_dir_all(call.to.unwrap()).unwrap();
        }
        perform()
    });

    assert_eq!(finding(&report, "rename-over-full").grade, Grade::Fatal);
}

#[test]
fn a_full_directory_that_is_removed_is_not_safe() {
    let report = report_with(|call, perform| match (call.kind, perform()) {
        (Kind::RemoveDir, Err(_)) if ends_in(call.on, "probe-kept") => {
            fs::remove_dir_all(call.on).unwrap();
            Ok(())
        }
        (_, done) => done,
    });

    assert_eq!(finding(&report, "rmdir-full").grade, Grade::Fatal);
}

#[test]
fn a_full_directory_reported_as_removed_is_not_safe() {
    let report = report_with(|call, perform| match (call.kind, perform()) {
        (Kind::RemoveDir, Err(_)) if ends_in(call.on, "probe-kept") => Ok(()),
        (_, done) => done,
    });

    assert_eq!(finding(&report, "rmdir-full").grade, Grade::Fatal);
}

#[test]
fn a_directory_that_is_seen_under_both_names_is_not_safe() {
    let report = report_with(|call, perform| {
        let done = perform();
        if call.kind == Kind::Install && ends_in(call.on, "probe-free-stage") {
            fs::create_dir(call.on).unwrap();
        }
        done
    });

    assert_eq!(finding(&report, "rename-free").grade, Grade::Fatal);
}

#[test]
fn a_directory_that_both_install_is_not_safe() {
    let report = report_with(|call, perform| match call.kind {
        // The peer is first, but the answer says that we were.
        Kind::Install if call.on.to_string_lossy().contains("probe-plain-") => Ok(()),
        _ => perform(),
    });

    assert_eq!(finding(&report, "race-install-plain").grade, Grade::Fatal);
    assert_ne!(finding(&report, "race-install").grade, Grade::Fatal);
}

#[test]
fn short_name_limits_are_reported() {
    fn no_longer_than<const LONGEST: usize>(
        call: &Call<'_>,
        perform: &mut Perform<'_>,
    ) -> Result<(), Errno> {
        match call.kind {
            Kind::MakeFile if call.on.as_os_str().len() > LONGEST => Err(Errno::NAMETOOLONG),
            _ => perform(),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for (fault, longest, grade, meaning) in [
        (no_longer_than::<100> as Fault, 100, Grade::Fatal, "A lock's state is a name"),
        (no_longer_than::<145> as Fault, 145, Grade::Remark, "`run` needs 1"),
        (no_longer_than::<180> as Fault, 180, Grade::Remark, "labels are cut off"),
        (no_longer_than::<199> as Fault, 199, Grade::Remark, "labels are cut off"),
        (no_longer_than::<200> as Fault, 200, Grade::Remark, "The longest lock names"),
    ] {
        let report = within(FaultyWorld::with(fault), || examine(folder.path()).unwrap());
        let names = finding(&report, "names");
        assert_eq!(names.grade, grade, "{names:?}");
        assert!(names.meaning.contains(meaning), "{names:?}");
        assert!(names.seen.contains(&longest.to_string()), "{names:?}");
    }
}

#[test]
fn an_unexpected_failure_of_a_call_is_not_safe() {
    let report = report_with(|call, perform| match call.kind {
        Kind::Unlink if ends_in(call.on, "probe-gone") => Err(Errno::IO),
        _ => perform(),
    });

    let removal = finding(&report, "unlink-twice");
    assert_eq!(removal.grade, Grade::Fatal);
    assert!(removal.seen.starts_with("failed: "), "{removal:?}");
}

#[test]
fn no_rename_that_refuses_to_replace_is_a_remark() {
    let folder = tempfile::tempdir().unwrap();
    let fault = FaultyWorld::with(|call, perform| match call.kind {
        Kind::Install if ends_in(call.on, "probe-new-stage") => Err(Errno::INVAL),
        _ => perform(),
    });

    let report = within(fault, || examine(folder.path()).unwrap());

    assert_eq!(finding(&report, "rename-no-replace").grade, Grade::Remark);
    assert_ne!(report.verdict(), Verdict::NotSafe);
}

#[test]
fn the_offset_of_a_file_systems_clock_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let fault = Rc::new(FaultyWorld { fault: |_, perform| perform(), ahead: hour });

    let report = within(fault, || examine(folder.path()).unwrap());

    let clock = finding(&report, "clock");
    assert_eq!(clock.grade, Grade::Remark);
    let offset =
        clock.seen.split_once(" s behind ours").and_then(|(offset, _)| offset.parse().ok());
    // The two clocks are read one after the other, and a busy machine may pause in between.
    assert!(offset.is_some_and(|offset: f64| (3590.0..=3600.0).contains(&offset)), "{clock:?}");
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fault = FaultyWorld::with(|call, perform| match call.kind {
        Kind::MakeFile => Err(Errno::NOSPC),
        _ => perform(),
    });

    let error = within(fault, || examine(folder.path()).unwrap_err());

    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(error.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    assert_empty(folder.path());
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();

    let error = examine(folder.path().join("nowhere")).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::CannotMake);
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn two_hosts_that_meet_get_the_same_findings() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Patience::from(Duration::from_secs(60));
    let one = || Examination::of(folder.path()).with_host(patience).run();

    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(one);
        (one(), first.join().unwrap())
    });

    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first, second);
    assert_eq!(first.other, Other::Host);
    let peer = finding(&first, "peer");
    assert!(peer.seen.ends_with("the same kernel as here"), "{peer:?}");
    assert_ne!(finding(&first, "race").grade, Grade::Fatal, "{first:#?}");
    assert_eq!(finding(&first, "listing").grade, Grade::Good, "{first:#?}");
    assert_eq!(finding(&first, "peer-stamps").grade, Grade::Good, "{first:#?}");
    assert_empty(folder.path());
}

#[test]
fn a_missing_peer_is_reported_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Patience::from(Duration::from_millis(100));
    let begun = std::time::Instant::now();

    let error = Examination::of(folder.path()).with_host(patience).run().unwrap_err();

    assert!(error.is_patience_over(), "{error:?}");
    assert!(error.to_string().contains("no peer appeared"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_empty(folder.path());
}

#[test]
fn a_wait_for_another_host_can_be_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::new();
    let examination =
        Examination::of(folder.path()).with_host(Patience::FOREVER).interrupt(interrupt.clone());
    interrupt.raise();

    let error = examination.run().unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_empty(folder.path());
}

// On other systems the standard library cannot set back the time of a directory.
#[cfg(unix)]
#[test]
fn clean_removes_only_old_sandboxes_of_the_doctor() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let nonce = "00000000000000000000000007";
    let old = folder.path().join(format!("lockbydir-doctor.{nonce}"));
    fs::create_dir_all(old.join("probe-full/probe-other"))?;
    fs::write(old.join("probe-full/probe-other/probe-entry"), "")?;
    fs::write(old.join("probe-race-0-1"), "")?;
    let peer = folder.path().join(format!("lockbydir-doctor.{nonce}.peer"));
    fs::create_dir(&peer)?;
    fs::write(peer.join("letter"), "dear")?;
    fs::write(peer.join("probe-hello.x"), "")?;
    let others = folder.path().join("lockbydir-doctor.mine");
    fs::create_dir(&others)?;

    assert_eq!(lockbydir::clean(folder.path()).unwrap(), Vec::<std::path::PathBuf>::new());
    for room in [&old, &peer, &others] {
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        fs::File::open(room)?.set_modified(hour_ago)?;
    }
    let removed = lockbydir::clean(folder.path()).unwrap();

    assert_eq!(removed, std::slice::from_ref(&old));
    assert!(!old.exists() && others.exists());
    assert_eq!(fs::read(peer.join("letter"))?, b"dear");
    Ok(())
}
