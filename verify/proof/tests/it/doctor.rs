//! The doctor on file systems that lie or lack features (FUSE), and locks there: a lock is also refused where
//! the doctor reports "not safe", as far as its quick check detects it.

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use lockbydir::{
    ErrorKind, Lock,
    doctor::{Finding, Grade, Report, Verdict, examine},
};
use lockbydir_testbed::needs;
use tempfile::TempDir;

use crate::stage::Stage;

const PASSTHROUGH: &str = env!("CARGO_BIN_EXE_lockbydir-passthrough");

/// A folder through FUSE.
struct Mounted {
    place: TempDir,
    server: Child,
    /// Only the test that has it may measure and count.
    _stage: Stage,
}

impl Mounted {
    fn with(faults: &[&str]) -> Self {
        let stage = Stage::on_tmpfs();
        let place = tempfile::tempdir().expect("a folder");
        let (source, at) = (place.path().join("source"), place.path().join("at"));
        for folder in [&source, &at] {
            std::fs::create_dir(folder).expect("a folder");
        }
        let mut command = Command::new(PASSTHROUGH);
        let mut server = command.args([&source, &at]).args(faults).spawn().expect("it starts");
        let end = Instant::now() + Duration::from_secs(20);
        while !is_mounted(&at) {
            let ended = server.try_wait().expect("it can be asked");
            assert!(ended.is_none() && Instant::now() < end, "there is no FUSE here");
            std::thread::sleep(Duration::from_millis(2));
        }
        Self { place, server, _stage: stage }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.place.path().join("at")
    }

    fn examined(&self) -> Report {
        let report = examine(self.folder()).expect("a report");
        let names: Vec<_> = std::fs::read_dir(self.place.path().join("source"))
            .expect("the folder below")
            .map(|found| found.expect("a name").file_name())
            .collect();
        assert!(names.is_empty(), "left behind: {names:?}");
        report
    }

    fn try_to_lock(&self) -> Result<(), lockbydir::Error> {
        let guard = Lock::new(self.folder().join("jobs")).try_acquire()?;
        guard.expect("it is free").release()
    }
}

fn is_mounted(at: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let is_at = |line: &str| line.split(' ').nth(4).map(|path| path.replace("\\040", " "));
    mounts.lines().any(|line| is_at(line).as_deref() == at.to_str())
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.folder()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _ = Command::new("umount").arg("-l").arg(self.folder()).status();
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

#[track_caller]
fn finding<'a>(report: &'a Report, name: &str) -> &'a Finding {
    let found = report.findings.iter().find(|finding| finding.name == name);
    found.unwrap_or_else(|| panic!("nothing on {name} in {report:#?}"))
}

#[track_caller]
fn assert_not_safe(report: &Report, name: &str) {
    assert_eq!(finding(report, name).grade, Grade::Fatal, "{report:#?}");
    assert_eq!(report.verdict(), Verdict::NotSafe, "{report:#?}");
}

/// Checks that a lock is refused there, with this reason.
#[track_caller]
fn assert_refused(mounted: &Mounted, why: &str) {
    for _ in 0..2 {
        let error = mounted.try_to_lock().expect_err("it must be refused");
        assert_eq!(error.kind(), ErrorKind::Unfit, "{error:?}");
        assert!(error.is_unfit());
        let text = error.to_string();
        assert!(text.contains(why) && text.contains("`lockbydir doctor "), "{text}");
    }
}

#[test]
fn a_correct_fuse_is_safe_with_a_remark_on_sharing() {
    needs!(Fuse);
    let mounted = Mounted::with(&[]);

    let report = mounted.examined();

    assert_eq!(report.verdict(), Verdict::SafeWithRemarks, "{report:#?}");
    assert!(!report.file_system.is_local);
    let remarks = report.findings.iter().filter(|finding| finding.grade == Grade::Remark);
    let remarks: Vec<&str> = remarks.map(|finding| &*finding.name).collect();
    // In a user namespace root is another user, who owns a folder above.
    let is_above_ours = std::fs::metadata("/").expect("a root folder").uid() == 0;
    assert_eq!(
        remarks,
        if is_above_ours { &["file-system"][..] } else { &["file-system", "folder"] }
    );
    mounted.try_to_lock().expect("a lock");
}

