//! The queue, when a process finds what others left in it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockbydir::Lock;

/// Creates a ticket of this age as a waiter on another host does; it is unknown here whether that
/// waiter is alive.
fn make_ticket_of_another_host(queue: &Path, age: Duration) {
    let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - age;
    let ticket = format!(
        "t1.{}.00000000000000000000000001.5.00000000000000aa.effffffa.effffffc.7-7.elsewhere.-",
        made.as_micros()
    );
    fs::create_dir_all(queue).unwrap();
    make_ticket(&queue.join(ticket));
}

#[cfg(unix)]
pub(crate) fn make_ticket(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[cfg(windows)]
pub(crate) fn make_ticket(path: &Path) {
    fs::write(path, "").unwrap();
}

#[test]
fn a_ticket_of_another_host_does_not_block_one_try() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("jobs.lockdir.queue");
    make_ticket_of_another_host(&queue, Duration::from_secs(5));

    let got = Lock::new(folder.path().join("jobs")).try_acquire().unwrap();

    assert!(got.is_some(), "it would be refused for ever");
}
