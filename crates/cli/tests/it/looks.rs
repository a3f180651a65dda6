//! The output for people and scripts: status, list, clean, help, and the exit code of patience.

use serde_json::Value;

use crate::Folder;

#[test]
fn status_as_json_has_exactly_the_keys_of_the_contract() {
    let folder = Folder::new();
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let all =
        ["age_s", "holder", "name", "path", "queue", "remaining_s", "state", "timeout_s", "token"];

    let free = folder.status();
    assert_eq!(keys(&free), all);
    assert_eq!(
        (&free["state"], &free["holder"], &free["token"]),
        (&"free".into(), &Value::Null, &Value::Null)
    );

    let holding = folder.hold(&["-t", "20s", "--label", "a label"], "cat");
    let held = folder.status();
    assert_eq!(keys(&held), all);
    assert_eq!((&held["name"], &held["state"]), (&"jobs".into(), &"held".into()));
    assert_eq!(held["timeout_s"], 20.0);
    let (age, remaining) = (held["age_s"].as_f64().unwrap(), held["remaining_s"].as_f64().unwrap());
    assert!((age + remaining - 20.0).abs() < 0.01, "{held}");
    let holder = &held["holder"];
    assert_eq!(keys(holder), ["command", "host", "label", "pid", "since"]);
    assert_eq!((&holder["pid"], &holder["label"]), (&holding.child.id().into(), &"a label".into()));
    assert_eq!(holder["command"], "sh");
    let since = holder["since"].as_str().unwrap();
    assert!(since.starts_with("20") && since.ends_with('Z'), "{since}");
    assert_eq!(held["queue"], Value::Array(Vec::new()));
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn list_shows_every_lock_below_a_folder_in_aligned_columns() {
    let folder = Folder::new();
    let ran = folder.run(&["list"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.contains("no locks below"), "{ran:?}");
    assert_eq!(folder.run(&["list", "--json"]).out.trim(), "[]");

    std::fs::create_dir_all(folder.path().join("deep/er")).unwrap();
    let key = folder.run(&["acquire", "deep/er/long-name", "--label", "l"]).out;
    let holding = folder.hold(&[], "cat");
    let ran = folder.run(&["list"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 3, "{ran:?}");
    let column = lines[0].find("STATE").unwrap();
    assert!(lines[1].starts_with("deep/er/long-name ") && lines[1][column..].starts_with("held"));
    assert!(lines[2].starts_with("jobs ") && lines[2][column..].starts_with("held"), "{ran:?}");
    let found: Value = serde_json::from_str(&folder.run(&["list", "--json"]).out).unwrap();
    assert_eq!(found[1]["name"], "jobs");

    let elsewhere = folder.run(&["status", "--dir", "deep/er", "long-name", "--json"]);
    assert!(elsewhere.out.contains("\"held\""), "{elsewhere:?}");
    assert_eq!(holding.finish().code, 0);
    assert_eq!(folder.run(&["release", "deep/er/long-name", key.trim()]).code, 0);
    std::fs::remove_dir_all(folder.path().join("deep")).unwrap();
}

#[test]
fn clean_removes_what_crashes_left_and_nothing_else() {
    let folder = Folder::new();
    let mut dead = std::process::Command::new("true").spawn().unwrap();
    let pid = dead.id().to_string();
    let key = folder.run(&["acquire", "jobs"]).out;
    let entry = crate::names(&folder.path().join("jobs.lockdir")).remove(0);
    dead.wait().unwrap();
    // A stage of a process that is gone, one of a living process, and a foreign folder.
    let stage = |nonce: &str, owner: &str| {
        let at = folder.path().join(format!("jobs.lockdir.{nonce}"));
        std::fs::create_dir(&at).unwrap();
        std::fs::write(at.join(entry.replace(".none.", &format!(".{owner}."))), "").unwrap();
        at
    };
    let gone = stage("00000000000000000000000001", &format!("{pid}-1"));
    let lives = stage("00000000000000000000000002", "1-0");
    let theirs = folder.path().join("jobs.lockdir.00000000000000000000000003");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(theirs.join("notes"), "").unwrap();

    let ran = folder.run(&["clean"]);

    assert_eq!(ran.code, 0);
    assert!(
        ran.out.contains("00000000000000000000000001") && ran.out.lines().count() == 1,
        "{ran:?}"
    );
    assert!(!gone.exists() && lives.exists() && theirs.join("notes").exists());
    assert_eq!(folder.status()["state"], "held");
    assert_eq!(folder.run(&["release", "jobs", key.trim()]).code, 0);
    std::fs::remove_dir_all(lives).unwrap();
    std::fs::remove_dir_all(theirs).unwrap();
}

#[test]
fn is_locked_answers_by_its_exit_code_alone() {
    let folder = Folder::new();
    let ran = folder.run(&["is-locked", "jobs"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (1, "", ""));
    let holding = folder.hold(&[], "cat");
    let ran = folder.run(&["is-locked", "jobs"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn patience_over_is_75_or_a_chosen_code() {
    let folder = Folder::new();
    let holding = folder.hold(&[], "cat");

    let words = format!("held by pid {} on", holding.child.id());
    folder.run(&["run", "-n", "jobs", "--", "true"]).refused(75, &words);
    folder.run(&["run", "-w", "0", "jobs", "--", "true"]).refused(75, &words);
    folder.run(&["run", "-n", "-E", "9", "jobs", "--", "true"]).refused(9, &words);
    folder.run(&["acquire", "-n", "jobs"]).refused(75, &words);
    let mut by_environment = folder.command(&["run", "jobs", "--", "true"]);
    let output = by_environment.env("LOCKBYDIR_PATIENCE", "0").output().unwrap();
    crate::Ran::of(output).refused(75, &words);

    assert_eq!(holding.finish().code, 0);
}

#[test]
fn waiting_says_nothing_when_stderr_is_no_terminal() {
    let folder = Folder::new();
    let holding = folder.hold(&[], "cat");
    let waiter =
        folder.command(&["run", "jobs", "--", "true"]).stderr(std::process::Stdio::piped()).spawn();
    std::thread::sleep(std::time::Duration::from_millis(900)); // past the half second of silence
    assert_eq!(holding.finish().code, 0);
    let ran = crate::Ran::of(waiter.unwrap().wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn a_waiter_without_a_terminal_reports_after_a_while() {
    let folder = Folder::new();
    let holding = folder.hold(&["--label", "backup"], "cat");
    let begin = |options: &[&str]| {
        let args = [&["run"], options, &["jobs", "--", "true"]].concat();
        folder.command(&args).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let quiet = begin(&["-q", "-w", "forever"]);
    let mut waiter = begin(&["--timeout", "1s"]);
    let mut lines = std::io::BufReader::new(waiter.stderr.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        line
    };

    let hint = "--timeout 1.0s is how long the lock lasts; how long to wait is --patience, 30s unless given";
    assert_eq!(line(), format!("lockbydir: {hint}\n"));
    let words = format!("held by pid {} (sh) on", holding.child.id());
    let said = line();
    assert!(said.starts_with("lockbydir: waiting ") && said.contains(" for jobs: "), "{said}");
    assert!(said.contains(&words), "{said}");
    assert!(said.contains("/30s") && said.contains("`backup`"), "{said}");

    assert_eq!(holding.finish().code, 0);
    assert_eq!(line(), "");
    assert!(waiter.wait().unwrap().success());
    let ran = crate::Ran::of(quiet.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn q_prints_errors_but_not_that_the_lock_is_busy() {
    let folder = Folder::new();
    let holding = folder.hold(&[], "cat");
    for verb in [&["run", "-q", "-n", "jobs", "true"][..], &["acquire", "-q", "-n", "jobs"]] {
        let ran = folder.run(verb);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (75, "", ""), "{verb:?}");
    }
    let ran = folder.run(&["run", "-q", "-n", "-E", "9", "jobs", "true"]);
    assert_eq!((ran.code, ran.err.as_str()), (9, ""));
    folder.run(&["run", "-q", "-n", "missing/jobs", "true"]).refused(73, "its parent folder");
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn an_empty_variable_counts_as_unset_and_a_wrong_one_is_named() {
    let folder = Folder::new();
    let with = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = folder.command(args);
        crate::Ran::of(command.envs(variables.iter().copied()).output().unwrap())
    };
    let run = ["run", "jobs", "--", "true"];
    let names = ["LOCKBYDIR_TIMEOUT", "LOCKBYDIR_PATIENCE", "LOCKBYDIR_DIR"];
    let empty = names.map(|name| (name, ""));
    let ran = with(&run, &empty);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(with(&["list"], &empty).code, 0);
    assert_eq!(with(&["break", "jobs"], &empty).code, 0);

    for name in ["LOCKBYDIR_TIMEOUT", "LOCKBYDIR_PATIENCE"] {
        let ran = with(&run, &[(name, "soon")]);
        ran.refused(64, &format!("the variable {name} has a wrong value: `soon` is no duration"));
    }
    let given = ["run", "--timeout", "soon", "jobs", "--", "true"];
    for value in ["soon", "5s"] {
        let ran = with(&given, &[("LOCKBYDIR_TIMEOUT", value)]);
        ran.refused(64, "--timeout");
        assert!(!ran.err.contains("LOCKBYDIR_"), "{ran:?}");
    }
}

#[test]
fn a_lock_in_a_folder_that_does_not_exist_is_not_free() {
    let folder = Folder::new();
    for verb in ["is-locked", "status", "break"] {
        folder.run(&[verb, "missing/jobs"]).refused(73, "must exist");
    }
}

#[test]
fn a_group_has_a_name_or_a_number() {
    let folder = Folder::new();
    let id = |option| {
        let output = std::process::Command::new("id").arg(option).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    for group in [id("-g"), id("-gn")] {
        let ran =
            folder.run(&["run", "--group", &group, "jobs", "stat", "-c", "%g", "jobs.lockdir"]);
        assert_eq!((ran.code, ran.out.trim()), (0, id("-g").as_str()), "{group}: {ran:?}");
    }
    folder.run(&["run", "--group", "no-such-group", "jobs", "true"]).refused(64, "`no-such-group`");
}

#[test]
fn v_prints_how_the_lock_was_acquired_and_q_does_not() {
    let folder = Folder::new();
    assert_eq!(
        folder.run(&["run", "-v", "jobs", "--", "true"]).err,
        "lockbydir: got the lock: it was free\n"
    );

    for (option, words) in [("-v", "after its timeout"), ("-q", "")] {
        folder.run(&["acquire", "jobs", "-t", "1s", "--label", "first"]);
        let ran = folder.run(&["run", option, "jobs", "--", "true"]);
        assert_eq!(ran.code, 0);
        assert!(ran.err.contains(words) && ran.err.is_empty() == words.is_empty(), "{ran:?}");
        assert_eq!(ran.err.contains("`first`"), option == "-v", "{ran:?}");
    }
}

#[test]
fn help_manual_and_completions_speak_of_every_verb() {
    let folder = Folder::new();
    let help = folder.run(&["--help"]);
    let manual = folder.run(&["man"]);
    let bash = folder.run(&["completions", "bash"]);
    for verb in
        ["run", "acquire", "renew", "release", "status", "is-locked", "list", "break", "clean"]
    {
        assert!(help.out.contains(verb) && bash.out.contains(verb));
        assert!(manual.out.contains(&verb.replace('-', "\\-")), "{verb}");
        let page = folder.run(&["man", verb]);
        assert!(
            page.out.contains(&format!("lockbydir\\-{}", verb.replace('-', "\\-"))),
            "{page:?}"
        );
        let words = folder.run(&[verb, "--help"]);
        assert_eq!((words.code, words.err.as_str()), (0, ""));
        assert!(words.out.lines().all(|line| line.chars().count() <= 100), "{}", words.out);
    }
    for shell in ["zsh", "fish"] {
        assert!(folder.run(&["completions", shell]).out.contains("is-locked"));
    }
    assert!(folder.run(&["--version"]).out.starts_with("lockbydir "));
}
