//! The record of what was left out: a file each, beside the test programs, so that the last of them can
//! list what all have left out.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

/// If set in the environment, nothing may be left out: what a test needs and lacks is a failure.
pub const LEAVE_NOTHING_OUT: &str = "LOCKBYDIR_LEAVE_NOTHING_OUT";

/// Returns the folder of the records: beside the folder of the test programs.
fn folder() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    program.parent().expect("it is in a folder").with_file_name("left_out")
}

fn file(package: &str, name: &str) -> PathBuf {
    folder().join(format!("{package} {}", name.replace('/', "|")))
}

/// Records that this test of this package is left out, and prints it, whether the output of tests is shown or
/// not.
///
/// # Panics
///
/// If [`LEAVE_NOTHING_OUT`] is set.
pub fn is_left_out(package: &str, name: &str, why: &str) {
    assert!(
        std::env::var_os(LEAVE_NOTHING_OUT).is_none(),
        "{name} must not be left out ({LEAVE_NOTHING_OUT} is set): {why}"
    );
    // The test harness shows what is printed by macros only if the test fails.
    let _ = writeln!(std::io::stderr(), "left out: {name}: {why}");
    fs::create_dir_all(folder()).expect("a folder beside that of the test programs");
    fs::write(file(package, name), why).expect("a record");
}

/// Removes the record of an earlier run.
pub(crate) fn is_not_left_out(package: &str, name: &str) {
    let _ = fs::remove_file(file(package, name));
}

/// Returns what was left out since the last call, by its reason, and removes the records.
#[must_use]
pub fn take_all() -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for record in fs::read_dir(folder()).into_iter().flatten().flatten() {
        let why = fs::read_to_string(record.path()).unwrap_or_default();
        all.entry(why).or_default().push(record.file_name().to_string_lossy().into_owned());
        let _ = fs::remove_file(record.path());
    }
    all.values_mut().for_each(|names| names.sort());
    all
}
