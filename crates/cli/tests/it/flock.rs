//! Habits of users of flock(1): how a command is given, and flock's own options.

use std::os::unix::fs::PermissionsExt;

use crate::{Folder, Ran};

#[test]
fn a_command_needs_no_dashes_and_keeps_its_own_options() {
    let folder = Folder::new();
    let says = "printf '%s ' \"$@\"";
    for before in
        [&["run", "jobs"][..], &["run", "-t", "5s", "jobs", "-w", "1s"], &["run", "jobs", "--"]]
    {
        let mut args = before.to_vec();
        args.extend(["sh", "-c", says, "sh", "-x", "--quiet", "--", "-t", "y"]);

        let ran = folder.run(&args);

        assert_eq!((ran.code, ran.out.as_str()), (0, "-x --quiet -- -t y "), "{args:?}: {ran:?}");
    }
    folder.run(&["run", "jobs", "--no-such-option", "true"]).refused(64, "--no-such-option");
    assert_eq!(folder.run(&["run", "jobs"]).code, 64);
}

#[test]
fn a_text_is_run_by_the_users_shell() {
    let folder = Folder::new();
    for args in [["run", "-c", "exit 7", "jobs"], ["run", "jobs", "-c", "exit 7"]] {
        for shell in [None, Some("")] {
            let mut command = folder.command(&args);
            command.env_remove("SHELL").envs(shell.map(|shell| ("SHELL", shell)));
            assert_eq!(Ran::of(command.output().unwrap()).code, 7, "{args:?} {shell:?}");
        }
    }
    let shell = folder.path().join("shell");
    std::fs::write(&shell, "#!/bin/sh\necho \"mine: $*\"").unwrap();
    std::fs::set_permissions(&shell, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = folder.command(&["run", "--command", "a b", "jobs"]);
    let ran = Ran::of(command.env("SHELL", &shell).output().unwrap());
    assert_eq!(ran.out, "mine: -c a b\n", "{ran:?}");
    std::fs::remove_file(shell).unwrap();

    folder.run(&["run", "-c", "true", "jobs", "true"]).refused(64, "cannot be used with");
}

#[test]
fn options_of_flock_mean_the_same_or_are_refused() {
    let folder = Folder::new();
    for option in ["-x", "-e", "--exclusive", "-o", "--close"] {
        assert_eq!(folder.run(&["run", option, "jobs", "true"]).code, 0, "{option}");
    }
    for (option, words) in [
        ("-s", "no shared locks yet"),
        ("--shared", "no shared locks yet"),
        ("-F", "lockbydir acquire --pid PID NAME"),
        ("--no-fork", "lockbydir acquire --pid PID NAME"),
        ("-u", "lockbydir release NAME KEY"),
        ("--fcntl", "leave the option out"),
    ] {
        folder.run(&["run", option, "jobs", "true"]).refused(64, words);
    }

    let key = folder.run(&["acquire", "-t", "60s", "jobs"]).out;
    for (options, code) in [
        (&["--nonblock"][..], 75),
        (&["--nb"], 75),
        (&["--wait", "0"], 75),
        (&["-w0.1", "--conflict-exit-code", "1"], 1),
    ] {
        let args = [&["run"], options, &["jobs", "true"]].concat();
        folder.run(&args).refused(code, "held by");
    }
    assert_eq!(folder.run(&["release", "jobs", key.trim()]).code, 0);
}

#[test]
fn the_help_example_ends_with_the_first_failure() {
    let folder = Folder::new();
    let help = folder.run(&["acquire", "--help"]).out;
    let example = help.split("Example").nth(1).expect("an example");
    let script: String = example
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .map(|line| format!("{line}\n"))
        .collect();
    let deploy = folder.path().join("deploy.sh");
    let play = |deploys: &str| {
        std::fs::write(&deploy, format!("#!/bin/sh\necho deployed\n{deploys}\n")).unwrap();
        std::fs::set_permissions(&deploy, PermissionsExt::from_mode(0o755)).unwrap();
        let script = format!("lockbydir() {{ \"$L\" \"$@\"; }}\n{script}");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script]).current_dir(folder.path());
        shell.env("L", env!("CARGO_BIN_EXE_lockbydir")).env("LOCKBYDIR_PATIENCE", "0");
        Ran::of(shell.output().unwrap())
    };

    let ran = play("exit 0");
    assert_eq!((ran.code, ran.out.as_str()), (0, "deployed\n"), "{script}{ran:?}");
    let ran = play("exit 3");
    assert_eq!((ran.code, ran.out.as_str()), (3, "deployed\n"), "{script}{ran:?}");
    let ran = play("\"$L\" break --force deploy");
    assert_eq!((ran.code, ran.out.as_str()), (76, "deployed\n"), "{script}{ran:?}");
    let key = folder.run(&["acquire", "-t", "60s", "deploy"]).out;
    let ran = play("exit 0");
    assert_eq!((ran.code, ran.out.as_str()), (75, ""), "{script}{ran:?}");
    assert_eq!(folder.run(&["release", "deploy", key.trim()]).code, 0);
    std::fs::remove_file(deploy).unwrap();
}
