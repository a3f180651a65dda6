//! The doctor on good places, and on ones that lie: a test's world answers its calls.

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
/// Answers a call that it makes, or does not.
type Lie = fn(&Call<'_>, &mut Perform<'_>) -> Result<(), Errno>;

/// A world like the real one, but for one lie.
struct Liar {
    lie: Lie,
    /// How far the wall clock is ahead of the file system's.
    ahead: Duration,
}

impl Liar {
    fn lying(lie: Lie) -> Rc<Liar> {
        Rc::new(Liar { lie, ahead: Duration::ZERO })
    }
}

impl World for Liar {
    fn call(
        &self,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        (self.lie)(call, perform)
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

/// Other bits each time.
fn rand() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    u128::from(RandomState::new().hash_one(0))
}

fn finding<'a>(report: &'a Report, name: &str) -> &'a Finding {
    report.findings.iter().find(|finding| finding.name == name).unwrap_or_else(|| {
        panic!("nothing on {name} in {report:#?}");
    })
}

/// What the doctor finds where this lie is told.
fn examined_with(lie: Lie) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let report = within(Liar::lying(lie), || examine(folder.path()).unwrap());
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
fn who_is_told_twice_that_one_file_was_renamed_is_told_that_it_is_not_safe() {
    let report = examined_with(|call, perform| match call.kind {
        // The other one comes first, and we are told that we did.
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
    let report = examined_with(|call, perform| {
        if call.kind == Kind::Install && call.to.is_some_and(|to| ends_in(to, "probe-full-3")) {
            fs::remove_dir_all(call.to.unwrap()).unwrap();
        }
        perform()
    });

    assert_eq!(finding(&report, "rename-over-full").grade, Grade::Fatal);
}

#[test]
fn a_full_directory_that_is_removed_is_not_safe() {
    let report = examined_with(|call, perform| match (call.kind, perform()) {
        (Kind::RemoveDir, Err(_)) if ends_in(call.on, "probe-kept") => {
            fs::remove_dir_all(call.on).unwrap();
            Ok(())
        }
        (_, done) => done,
    });

    assert_eq!(finding(&report, "rmdir-full").grade, Grade::Fatal);
}

#[test]
fn a_full_directory_that_is_said_to_be_removed_is_not_safe() {
    let report = examined_with(|call, perform| match (call.kind, perform()) {
        (Kind::RemoveDir, Err(_)) if ends_in(call.on, "probe-kept") => Ok(()),
        (_, done) => done,
    });

    assert_eq!(finding(&report, "rmdir-full").grade, Grade::Fatal);
}

#[test]
fn a_directory_that_is_seen_under_both_names_is_not_safe() {
    let report = examined_with(|call, perform| {
        let done = perform();
        if call.kind == Kind::Install && ends_in(call.on, "probe-free-stage") {
            fs::create_dir(call.on).unwrap();
        }
        done
    });

    assert_eq!(finding(&report, "rename-free").grade, Grade::Fatal);
}

#[test]
fn both_who_install_one_directory_are_not_safe() {
    let report = examined_with(|call, perform| match call.kind {
        // The other one comes first, and we are told that we did.
        Kind::Install if call.on.to_string_lossy().contains("probe-plain-") => Ok(()),
        _ => perform(),
    });

    assert_eq!(finding(&report, "race-install-plain").grade, Grade::Fatal);
    assert_ne!(finding(&report, "race-install").grade, Grade::Fatal);
}

#[test]
fn names_too_short_for_any_entry_are_not_safe_and_shorter_ones_than_usual_are_remarked() {
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
    for (lie, longest, grade, meaning) in [
        (no_longer_than::<100> as Lie, 100, Grade::Fatal, "A lock's state is a name"),
        (no_longer_than::<145> as Lie, 145, Grade::Remark, "`run` needs 1"),
        (no_longer_than::<180> as Lie, 180, Grade::Remark, "labels are cut off"),
        (no_longer_than::<199> as Lie, 199, Grade::Remark, "labels are cut off"),
        (no_longer_than::<200> as Lie, 200, Grade::Remark, "The longest names"),
    ] {
        let report = within(Liar::lying(lie), || examine(folder.path()).unwrap());
        let names = finding(&report, "names");
        assert_eq!(names.grade, grade, "{names:?}");
        assert!(names.meaning.contains(meaning), "{names:?}");
        assert!(names.seen.contains(&longest.to_string()), "{names:?}");
    }
}

#[test]
fn a_call_that_fails_for_no_reason_is_not_safe() {
    let report = examined_with(|call, perform| match call.kind {
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
    let lie = Liar::lying(|call, perform| match call.kind {
        Kind::Install if ends_in(call.on, "probe-new-stage") => Err(Errno::INVAL),
        _ => perform(),
    });

    let report = within(lie, || examine(folder.path()).unwrap());

    assert_eq!(finding(&report, "rename-no-replace").grade, Grade::Remark);
    assert_ne!(report.verdict(), Verdict::NotSafe);
}

#[test]
fn a_file_system_with_another_clock_is_told_how_far_it_is_off() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let lie = Rc::new(Liar { lie: |_, perform| perform(), ahead: hour });

    let report = within(lie, || examine(folder.path()).unwrap());

    let clock = finding(&report, "clock");
    assert_eq!(clock.grade, Grade::Remark);
    assert!(clock.seen.starts_with("3600.0 s behind ours"), "{clock:?}");
}

#[test]
fn a_disk_that_is_full_is_no_report_but_an_error_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let lie = Liar::lying(|call, perform| match call.kind {
        Kind::MakeFile => Err(Errno::NOSPC),
        _ => perform(),
    });

    let error = within(lie, || examine(folder.path()).unwrap_err());

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
fn two_who_meet_have_the_same_findings_and_leave_nothing() {
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
fn who_waits_for_another_host_in_vain_says_so_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Patience::from(Duration::from_millis(100));
    let begun = std::time::Instant::now();

    let error = Examination::of(folder.path()).with_host(patience).run().unwrap_err();

    assert!(error.is_patience_over(), "{error:?}");
    assert!(error.to_string().contains("nobody came"), "{error}");
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

// Elsewhere a directory cannot be dated back by the standard library.
#[cfg(unix)]
#[test]
fn clean_removes_what_a_killed_doctor_left_when_it_is_old_and_nothing_else() -> std::io::Result<()>
{
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