#[test]
fn renaming_one_file_twice_is_not_safe_and_locks_are_refused() {
    needs!(Fuse);
    let mounted = Mounted::with(&["--lies", "rename-twice"]);

    assert_refused(&mounted, "rename one file twice");
    let report = mounted.examined();

    assert_not_safe(&report, "rename-twice");
    assert_not_safe(&report, "race");
}

#[test]
fn a_lock_with_the_check_off_relies_on_looks_not_on_answers() {
    needs!(Fuse);
    let mounted = Mounted::with(&["--lies", "rename-twice"]);
    lockbydir::simulated::take_mounts_as_known(true);

    let locked = mounted.try_to_lock();

    lockbydir::simulated::take_mounts_as_known(false);
    locked.expect("a lock");
}

#[test]
fn replacing_full_directories_is_not_safe_and_locks_are_refused() {
    needs!(Fuse);
    let mounted = Mounted::with(&["--lies", "replace-full"]);

    assert_refused(&mounted, "rename over a full one");
    let report = mounted.examined();

    assert_not_safe(&report, "rename-over-full");
    assert_not_safe(&report, "race-install-plain");
}

/// One try in four detects nothing, so a lock is refused by several tries.
#[test]
fn sometimes_replacing_full_directories_is_detected_too() {
    needs!(Fuse);
    let mounted = Mounted::with(&["--lies", "replace-full-at-times"]);

    assert_refused(&mounted, "rename over a full one");
    let report = mounted.examined();

    assert_not_safe(&report, "rename-over-full");
}

#[test]
fn removing_full_directories_is_not_safe_and_locks_are_refused() {
    needs!(Fuse);
    let mounted = Mounted::with(&["--lies", "rmdir-full"]);

    assert_refused(&mounted, "rmdir of a full one");
    let report = mounted.examined();

    assert_not_safe(&report, "rmdir-full");
}

#[test]
fn old_listings_are_not_safe() {
    needs!(Fuse);
    let mounted = Mounted::with(&["--lies", "stale-list"]);

    assert_refused(&mounted, "afterwards there is");
    let report = mounted.examined();

    assert_not_safe(&report, "rename-free");
}

#[test]
fn missing_features_are_remarked_and_locks_work_without_them() {
    needs!(Fuse);
    let mounted = Mounted::with(&["--lack", "no-replace,flock,named-pipes"]);

    let report = mounted.examined();

    assert_eq!(report.verdict(), Verdict::SafeWithRemarks, "{report:#?}");
    for name in ["rename-no-replace", "flock", "pipes"] {
        assert_eq!(finding(&report, name).grade, Grade::Remark, "{report:#?}");
    }
    mounted.try_to_lock().expect("a lock");
}

#[test]
fn unusual_clocks_stamps_and_case_rules_are_remarked() {
    needs!(Fuse);
    let mounted = Mounted::with(&["--clock", "3600", "--granularity", "2s", "--case-insensitive"]);

    let report = mounted.examined();

    assert_eq!(report.verdict(), Verdict::SafeWithRemarks, "{report:#?}");
    for (name, seen) in [("clock", "ahead of ours"), ("stamps", "steps of 2 s"), ("case", "found")]
    {
        let found = finding(&report, name);
        assert_eq!(found.grade, Grade::Remark, "{found:?}");
        assert!(found.seen.contains(seen), "{found:?}");
    }
    mounted.try_to_lock().expect("a lock");
}

#[test]
fn a_mount_is_checked_once_per_process() {
    needs!(Fuse);
    let mounted = Mounted::with(&[]);
    let changes = || lockbydir::simulated::operations();
    let lock_once = || {
        let before = changes();
        let begun = Instant::now();
        mounted.try_to_lock().expect("a lock");
        println!("{:?}", begun.elapsed());
        changes() - before
    };

    let (first, second, third) = (lock_once(), lock_once(), lock_once());

    assert!(first > second, "{first} changes at first, then {second}");
    assert_eq!(second, third);
}
