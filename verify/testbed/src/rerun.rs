//! A test runs again in a room of its own: in a process that the test program starts there.

use std::process::Stdio;

use crate::left_out::{is_left_out, is_not_left_out};
use crate::need::Need;

/// The need that the room of this process meets, in the environment of a test that runs again.
const MET: &str = "LOCKBYDIR_TESTBED_MET";

/// Returns true if a test with this need goes on in this process. Otherwise it has run elsewhere, or is left
/// out.
///
/// # Panics
///
/// If the test fails elsewhere.
#[must_use]
pub fn goes_on_here(need: Need, package: &str, name: &str) -> bool {
    if std::env::var(MET).is_ok_and(|met| met == format!("{need:?}")) {
        return true;
    }
    let room = match need.room() {
        Ok(room) => room,
        Err(why) => {
            is_left_out(package, name, &why);
            return false;
        }
    };
    is_not_left_out(package, name);
    if room.is_here() {
        return true;
    }
    let program = std::env::current_exe().expect("this program has a path");
    let output = room
        .command(program)
        .args([name, "--exact", "--nocapture"])
        .env(MET, format!("{need:?}"))
        .stdin(Stdio::null())
        .output()
        .expect("the test program runs again");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{name} in {room:?}:\n{out}{err}");
    assert!(output.status.success(), "{name} fails in {room:?}: {}", output.status);
    assert!(out.contains("test result: ok. 1 passed"), "{name} is no test of this program");
    false
}
