//! Full disks and read-only disks: small tmpfs mounts in a mount namespace of the test's own.

use std::process::Command;

use lockbydir_testbed::needs;

use crate::Ran;

/// Runs a script in a new mount namespace with a tmpfs at `$M`, the program as `$L`, and a folder
/// outside as `$T`.
fn with_tmpfs(options: &str, script: &str) -> Ran {
    let mount = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let script =
        format!("set -e; mount -t tmpfs -o {options} lockbydir \"$M\"; cd \"$M\"; {script}");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .env("M", mount.path())
        .env("T", outside.path())
        .env("L", env!("CARGO_BIN_EXE_lockbydir"))
        .output()
        .expect("unshare runs");
    Ran::of(output)
}

/// Fills the rest of the disk with empty files.
const FILL: &str = "n=0; while (: > fill.$n) 2>/dev/null; do n=$((n+1)); done;";

#[test]
fn acquiring_on_a_full_disk_waits_and_leaves_nothing() {
    needs!(Mounts);
    let ran = with_tmpfs(
        "nr_inodes=12",
        &format!(
            "{FILL} code=0; \"$L\" run -w 300ms jobs -- true || code=$?; ls -d jobs* || true; echo code $code"
        ),
    );
    assert!(ran.err.contains("No space left on device"), "{ran:?}");
    assert_eq!(ran.out, "code 74\n", "{ran:?}");

    // There is room for the directory, but none for the entry in it.
    let ran = with_tmpfs(
        "nr_inodes=12",
        &format!(
            "{FILL} rm fill.0; code=0; \"$L\" run -w 300ms jobs -- true || code=$?; ls -d jobs* || true; echo code $code"
        ),
    );
    assert!(ran.err.contains("No space left on device"), "{ran:?}");
    assert_eq!(ran.out, "code 74\n", "{ran:?}");
}

#[test]
fn freed_room_ends_the_wait() {
    needs!(Mounts);
    let script = format!(
        "{FILL} mkfifo \"$T\"/line; (\"$L\" run -w 20s jobs -- echo in > \"$T\"/line) & sleep 0.3; rm fill.*; cat \"$T\"/line; wait"
    );
    let ran = with_tmpfs("nr_inodes=12", &script);
    assert_eq!((ran.code, ran.out.as_str()), (0, "in\n"), "{ran:?}");
}

#[test]
fn a_waiter_for_room_reports_that() {
    needs!(Mounts);
    let script = format!(
        "{FILL} \"$L\" run -w forever jobs -- true 2> \"$T\"/err & waiter=$!
         until grep -qs space \"$T\"/err; do sleep 0.05; done; rm \"$M\"/fill.*; wait $waiter; cat \"$T\"/err"
    );
    let ran = with_tmpfs("nr_inodes=12", &script);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.starts_with("lockbydir: waiting ") && ran.out.contains("; free some space"),
        "{ran:?}"
    );
}

#[test]
fn renewal_and_release_need_no_room() {
    needs!(Mounts);
    let script = format!(
        "K=$(\"$L\" acquire -t 20s jobs); {FILL}
         \"$L\" renew jobs $K -t 30s; \"$L\" status jobs --json | grep timeout_s; \"$L\" release jobs $K; ls -d jobs* || echo none"
    );
    let ran = with_tmpfs("nr_inodes=12", &script);
    assert_eq!(ran.out.trim(), "\"timeout_s\": 30.0,\nnone", "{ran:?}");

    let script =
        format!("\"$L\" run -t 300ms jobs -- sh -c '{FILL} sleep 1'; ls -d jobs* || echo none");
    let ran = with_tmpfs("nr_inodes=12", &script);
    assert_eq!((ran.code, ran.out.trim()), (0, "none"), "{ran:?}");
}

#[test]
fn a_read_only_disk_is_reported_before_the_deadline() {
    needs!(Mounts);
    let ran = with_tmpfs("size=1m", "mount -o remount,bind,ro \"$M\"; \"$L\" run jobs -- true");
    ran.refused(73, "Read-only file system");

    let script = "code=0; \"$L\" run -t 6s jobs -- sh -c 'mount -o remount,bind,ro \"$M\"; trap \"echo asked; exit\" TERM; while :; do sleep 0.01; done' || code=$?; echo code $code";
    let ran = with_tmpfs("size=1m", script);
    assert_eq!(ran.out, "asked\ncode 76\n", "{ran:?}");
    assert!(ran.err.contains("could not be renewed in time (Read-only file system"), "{ran:?}");

    let ran = with_tmpfs(
        "size=1m",
        "K=$(\"$L\" acquire jobs); mount -o remount,bind,ro \"$M\"; \"$L\" release jobs $K",
    );
    assert_eq!(ran.code, 73, "{ran:?}");
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
}
