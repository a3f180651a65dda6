//! Tests of the library on real directories.

#![allow(missing_docs, reason = "test names are sentences")]

mod bad_input;
mod bare;
#[cfg(feature = "tokio")]
mod cancelling;
#[path = "../contract/mod.rs"]
mod contract;
mod directory;
mod doctor;
mod examples;
mod failing_calls;
mod features;
#[cfg(target_os = "linux")]
mod forks;
mod holding;
mod local_queue;
#[cfg(target_os = "linux")]
mod namespaces;
mod naming;
#[cfg(target_os = "linux")]
mod process_calls;
mod queue;
mod reentrant;
mod renewing;
mod several;
// On other systems an observer only looks, and does not see what happens between two looks.
#[cfg(target_os = "linux")]
mod observe;
#[cfg(target_os = "linux")]
mod observe_odd;
#[cfg(target_os = "linux")]
mod observe_races;
#[cfg(target_os = "linux")]
mod system_calls;

use std::path::Path;
use std::time::Duration;

use lockbydir::Lock;

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Returns a lock without patience.
pub(crate) fn impatient(folder: &Path) -> Lock {
    Lock::new(folder.join("jobs")).patience(Duration::ZERO)
}

/// Returns the name of the only entry.
pub(crate) fn entry(folder: &Path) -> String {
    let names: Vec<_> = std::fs::read_dir(folder.join("jobs.lockdir"))
        .expect("a lock directory")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    names.into_iter().next().unwrap()
}

/// Asserts that nothing is left behind.
pub(crate) fn assert_empty(folder: &Path) {
    let entries = |folder: &Path| {
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path())
    };
    let left: Vec<_> = entries(folder)
        .flat_map(|path| entries(&path).chain([path.clone()]).collect::<Vec<_>>())
        .collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
}
