//! The queue, which is shared with `etcdctl lock`; deaths on this machine; lists.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use lockbydir::{How, Owner, State};
use lockbydir_etcd_lab::Server;
use tempfile::TempDir;

use crate::{lock, secs, see, server};

/// `etcdctl lock` with a command that prints `held` when it runs, and ends when its folder is gone.
struct Other(Child, TempDir);

impl Other {
    fn start(server: &Server, name: &str) -> Other {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo held; while [ -e \"$0\" ]; do sleep 0.02; done";
        let mut command = server.etcdctl();
        command.args(["lock", name, "--", "sh", "-c", script]).arg(folder.path());
        Other(command.stdout(Stdio::piped()).spawn().unwrap(), folder)
    }

    fn output(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }

    fn end(mut self) {
        drop(self.1);
        self.0.wait().unwrap();
    }
}

#[test]
fn etcdctl_and_we_exclude_each_other() {
    let server = server();
    let lock = lock(&server.url("jobs"));
    let mut other = Other::start(&server, "jobs.lockdir");
    let mut line = String::new();
    other.output().read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");

    assert_eq!(lock.status().unwrap().state, State::Bare);
    assert!(lock.is_locked().unwrap());
    assert!(lock.try_acquire().unwrap().is_none());
    let waiter = crate::wait_in_queue(&lock);
    other.end();
    let guard = waiter.join().unwrap().unwrap();

    let mut other = Other::start(&server, "jobs.lockdir");
    let mut output = other.output();
    see("it queues", || {
        let keys = server.control(&["get", "--prefix", "jobs.lockdir/", "--keys-only"]).unwrap();
        keys.lines().filter(|line| !line.is_empty()).count() == 2
    });
    let released = Instant::now();
    guard.release().unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    assert!(released.elapsed() < secs(5));
    other.end();
}

#[test]
fn a_dead_process_of_this_machine_is_replaced_at_once() {
    let server = server();
    let mut holder = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let lock = lock(&server.url("jobs")).timeout(secs(60));
    let owned = lock.clone().owner(Owner::Process(holder.id())).label("dies");
    let _ = owned.acquire().unwrap().keep();
    let waiter = crate::wait_in_queue(&lock);

    let at = Instant::now();
    holder.kill().unwrap();
    holder.wait().unwrap();
    let guard = waiter.join().unwrap().unwrap();

    assert!(at.elapsed() < secs(3), "{:?}", at.elapsed());
    match guard.how() {
        How::AfterDeath(before) => {
            let dead = before.holder.as_ref().unwrap();
            assert_eq!(dead.pid, Some(holder.id()));
            assert_eq!(dead.label.as_deref(), Some("dies"));
        }
        how => panic!("{how:?}"),
    }
}

#[test]
fn a_list_has_every_lock_below_an_address_once() {
    let server = server();
    for name in ["b/two", "b/one", "a", "other/x"] {
        let _ = lock(&server.url(name)).acquire().unwrap().keep();
    }
    server.control(&["put", "b/not a lock", "x"]).unwrap();
    server.control(&["put", "b/.lockdir", "x"]).unwrap();

    let names = |below: &str| -> Vec<String> {
        let found = lockbydir::list(server.url(below)).unwrap();
        found.iter().map(|status| status.name.to_string_lossy().into_owned()).collect()
    };

    assert_eq!(names(""), ["a", "b/one", "b/two", "other/x"].map(|name| server.url(name)));
    assert_eq!(names("b/"), ["b/one", "b/two"].map(|name| server.url(name)));
    assert_eq!(names("c"), [""; 0]);
}
