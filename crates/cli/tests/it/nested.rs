//! A command that asks for a lock under which it already runs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use crate::{Folder, Holding, Ran, command_in, quoted_program, soon};

/// Runs a shell in this folder under the lock `jobs`, whose script calls the program as `"$L"`.
fn under_jobs(folder: &Folder, script: &str) -> Ran {
    let mut command =
        folder.command(&["run", "--label", "outer", "jobs", "--", "sh", "-c", script]);
    Ran::of(command.env("L", env!("CARGO_BIN_EXE_lockbydir")).output().expect("lockbydir runs"))
}

#[test]
fn an_inner_run_of_the_same_lock_is_refused_at_once() {
    soon(Duration::from_secs(2), || {
        let folder = Folder::new();
        let begun = Instant::now();
        let ran = under_jobs(&folder, "\"$L\" run -w 60s jobs -- echo in");
        ran.refused(75, "this command already runs under it, held by pid");
        assert!(ran.err.contains("(`outer`)") && ran.err.contains("--nested"), "{ran:?}");
        begun.elapsed()
    });
}

#[test]
fn an_inner_acquire_of_the_same_lock_is_refused_at_once() {
    soon(Duration::from_secs(2), || {
        let folder = Folder::new();
        let begun = Instant::now();
        under_jobs(&folder, "\"$L\" acquire -q -w 60s jobs").refused(75, "would wait for itself");
        begun.elapsed()
    });
}

#[test]
fn a_busy_exit_code_is_also_that_of_an_inner_run() {
    let folder = Folder::new();
    under_jobs(&folder, "\"$L\" run -E 9 jobs -- echo in").refused(9, "--nested");
}

#[test]
fn a_nested_run_has_the_holding_of_its_ancestor() {
    let folder = Folder::new();
    let show = "env | grep -e ^LOCKBYDIR_HELD= -e ^LOCKBYDIR_NAME= -e ^LOCKBYDIR_TOKEN= | sort";

    let ran = under_jobs(
        &folder,
        &format!("{show}; \"$L\" run --nested jobs -- sh -c '{show}'; ls jobs.lockdir | wc -l"),
    );

    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!(lines.len(), 7, "{ran:?}");
    assert_eq!(lines[..3], lines[3..6]);
    assert!(lines[0].starts_with("LOCKBYDIR_HELD=") && lines[0].ends_with("/jobs"), "{ran:?}");
    assert_eq!(lines[6].trim(), "1", "the nested run has released the lock");
}

#[test]
fn an_inner_lock_is_added_to_the_outer_ones() {
    let folder = Folder::new();

    let ran = under_jobs(
        &folder,
        r#""$L" run other -- sh -c '"$L" run --nested jobs -- "$L" run --nested other -- sh -c "echo \$LOCKBYDIR_HELD"'"#,
    );

    assert_eq!(ran.code, 0, "{ran:?}");
    let names: Vec<_> = ran.out.split_whitespace().map(|item| item.rsplit('/').next()).collect();
    assert_eq!(names.len(), 2, "{ran:?}");
    assert!(names.contains(&Some("jobs")) && names.contains(&Some("other")), "{ran:?}");
}

#[test]
fn a_nested_run_without_an_outer_one_locks_as_usual() {
    let folder = Folder::new();

    let ran = folder.run(&["run", "--nested", "jobs", "--", "sh", "-c", "ls jobs.lockdir | wc -l"]);

    assert_eq!((ran.code, ran.out.trim()), (0, "1"), "{ran:?}");
}

#[test]
fn any_name_and_a_way_by_a_link_mean_the_same_lock() {
    let outer = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"a = %20\xff\n'\"b");
    std::os::unix::fs::symlink(outer.path(), outer.path().join("link")).unwrap();
    let program = env!("CARGO_BIN_EXE_lockbydir");
    let command = |options: &[&str]| {
        let mut command = command_in(outer.path(), &["run"]);
        command.arg(name).args(["--", program, "run"]).args(options);
        command.args(["-w", "60s"]).arg(outer.path().join("link").join(name));
        Ran::of(command.args(["--", "echo", "in"]).output().unwrap())
    };

    command(&[]).refused(75, "--nested");
    assert_eq!(command(&["--nested"]).out, "in\n");
}

