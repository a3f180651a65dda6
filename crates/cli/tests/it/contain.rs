//! `run --contain`: no process that the command starts survives it, even one that a plain kill does not
//! reach; a user who may not contain is refused before there is a lock. The tests of `supervision.rs`,
//! `running.rs` and `terminal.rs` also run with `--contain`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use lockbydir_testbed::{leave_out, needs};
use rustix::process::{Pid, Signal, kill_process};

use crate::others::{NOBODY, as_user, is_root, shared};
use crate::{Folder, Holding, below, is_alive, quoted, quoted_program, until, ways};

/// Whether it can be tried here. If not, `ways` has printed why.
fn can_contain() -> bool {
    ways().len() > 1
}

#[test]
fn a_contained_command_sees_its_own_processes_only() {
    if !can_contain() {
        return;
    }
    let folder = Folder::new();
    let before = std::fs::read_to_string("/proc/self/mounts").unwrap();

    let ran = folder.run(&[
        "run",
        "--contain",
        "jobs",
        "--",
        "sh",
        "-c",
        "echo $PPID $$; cd /proc; echo [0-9]*; cat 1/comm; id -u; id -g",
    ]);

    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let expected = format!("1 2\n1 2\nrun-supervisor\n{user}\n{group}\n");
    assert_eq!((ran.code, ran.out, ran.err.as_str()), (0, expected, ""));
    assert_eq!(std::fs::read_to_string("/proc/self/mounts").unwrap(), before);
}

#[test]
fn background_processes_end_with_a_contained_command() {
    if !can_contain() {
        return;
    }
    let folder = Folder::new();
    let script = "(setsid sh -c 'exec >/dev/null; trap \"\" TERM HUP; while :; do sleep 0.01; done' &) ; cat";
    let holding = folder.hold(&["--contain"], script);
    until("the background process", || below(holding.child.id().cast_signed()).len() >= 4);
    let all = below(holding.child.id().cast_signed());

    let ran = holding.finish();

    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(!all.into_iter().any(is_alive), "something is left");
}

/// Without `--contain` the next holder may enter before `lockbydir` has ended the rest, and without
/// `lockbydir` nobody ends it.
#[test]
fn without_its_supervisor_a_contained_command_is_gone_at_once() {
    if !can_contain() {
        return;
    }
    let folder = Folder::new();
    let holding = folder.hold(&["--contain", "-t", "60s"], "setsid sleep 60 & sleep 60 & cat; :");
    until("all", || below(holding.child.id().cast_signed()).len() == 5);
    let all = below(holding.child.id().cast_signed());
    // `lockbydir` is stopped, so it cannot end anything.
    holding.signal(Signal::STOP);

    kill_process(Pid::from_raw(all[0]).unwrap(), Signal::KILL).unwrap();
    // The supervisor counts as dead when all other processes of its namespace are gone.
    until("the supervisor's end", || !is_alive(all[0]));
    let left: Vec<i32> = all.iter().copied().filter(|pid| is_alive(*pid)).collect();
    holding.signal(Signal::CONT);

    assert_eq!(left, Vec::<i32>::new());
    holding.finish().refused(137, "supervisor was killed, so the command was ended");
}

#[test]
fn processes_of_other_users_end_with_a_contained_command() {
    needs!(AnotherUser);
    let folder = Folder::new();
    let script = "setpriv --reuid 54321 --regid 54321 --clear-groups setsid sleep 60 & \
         setpriv --reuid 1234 --regid 1234 --clear-groups sleep 60 & wait; sleep 60";
    let holding = folder.hold(&["--contain", "-t", "3s"], script);
    let users = || {
        let owner = |pid: &i32| {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(format!("/proc/{pid}")).map_or(0, |found| found.uid())
        };
        below(holding.child.id().cast_signed()).iter().map(owner).filter(|uid| *uid != 0).count()
    };
    until("both users", || users() == 2);
    let all = below(holding.child.id().cast_signed());

    assert_eq!(folder.run(&["break", "--force", "jobs"]).code, 0);
    holding.finish().refused(76, "the lock was lost, so the command was ended");

    assert!(!all.into_iter().any(is_alive), "something is left");
}

