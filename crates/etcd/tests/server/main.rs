//! Tests of the lock on a real etcd. They fail where etcd is missing.

#[path = "../../../lockbydir/tests/contract/mod.rs"]
mod contract;
mod delay;
mod faults;
mod kept;
mod proxy;
mod queue;
mod safety;
mod unanswered;
mod watches;
mod world;

use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use lockbydir::{Lock, Patience};
use lockbydir_etcd_lab::Server;

/// Registers etcd once a process, as a program does at its start.
fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        lockbydir_etcd::on_warning(safety::warned);
        lockbydir_etcd::register(lockbydir_etcd::Access::default());
    });
}

fn server() -> Server {
    begin();
    Server::start().expect("a server of etcd")
}

/// Returns a lock without patience: it gives up at once.
fn lock(url: &str) -> Lock {
    begin();
    Lock::new(url).timeout(secs(10)).patience(Patience::NONE)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Waits until `is_seen` returns true, for at most a minute.
#[track_caller]
fn see(what: &str, mut is_seen: impl FnMut() -> bool) {
    let end = Instant::now() + secs(60);
    while !is_seen() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        thread::sleep(ms(5));
    }
}

/// Starts a thread that waits for the lock, and returns when it is in the queue.
#[track_caller]
fn wait_in_queue(lock: &Lock) -> thread::JoinHandle<Result<lockbydir::Guard, lockbydir::Error>> {
    let waits = lock.clone().patience(secs(60)).label("waits");
    let waiter = thread::spawn(move || waits.acquire());
    let is_there = |ticket: &lockbydir::Ticket| ticket.label.as_deref() == Some("waits");
    see("it queues", || lock.status().unwrap().queue.iter().any(is_there));
    waiter
}
