//! `run` with several names: all or none, in one order.

use std::process::Stdio;

use rustix::process::Signal;

use crate::{Folder, Holding, Ran, names, until};

fn is_locked(folder: &Folder, name: &str) -> bool {
    folder.run(&["is-locked", name]).code == 0
}

#[test]
fn all_locks_are_held_while_the_command_runs() {
    let folder = Folder::new();
    let script = "ls -d *.lockdir; printf '%s\\n' \"$LOCKBYDIR_NAME\" \"$LOCKBYDIR_TOKEN\"";
    // Options may stand between the names.
    let ran = folder.run(&["run", "c", "-t", "9s", "a", "b.lockdir", "--", "sh", "-c", script]);

    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[..3], ["a.lockdir", "b.lockdir", "c.lockdir"]);
    let path = std::fs::canonicalize(folder.path()).unwrap();
    let given = ["c", "a", "b"].map(|name| path.join(name).to_str().unwrap().to_owned());
    assert_eq!(lines[3..6], given, "in the order given");
    let tokens: Vec<u64> = lines[6..].iter().map(|token| token.parse().unwrap()).collect();
    // They were acquired in the order a, b, c.
    assert!(tokens.len() == 3 && tokens[1] <= tokens[2] && tokens[2] <= tokens[0], "{tokens:?}");
}

#[test]
fn if_one_is_taken_none_is_locked_and_the_command_is_not_run() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "-t", "60s", "b"]).out;

    let ran = folder.run(&["run", "-w", "0.2s", "a", "b", "c", "--", "touch", "ran"]);

    ran.refused(75, "b.lockdir: held by");
    assert_eq!(folder.names(), ["b.lockdir"]);
    assert_eq!(folder.run(&["run", "-nE", "9", "a", "b", "--", "true"]).code, 9);
    assert_eq!(folder.run(&["release", "b", key.trim()]).code, 0);
}

#[test]
fn a_signal_while_waiting_releases_what_is_held() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "-t", "60s", "b"]).out;
    let mut waiter = folder.command(&["run", "a", "b", "--", "true"]).spawn().unwrap();
    until("a waiter for b", || names(folder.path()).contains(&"b.lockdir.queue".into()));
    assert!(is_locked(&folder, "a"));

    rustix::process::kill_process(rustix::process::Pid::from_child(&waiter), Signal::TERM).unwrap();

    assert_eq!(waiter.wait().unwrap().code(), Some(128 + 15));
    assert!(!is_locked(&folder, "a"));
    assert_eq!(folder.run(&["release", "b", key.trim()]).code, 0);
}

#[test]
fn a_killed_waiter_leaves_nothing_locked() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "-t", "60s", "b"]).out;
    let mut waiter = folder.command(&["run", "a", "b", "--", "true"]).spawn().unwrap();
    until("a waiter for b", || names(folder.path()).contains(&"b.lockdir.queue".into()));

    waiter.kill().unwrap();
    waiter.wait().unwrap();

    assert_eq!(folder.run(&["run", "-nq", "a", "--", "true"]).code, 0);
    assert_eq!(folder.run(&["release", "b", key.trim()]).code, 0);
    folder.run(&["clean"]);
}

#[test]
fn the_loss_of_any_lock_ends_the_command() {
    for broken in ["a", "b", "c"] {
        let folder = Folder::new();
        let script = "echo $$; exec sleep 600";
        let args = ["run", "-t", "1s", "a", "b", "c", "--", "sh", "-c", script];
        let held = Holding::start(folder.command(&args));

        assert_eq!(folder.run(&["break", "--force", broken]).code, 0);

        let ran = held.finish();
        ran.refused(76, &format!("{broken}.lockdir"));
        assert_eq!(folder.names(), Vec::<String>::new(), "the others are released");
    }
}

#[test]
fn one_name_twice_is_refused() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::os::unix::fs::symlink("d", folder.path().join("s")).unwrap();
    for [one, other] in
        [["a", "a"], ["a", "d/../a"], ["a", "./a.lockdir"], ["d/a", "s/a"], ["s/a", "d/a.lockdir/"]]
    {
        folder.run(&["run", one, "b", other, "--", "touch", "ran"]).refused(64, "name it once");
    }
    std::fs::remove_file(folder.path().join("s")).unwrap();
    std::fs::remove_dir(folder.path().join("d")).unwrap();
}

#[test]
fn dashes_of_a_command_are_not_mistaken() {
    let folder = Folder::new();
    let says = |args: &[&str]| folder.run(&[&["run"], args].concat());

    // One name, and a command that has dashes of its own.
    let ran = says(&["jobs", "--", "echo", "a", "--", "b"]);
    assert_eq!(ran.out, "a -- b\n", "{ran:?}");
    let ran = says(&["jobs", "sh", "-euc", "echo \"$@\"", "sh", "a", "--", "b"]);
    assert_eq!(ran.out, "a -- b\n", "{ran:?}");
    // A word that is a program may be meant as such: nothing is guessed, nothing is run.
    says(&["jobs", "sh", "host", "--", "touch", "ran"]).refused(64, "write `jobs -- sh`");
    let ran = says(&["jobs", "./sh", "--", "ls", "-d", "sh.lockdir"]);
    assert_eq!(ran.out, "sh.lockdir\n", "{ran:?}");
    // Wrong options are reported as for one name.
    says(&["a", "b", "--no-such-option", "--", "true"]).refused(64, "--no-such-option");
    says(&["a", "b", "-t", "soon", "--", "true"]).refused(64, "soon");
    says(&["a", "b", "--"]).refused(64, "<CMD>");
    let ran = says(&["-c", "ls -d *.lockdir", "a", "b", "--"]);
    assert_eq!(ran.out, "a.lockdir\nb.lockdir\n", "{ran:?}");
    says(&["a", "", "--", "true"]).refused(64, "empty");
}

#[test]
fn two_orders_never_wait_for_each_other() {
    let folder = Folder::new();
    let count = folder.path().join("count");
    std::fs::write(&count, "").unwrap();
    let script = "set -e; mkdir inside; echo x >> count; rmdir inside";
    let runs: Vec<_> = (0..20)
        .map(|nth| {
            let mut names = ["a", "b", "c"];
            names.rotate_left(nth % 3);
            let mut args = vec!["run", "-w", "60s"];
            args.extend(names);
            args.extend(["--", "sh", "-c", script]);
            let mut command = folder.command(&args);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();

    for run in runs {
        let ran = Ran::of(run.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 20);
    std::fs::remove_file(&count).unwrap();
}

#[test]
fn an_ancestors_lock_among_several_is_refused_at_once() {
    let folder = Folder::new();
    let program = env!("CARGO_BIN_EXE_lockbydir");
    let nested = |options: &[&str]| {
        let inner = [&[program, "run"], options, &["b", "a", "c", "--", "touch", "ran"]].concat();
        folder.run(&[&["run", "c", "a", "--"], &*inner].concat())
    };

    // Both locks of the outer run are known to the inner one.
    nested(&["-w", "60s"]).refused(75, "a.lockdir");
    nested(&["--nested"]).refused(64, "takes one NAME");
    let inner = [program, "run", "--nested", "c", "--", "true"];
    assert_eq!(folder.run(&[&["run", "c", "a", "--"], &inner[..]].concat()).code, 0);
}