#[test]
fn a_stale_or_forged_variable_changes_nothing() {
    let folder = Folder::new();
    let path = folder.path().canonicalize().unwrap().join("jobs");
    let path = path.to_str().unwrap();
    let stale = under_jobs(&folder, "echo $LOCKBYDIR_HELD").out;
    let token = stale.split('-').next().unwrap();
    let forged = [
        stale.trim().to_owned(),
        format!("{token}-{}={path}", "0".repeat(26)),
        "x".repeat(100_000),
        format!("={path} 1={path} -= 1-1= % {path}"),
    ];
    for held in forged {
        for nested in [&["--nested"][..], &[]] {
            let mut command = folder.command(&["run"]);
            command.args(nested).args(["jobs", "--", "sh", "-c", "ls jobs.lockdir | wc -l"]);
            let ran = Ran::of(command.env("LOCKBYDIR_HELD", &held).output().unwrap());
            assert_eq!((ran.code, ran.out.trim()), (0, "1"), "{held}: {ran:?}");
        }
    }

    // The token alone, which everybody sees, does not make somebody else's holding ours.
    let mut holding = folder.hold(&[], "echo $LOCKBYDIR_HELD; cat");
    let held = holding.line();
    let token = held.split('-').next().unwrap();
    let mut command = folder.command(&["run", "--nested", "-n", "jobs", "--", "echo", "in"]);
    command.env("LOCKBYDIR_HELD", format!("{token}-{}={path}", "0".repeat(26)));
    Ran::of(command.output().unwrap()).refused(75, "held by pid");
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn a_nested_command_ends_when_the_holding_of_its_key_is_lost() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "-t", "60s", "jobs"]).out;
    let key = key.trim();
    let holding = folder.hold(&["--nested", "--key", key], "exec sleep 60");

    assert_eq!(folder.run(&["release", "jobs", key]).code, 0);

    holding.finish().refused(76, "the holding that this command ran under has ended");
}

#[test]
fn a_nested_command_ends_when_the_lock_of_its_ancestor_is_broken() {
    let folder = Folder::new();
    let inner =
        format!("exec {} run --nested jobs -- sh -c 'echo ready; exec sleep 60'", quoted_program());
    let mut holding = folder.hold(&["-t", "60s"], &inner);
    assert_eq!(holding.line(), "ready");

    folder.run(&["break", "--force", "jobs"]);

    // The outer one would notice at its next renewal only, after 20 s.
    let ran = holding.finish();
    ran.refused(76, "the holding that this command ran under has ended");
}

#[test]
fn a_nested_command_ends_at_the_timeout_of_a_holding_that_nobody_renews() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "-t", "4s", "jobs"]).out;
    let holding = folder.hold(&["--nested", "--key", key.trim()], "exec sleep 60");

    let seen =
        format!("grep '^State:.[^TZX]' /proc/{}/status 2>/dev/null || echo alone", holding.pid);
    let ran = folder.run(&["run", "-w", "60s", "jobs", "--", "sh", "-c", &seen]);

    assert_eq!((ran.code, ran.out.as_str()), (0, "alone\n"), "{ran:?}");
    assert_eq!(holding.finish().code, 76);
}

#[test]
fn a_nested_command_outlives_many_timeouts_that_are_renewed() {
    let folder = Folder::new();
    let script = format!("exec {} run --nested jobs -- sleep 4", quoted_program());

    let ran = folder.run(&["run", "-t", "1s", "jobs", "--", "sh", "-c", &script]);

    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_key_that_holds_no_more_is_reported() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "jobs"]).out;
    let key = key.trim();
    folder.run(&["release", "jobs", key]);

    let run = |options: &[&str]| {
        let args = [&["run"], options, &["jobs", "--", "echo", "in"]].concat();
        folder.run(&args)
    };
    run(&["--nested", "--key", key]).refused(76, "no longer holds");
    run(&["--nested", "--key", "nonsense"]).refused(64, "is not a key");
    run(&["--nested", "--key", ""]).refused(64, "is not a key");
    run(&["--key", key]).refused(64, "--nested");
}

#[test]
fn a_nested_run_passes_on_how_its_command_ends() {
    let folder = Folder::new();
    assert_eq!(under_jobs(&folder, "\"$L\" run --nested jobs -- sh -c 'exit 7'").code, 7);
    let unknown = "\"$L\" run --nested jobs -- ./no-such-program";
    under_jobs(&folder, unknown).refused(127, "is not found");
}

#[test]
fn a_process_that_outlives_the_outer_run_may_lock_anew() {
    let folder = Folder::new();
    let script =
        "(while [ -e jobs.lockdir ]; do sleep 0.01; done; exec \"$L\" run jobs -- echo in) &";
    let mut command =
        folder.command(&["run", "jobs", "--", "sh", "-c", &format!("echo $$; {script}")]);
    command.env("L", env!("CARGO_BIN_EXE_lockbydir"));
    let mut holding = Holding::start(command);

    assert_eq!(holding.line(), "in");
    assert_eq!(holding.finish().code, 0);
}
