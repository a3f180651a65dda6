//! `run`: the command's surroundings, its end, and the signals it gets.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rustix::process::Signal;

use crate::{Folder, Holding, Ran, is_alive, quoted_program, until, ways};

#[test]
fn the_command_sees_the_lock_its_name_and_its_token() {
    let folder = Folder::new();

    let script = "ls jobs.lockdir; echo $LOCKBYDIR_NAME; echo $LOCKBYDIR_TOKEN";
    let ran = folder.run(&["run", "jobs", "--", "sh", "-c", script]);

    let lines: Vec<&str> = ran.out.lines().collect();
    let path = std::fs::canonicalize(folder.path()).unwrap().join("jobs");
    assert!(lines[0].starts_with("v1.held.p."), "{ran:?}");
    assert_eq!(lines[1], path.to_str().unwrap());
    assert!(lines[0].contains(lines[2]), "{ran:?}");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn the_command_reads_our_stdin_and_its_output_is_not_touched() {
    let folder = Folder::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();

    let mut child = folder
        .command(&["run", "jobs", "--", "sh", "-c", "cat; echo word >&2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let sender = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    sender.join().unwrap();

    assert!(output.stdout == bytes);
    assert_eq!(output.stderr, b"word\n");
}

#[test]
fn the_exit_code_is_the_commands_own_or_128_and_its_signal() {
    let folder = Folder::new();
    for way in ways() {
        let run = |script: &str| {
            folder.run(&[&["run"], way, &["jobs", "--", "sh", "-c", script]].concat())
        };
        for code in [0, 1, 7, 64, 75, 255] {
            let ran = run(&format!("exit {code}"));
            assert_eq!((ran.code, ran.err.as_str()), (code, ""));
        }
        for (signal, number) in [("TERM", 15), ("KILL", 9), ("HUP", 1), ("SEGV", 11)] {
            assert_eq!(run(&format!("kill -{signal} $$")).code, 128 + number, "{signal}");
        }
    }
}

#[test]
fn a_command_that_is_missing_or_cannot_be_run_leaves_no_lock() {
    let folder = Folder::new();
    folder
        .run(&["run", "jobs", "--", "no-such-command"])
        .refused(127, "`no-such-command` is not found");

    std::fs::write(folder.path().join("plain"), "text").unwrap();
    folder
        .run(&["run", "jobs", "--", "./plain"])
        .refused(126, "cannot run `./plain`: Permission denied");
    folder.run(&["run", "jobs", "--", "."]).refused(126, "cannot run `.`");
    std::fs::remove_file(folder.path().join("plain")).unwrap();

    folder.run(&["run", "jobs", "--"]).refused(64, "<CMD>");
    folder.run(&["run", "jobs", "--", ""]).refused(127, "is not found");
}

#[test]
fn signals_reach_the_command_and_all_in_its_group() {
    ways().into_iter().for_each(signals_reach_all);
}

fn signals_reach_all(way: &[&str]) {
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ] {
        let folder = Folder::new();
        // A shell's background jobs ignore the signals of a keyboard.
        let recipient = if matches!(name, "INT" | "QUIT") { "parent" } else { "child" };
        let script = format!(
            "trap 'exit 3' {name}; if [ {recipient} = child ]; then
             (trap 'echo child {name}; exit' {name}; echo ready; while :; do sleep 0.01; done) &
             else echo ready; fi
             wait; while :; do sleep 0.01; done"
        );
        // A contained child would end with its parent, possibly before it has printed anything.
        let mut holding = folder.hold(&[&["--wait-children"], way].concat(), &script);
        assert_eq!(holding.line(), "ready");

        holding.signal(signal);

        let ran = holding.finish();
        assert_eq!(ran.code, 3, "{name}: {ran:?}");
        assert_eq!(ran.out.contains("child"), recipient == "child", "{ran:?}");
    }
}

/// The kernel does not report whether a signal was for `lockbydir` alone or for the whole group.
#[test]
fn a_signal_to_the_group_reaches_the_command_at_most_twice() {
    for way in ways() {
        for to_group in [false, true] {
            let folder = Folder::new();
            let script = "echo $$; trap 'echo got' USR1; trap 'exit 3' USR2; echo ready; while :; do sleep 0.01; done";
            let mut command =
                folder.command(&[&["run"], way, &["jobs", "--", "sh", "-c", script]].concat());
            command.process_group(0);
            let mut holding = Holding::start(command);
            assert_eq!(holding.line(), "ready");
            let ours = rustix::process::Pid::from_child(&holding.child);

            match to_group {
                true => rustix::process::kill_process_group(ours, Signal::USR1).unwrap(),
                false => holding.signal(Signal::USR1),
            }
            assert_eq!(holding.line(), "got");
            // This signal is passed on after all earlier ones.
            holding.signal(Signal::USR2);

            let ran = holding.finish();
            let more = ran.out.matches("got").count();
            assert_eq!(ran.code, 3, "{ran:?}");
            assert!(more <= usize::from(to_group), "{more} more, to the group: {to_group}");
        }
    }
}

#[test]
fn a_stop_stops_the_whole_group_and_continue_wakes_it() {
    ways().into_iter().for_each(all_stop_and_wake);
}

fn all_stop_and_wake(way: &[&str]) {
    let folder = Folder::new();
    let holding = folder.hold(&[&["-t", "30s"], way].concat(), "read line; echo woke");
    let state = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    };
    let (ours, commands) = (holding.child.id(), holding.pid.cast_unsigned());

    holding.signal(Signal::TSTP);
    until("both stop", || state(ours) == 'T' && state(commands) == 'T');
    holding.signal(Signal::CONT);
    until("both go on", || state(ours) != 'T' && state(commands) != 'T');

    let ran = holding.finish();
    assert_eq!((ran.code, ran.out.as_str()), (0, "woke\n"));
}

#[test]
fn a_signal_ignored_at_the_start_stays_ignored() {
    let folder = Folder::new();
    let program = quoted_program();
    let script =
        format!("trap '' HUP; exec {program} run jobs -- sh -c 'kill -HUP $PPID $$; echo on'");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let ran = Ran::of(output);
    assert_eq!((ran.code, ran.out.as_str()), (0, "on\n"), "{ran:?}");
}

#[test]
fn a_signal_while_waiting_ends_the_wait() {
    let folder = Folder::new();
    let holding = folder.hold(&[], "cat");

    let waiter = folder
        .command(&["run", "-w", "forever", "jobs", "--", "true"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&waiter);
    until("the signals are caught", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", waiter.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() >> 14 & 1 == 1
    });
    rustix::process::kill_process(pid, Signal::TERM).unwrap();

    let ran = Ran::of(waiter.wait_with_output().unwrap());
    ran.refused(143, "ended by signal 15 while waiting");
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn a_killed_lockbydir_ends_its_command_and_frees_the_lock() {
    let folder = Folder::new();
    let holding = folder.hold(&["-t", "60s"], "exec sleep 60");
    let pid = holding.pid;

    holding.signal(Signal::KILL);
    let ran = folder.run(&[
        "run",
        "-w",
        "5s",
        "jobs",
        "--",
        "sh",
        "-c",
        &format!("grep -qs 'State:.[^Z]' /proc/{pid}/status || echo gone"),
    ]);

    assert_eq!((ran.code, ran.out.as_str()), (0, "gone\n"), "{ran:?}");
    assert!(ran.err.contains("took the lock over after the death of"), "{ran:?}");
    assert!(ran.err.contains("`sh`"), "{ran:?}");
    assert!(!is_alive(pid));
    holding.finish();
}

#[test]
fn run_does_not_wait_for_background_processes() {
    let folder = Folder::new();
    let ran = folder.run(&["run", "jobs", "--", "sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"]);
    assert_eq!(ran.code, 0);
    let left: i32 = ran.out.trim().parse().unwrap();
    assert!(is_alive(left), "what a command leaves running on purpose is its own business");
    rustix::process::kill_process(rustix::process::Pid::from_raw(left).unwrap(), Signal::KILL)
        .unwrap();
}
