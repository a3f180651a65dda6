//! The verb `doctor`: its output, its exit codes, two at once, and that it leaves nothing behind. The
//! proofs try it on file systems that lie.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use lockbydir_testbed::needs;
use serde_json::Value;

use crate::attacks::{Arena, VICTIM};
use crate::{Folder, Ran, command_in, until};

const NONCE: &str = "00000000000000000000000007";

fn started(folder: &Folder, args: &[&str]) -> Child {
    let mut command = folder.command(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("lockbydir starts")
}

fn ended(child: Child) -> Ran {
    Ran::of(child.wait_with_output().expect("it ends"))
}

#[test]
fn a_good_folder_is_safe_and_the_table_fits_80_columns() {
    let folder = Folder::new();

    let ran = folder.run(&["doctor"]);

    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.err, "");
    assert!(ran.out.contains("tried by two processes"), "{}", ran.out);
    assert!(ran.out.lines().last().unwrap().starts_with("safe to lock in"), "{}", ran.out);
    let widest = ran.out.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{}", ran.out);
    assert!(!ran.out.contains('\x1b'), "{}", ran.out);
}

#[test]
fn json_has_the_same_findings_as_the_table() {
    let folder = Folder::new();
    let dir = folder.path().to_str().unwrap();

    let ran = folder.run(&["doctor", "--json", dir]);

    assert_eq!(ran.code, 0, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.out).expect("one object");
    assert_eq!(report["dir"], dir);
    assert_eq!(report["with"], "process");
    assert!(report["verdict"].as_str().unwrap().starts_with("safe"), "{report}");
    assert!(report["file_system"]["kind"].is_string(), "{report}");
    let findings = report["findings"].as_array().unwrap();
    let names: BTreeSet<_> = findings.iter().map(|found| found["name"].as_str()).collect();
    assert_eq!(names.len(), findings.len(), "each has a name of its own: {report}");
    for finding in findings {
        for key in ["name", "grade", "tried", "seen", "meaning"] {
            assert!(!finding[key].as_str().unwrap().is_empty(), "{finding}");
        }
        let grade = finding["grade"].as_str().unwrap();
        assert!(["good", "remark", "untried"].contains(&grade), "{finding}");
    }
}

#[test]
fn two_at_once_find_each_other_and_agree() {
    let folder = Folder::new();
    let args = ["doctor", "--json", "--peer", "--patience", "60s"];
    let (one, other) = (started(&folder, &args), started(&folder, &args));

    let (one, other) = (ended(one), ended(other));

    assert_eq!((one.code, other.code), (0, 0), "{one:?} {other:?}");
    assert_eq!(one.out, other.out);
    let report: Value = serde_json::from_str(&one.out).expect("one object");
    assert_eq!(report["with"], "host");
    let findings = report["findings"].as_array().unwrap();
    let peer = findings.iter().find(|found| found["name"] == "peer").unwrap();
    assert_eq!(peer["meaning"], "This says nothing on two hosts.");
}

#[test]
fn a_missing_peer_is_reported() {
    let folder = Folder::new();

    let ran = folder.run(&["doctor", "--peer", "-w", "50ms"]);

    ran.refused(75, "no peer appeared; run `lockbydir doctor --peer` on the other host");
}

#[test]
fn a_signal_ends_the_wait_for_a_peer_and_nothing_is_left() {
    let folder = Folder::new();
    let child = started(&folder, &["doctor", "--peer"]);
    until("the folder to meet in", || !folder.names().is_empty());

    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = ended(child);

    ran.refused(130, "was interrupted");
}

#[test]
fn an_unexaminable_folder_is_an_error_with_advice() {
    let folder = Folder::new();
    fs::write(folder.path().join("file"), "").unwrap();

    folder.run(&["doctor", "nowhere"]).refused(73, "make the folder first");
    folder.run(&["doctor", "file"]).refused(73, "name a folder");
    folder.run(&["doctor", "/proc"]).refused(73, "nothing can be made there");
    folder.run(&["doctor", "etcd://host:2379/jobs"]).refused(64, "is no folder");
    let ran = folder.run(&["doctor", "-w", "3s"]);
    assert_eq!(ran.code, 64, "only a peer is waited for: {ran:?}");
    fs::remove_file(folder.path().join("file")).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_with_its_reason() {
    needs!(AnotherUser);
    let arena = Arena::sticky();
    arena.attackers_directory("theirs", 0o755);

    arena.run_within(VICTIM, &["doctor", "theirs"], Duration::from_secs(5)).refused(77, "theirs");
}

#[test]
fn a_folder_on_a_read_only_disk_is_refused_with_its_reason() {
    needs!(Mounts);
    let mount = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o ro lockbydir \"$M\"; \"$L\" doctor \"$M\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .env("M", mount.path())
        .env("L", env!("CARGO_BIN_EXE_lockbydir"))
        .output()
        .expect("unshare runs");
    Ran::of(output).refused(73, "; nothing can be locked there");
}

#[test]
fn a_world_writable_folder_gets_a_remark() {
    needs!(AnotherUser);
    let arena = Arena::without_sticky();

    let ran = arena.run_within(VICTIM, &["doctor"], Duration::from_secs(30));

    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("mode 777"), "{}", ran.out);
    assert!(ran.out.contains("safe to lock in, with"), "{}", ran.out);
}

#[test]
fn the_other_process_ends_with_the_first_one() {
    let folder = Folder::new();
    let room = folder.path().join(format!("lockbydir-doctor.{NONCE}"));
    fs::create_dir(&room).unwrap();
    let mut command = command_in(folder.path(), &["doctor-assistant", room.to_str().unwrap()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");

    drop(child.stdin.take());

    assert!(child.wait().unwrap().success());
    fs::remove_dir(&room).unwrap();
}

#[test]
fn clean_leaves_the_folders_of_another_users_doctor_alone() {
    needs!(AnotherUser);
    let arena = Arena::sticky();
    let name = format!("lockbydir-doctor.{NONCE}");
    arena.attackers_directory(&name, 0o777);
    arena.attackers_file(format!("{name}/probe-race-0-1"), rustix::fs::FileType::RegularFile);
    let day_ago = SystemTime::now() - Duration::from_secs(24 * 3600);
    fs::File::open(arena.path(&name)).unwrap().set_modified(day_ago).unwrap();
    let link = "lockbydir-doctor.0000000000000000000000000a";
    arena.attackers_file(link, rustix::fs::FileType::Symlink);
    let before = arena.seen();

    let ran = arena.run(VICTIM, &["clean"]);

    assert_eq!((ran.code, &*ran.out), (0, ""), "{ran:?}");
    assert_eq!(arena.seen(), before);
}
