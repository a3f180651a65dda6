//! Random deadlocks are found, and nothing else is taken for one. More of both:
//! `lockbydir-deadlocks --deadlocks 1000 --waits 10000`.

use std::process::Command;

#[test]
fn random_deadlocks_are_reported_to_one_and_other_waits_to_none() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbydir-deadlocks"));
    command.args(["--deadlocks", "30", "--waits", "300", "--at-once", "6"]);

    let output = command.output().expect("it runs");

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
}