/// Without `--contain` such a process works on, which `others.rs` shows.
#[test]
fn a_contained_command_cannot_raise_privileges() {
    needs!(SetUserId);
    let (folder, place, program) = shared();
    let able = as_user(54321, &folder, &program, &["run", "--contain", "jobs", "--", "true"]);
    if able.code != 0 {
        able.refused(64, "--contain is not possible here");
        return leave_out!("--contain as an ordinary user", able.err.trim());
    }
    let raise = place.path().join("raise");
    assert!(Command::new("cp").arg("/usr/bin/setpriv").arg(&raise).status().unwrap().success());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(&raise, mode).unwrap();
    let script = format!(
        "echo $$; {} --reuid 0 sleep 60 2>/dev/null || id -u; (setsid sleep 60 &); exec sleep 60",
        quoted(&raise)
    );
    let mut command = Command::new(&program);
    command.args(["run", "--contain", "-t", "3s", "jobs", "--", "sh", "-c", &script]);
    command.current_dir(folder.path()).uid(54321).gid(54321);
    let mut holding = Holding::start(command);

    assert_eq!(holding.line(), "54321", "it has stayed who it was");
    until("all", || below(holding.child.id().cast_signed()).len() == 3);
    let all = below(holding.child.id().cast_signed());
    std::fs::remove_dir_all(folder.path().join("jobs.lockdir")).unwrap();
    holding.finish().refused(76, "the lock was lost, so the command was ended");

    assert!(!all.into_iter().any(is_alive), "something is left");
}

/// The command would write a file if it were run; the kernel allows no such namespace.
#[test]
fn without_containment_nothing_is_locked_or_run() {
    needs!(UserNamespaces);
    let (folder, _place, program) = shared();
    let within = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-ec", script]).env("L", &program);
        command.current_dir(folder.path());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        crate::Ran::of(command.output().unwrap())
    };
    // The refusal comes before the lock is examined: this lock is held.
    std::fs::create_dir(folder.path().join("jobs.lockdir")).unwrap();
    let run = "exec \"$L\" run --contain -n jobs -- touch ran";

    let limited = within(&format!("echo 0 > /proc/sys/user/max_pid_namespaces; {run}"));
    // Without a capability, and without user namespaces.
    let denied = within(&format!(
        "echo 0 > /proc/sys/user/max_user_namespaces; \
         exec setpriv --bounding-set -all --inh-caps -all sh -c '{run}'"
    ));
    let hidden = within(&format!("unshare --mount sh -ec 'mount -t tmpfs none /proc; {run}'"));

    limited.refused(64, "cannot make a PID namespace: No space left on device");
    assert!(limited.err.contains("user.max_pid_namespaces"), "{limited:?}");
    denied.refused(64, "cannot make a PID namespace: ");
    assert!(denied.err.contains("leave --contain out"), "{denied:?}");
    hidden.refused(64, "cannot find itself in /proc");
    std::fs::remove_dir(folder.path().join("jobs.lockdir")).unwrap();
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn locks_hold_across_the_namespace_boundary() {
    if !can_contain() {
        return;
    }
    let folder = Folder::new();
    let program = quoted_program();
    let script = format!(
        "{program} run -n jobs true; echo $?; exec {program} run -t 60s inner -- sh -c 'echo in; cat'"
    );
    let mut holding = folder.hold(&["--contain"], &script);

    assert_eq!(holding.line(), "75");
    assert_eq!(holding.line(), "in");
    folder.run(&["run", "-n", "inner", "--", "true"]).refused(75, "held by");

    assert_eq!(holding.finish().code, 0);
    assert_eq!(folder.run(&["run", "-n", "inner", "--", "true"]).code, 0);
}
