//! The torture program, as users run it.

use std::{
    process::{Command, Output},
    time::Duration,
};

use lockbydir_proof::{history::Record, torture::handoffs};
use lockbydir_protocol::promise;
use serde_json::Value;

use crate::stage::{Stage, TORTURE};

fn torture(stage: &Stage, arguments: &[&str]) -> Output {
    let mut command = Command::new(TORTURE);
    command.arg("--dir").arg(stage.folder()).args(arguments);
    command.output().expect("the torture program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_that_breaks_nothing_names_its_seed_and_exits_with_0() {
    let stage = Stage::on_tmpfs();

    // Without faults, so that it is fast enough to be valid also when built for debugging.
    let output = torture(&stage, &["--seconds", "2", "--seed", "7", "--faults", "none"]);

    let output_text = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output_text}{}", text(&output.stderr));
    assert!(
        output_text.contains("seed 7") && output_text.contains("All promises were kept."),
        "{output_text}"
    );
    assert_eq!(text(&output.stderr), "", "no progress where there is no terminal");
    stage.assert_empty();
}

#[test]
fn a_run_that_breaks_a_promise_shows_it_and_exits_with_1() {
    let stage = Stage::on_tmpfs();
    let arguments = ["--lock", "utimes-lease", "--faults", "kill,stop", "--until-broken"];

    let output = torture(&stage, &[&arguments[..], &["--seconds", "120"]].concat());

    let output_text = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output_text}{}", text(&output.stderr));
    let broken = format!("BROKEN: \"{}\"", promise::AT_MOST_ONE_VALID_HOLDER);
    assert!(
        output_text.contains(&broken) && output_text.contains("first: worker "),
        "{output_text}"
    );
    stage.assert_empty();
}

#[test]
fn a_run_with_less_than_200_acquisitions_a_second_is_not_valid() {
    let stage = Stage::on_tmpfs();
    let arguments = ["--faults", "none", "--hold", "100ms", "--timeout", "20s", "--json"];

    let output = torture(&stage, &[&arguments[..], &["--seconds", "2"]].concat());

    assert_eq!(output.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["outcome"], "invalid");
    assert!(json["rate"].as_f64().is_some_and(|rate| rate < 200.0), "{json}");
    stage.assert_empty();
}

#[test]
fn a_run_that_does_not_reach_its_handoffs_is_not_valid() {
    let stage = Stage::on_tmpfs();
    let arguments = ["--faults", "none", "--handoffs", "1000000", "--seconds", "1"];

    let output = torture(&stage, &arguments);

    let output_text = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{output_text}{}", text(&output.stderr));
    assert!(output_text.contains("NOT VALID: "), "{output_text}");
    stage.assert_empty();
}

#[test]
fn impossible_runs_are_refused_in_a_sentence() {
    let stage = Stage::on_tmpfs();

    for arguments in [
        &["--faults", "full"][..],
        &["--lock", "first-version", "--faults", "remove"],
        &["--lock", "etcd-deaf", "--faults", "kill"],
        &["--faults", "cut"],
        &["--faults", "freeze"],
        &["--nfs", "vers=4.2", "--faults", "remove"],
        &["--nfs", "vers=4.2", "--set", "tokens"],
        &["--nfs", "vers=4.2", "--lock", "etcd-deaf", "--faults", "kill"],
        &["--etcd", "--faults", "remove"],
        &["--etcd", "--lock", "utimes-lease", "--faults", "kill"],
        &["--lock", "proper-lockfile", "--faults", "kill", "--timeout", "1s"],
    ] {
        let output = Command::new(TORTURE)
            .env("RIVALS_NODE_MODULES", stage.folder())
            .arg("--dir")
            .arg(stage.folder())
            .args(arguments)
            .output()
            .expect("the torture program runs");

        let output_text = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output_text}");
        assert!(
            output_text.starts_with("lockbydir-torture: ") && output_text.lines().count() == 1,
            "{output_text}"
        );
    }
    stage.assert_empty();
}

#[test]
fn handoffs_between_hosts_are_distinguished_from_local_ones() {
    let mut record = Record::default();
    // Places are alternately on one host and the other.
    record.add("0.1", "start 100 9000 5 free 50 60\nend 200\nreleased\n");
    record.add("1.2", "start 300 9000 6 handed-over 150 250\nend 400\nreleased\n");
    record.add("3.3", "start 450 9000 7 handed-over 150 420\nend 500\nreleased\n");
    // This one arrived when the lock was free.
    record.add("0.4", "start 700 9000 8 free 600 650\nend 800\nreleased\n");
    // A fault happened between these.
    record.add("1.5", "start 900 9000 9 handed-over 750 850\nend 950\nreleased\n");
    record.add("hand", "fault 820 840\n");

    let [on_one, between] = handoffs(&record);

    assert_eq!(
        (on_one, between),
        (vec![Duration::from_nanos(50)], vec![Duration::from_nanos(100)])
    );
}
