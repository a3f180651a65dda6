//! The lease that a process keeps for its next acquisition: what it saves, and that nobody is harmed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use lockbydir::{How, Lock};
use lockbydir_etcd_lab::{Cluster, Options, Server};

use crate::delay::Delay;
use crate::{lock, secs, see, server, wait_in_queue};

/// Longer than any pause of a busy machine: nothing is renewed, and nothing expires.
const LONG: Duration = Duration::from_secs(600);

/// What one part of a test has sent to the servers of this address.
struct Calls<'a> {
    url: &'a str,
    before: BTreeMap<&'static str, u64>,
}

impl Calls<'_> {
    fn of(url: &str) -> Calls<'_> {
        Calls { url, before: lockbydir_etcd::calls(url).unwrap() }
    }

    fn sent(&self) -> Vec<(&'static str, u64)> {
        let now = lockbydir_etcd::calls(self.url).unwrap();
        let since =
            now.into_iter().map(|(of, n)| (of, n - self.before.get(of).copied().unwrap_or(0)));
        since.filter(|(_, n)| *n > 0).collect()
    }
}

/// Returns the leases that the server has, each in hexadecimal.
fn leases(server: &Server) -> Vec<String> {
    let listed = server.control(&["lease", "list"]).unwrap();
    listed.lines().skip(1).map(|line| line.trim().to_owned()).collect()
}

/// Returns the keys in the queue.
fn queue(server: &Server) -> String {
    server.control(&["get", "--prefix", "jobs.lockdir/", "--keys-only"]).unwrap().trim().to_owned()
}

/// Acquires and releases once, so that a lease is kept; returns that lease.
#[track_caller]
fn keep_a_lease(lock: &Lock, server: &Server) -> String {
    lock.acquire().unwrap().release().unwrap();
    let [lease] = leases(server).try_into().unwrap();
    lease
}

fn handled(server: &Server, method: &str) -> f64 {
    let label = format!("grpc_method=\"{method}\"");
    server.counter("grpc_server_handled_total", &label).unwrap()
}

#[test]
fn an_uncontended_cycle_makes_two_calls() {
    let server = server();
    let url = server.url("jobs");
    let lock = lock(&url).timeout(LONG);
    let calls = Calls::of(&url);

    lock.acquire().unwrap().release().unwrap();
    assert_eq!(calls.sent(), [("LeaseGrant", 1), ("Txn", 2)]);

    let calls = Calls::of(&url);
    let (granted, transactions) = (handled(&server, "LeaseGrant"), handled(&server, "Txn"));
    for _ in 0..50 {
        lock.acquire().unwrap().release().unwrap();
    }
    assert_eq!(calls.sent(), [("Txn", 100)]);
    // The server counts the same.
    assert_eq!(handled(&server, "Txn") - transactions, 100.0);
    assert_eq!(handled(&server, "LeaseGrant") - granted, 0.0);
    assert_eq!(handled(&server, "LeaseRevoke"), 0.0);
}

#[test]
fn a_handoff_makes_two_calls() {
    let server = server();
    let url = server.url("jobs");
    let lock = lock(&url).timeout(LONG);
    // To this process the same server under another name is another cluster.
    let other = url.replace("127.0.0.1", "localhost");
    let guard = crate::lock(&other).timeout(LONG).acquire().unwrap();
    let waiter = wait_in_queue(&lock);
    see("it watches", || {
        server.counter("grpc_server_msg_sent_total", "grpc_method=\"Watch\"").unwrap() >= 2.0
    });
    let (releases, acquires) = (Calls::of(&other), Calls::of(&url));

    guard.release().unwrap();
    let next = waiter.join().unwrap().unwrap();

    assert_eq!(releases.sent(), [("Txn", 1)]);
    assert_eq!(acquires.sent(), [("Txn", 1)]);
    next.release().unwrap();
}

#[test]
fn a_try_that_fails_keeps_its_lease() {
    let server = server();
    let url = server.url("jobs");
    let lock = lock(&url).timeout(LONG);
    let other = crate::lock(&url.replace("127.0.0.1", "localhost")).timeout(LONG);
    let guard = other.acquire().unwrap();
    assert!(lock.try_acquire().unwrap().is_none());
    let calls = Calls::of(&url);

    for _ in 0..5 {
        assert!(lock.try_acquire().unwrap().is_none());
    }

    // Each tries, and looks who holds the lock and for how long.
    assert_eq!(calls.sent(), [("LeaseTimeToLive", 5), ("Txn", 10)]);
    guard.release().unwrap();
    let calls = Calls::of(&url);
    lock.acquire().unwrap().release().unwrap();
    assert_eq!(calls.sent(), [("Txn", 2)]);
}

#[test]
fn an_older_kept_lease_is_kept_alive_before_it_is_used() {
    let server = server();
    let url = server.url("jobs");
    let timeout = secs(100);
    let lock = lock(&url).timeout(timeout);
    let lease = keep_a_lease(&lock, &server);
    let kept = Instant::now();
    see("that it is not fresh", || kept.elapsed() > timeout / 20);
    let calls = Calls::of(&url);

    let guard = lock.acquire().unwrap();

    assert_eq!(calls.sent(), [("LeaseKeepAlive", 1), ("Txn", 1)]);
    assert_eq!(leases(&server), [lease]);
    // Counted from the grant, it would be less.
    let margin = secs(1);
    assert!(guard.remaining() > timeout - timeout / 20 - margin, "{:?}", guard.remaining());
    guard.release().unwrap();
}

#[test]
fn a_kept_lease_that_is_gone_is_replaced() {
    let server = server();
    let url = server.url("jobs");
    let lock = lock(&url).timeout(secs(100));
    for is_older in [false, true] {
        let lease = keep_a_lease(&lock, &server);
        let kept = Instant::now();
        server.control(&["lease", "revoke", &lease]).unwrap();
        see("its age", || !is_older || kept.elapsed() > secs(5));
        let calls = Calls::of(&url);

        let guard = lock.acquire().unwrap();

        assert!(calls.sent().contains(&("LeaseGrant", 1)), "{:?}", calls.sent());
        assert_eq!(guard.how(), &How::Free);
        assert!(guard.remaining() > secs(90) && queue(&server).lines().count() == 1);
        guard.renew().unwrap();
        guard.release().unwrap();
        // The new lease is kept as the first was.
        let calls = Calls::of(&url);
        lock.acquire().unwrap().release().unwrap();
        assert_eq!(calls.sent(), [("Txn", 2)]);
    }
}

#[test]
fn another_timeout_takes_another_lease_and_one_is_kept() {
    let server = server();
    let url = server.url("jobs");
    let lock = lock(&url).timeout(LONG);
    let first = keep_a_lease(&lock, &server);
    let calls = Calls::of(&url);

    let guard = lock.clone().timeout(secs(60)).acquire().unwrap();

    assert_eq!(calls.sent(), [("LeaseGrant", 1), ("Txn", 1)]);
    assert!(guard.timeout() == secs(60) && guard.remaining() <= secs(60));
    guard.release().unwrap();
    see("that one is kept", || leases(&server).len() == 1);
    assert_ne!(leases(&server), [first]);
}

#[test]
fn several_holdings_have_leases_of_their_own_and_one_is_kept() {
    let server = server();
    let lock_of = |name| lock(&server.url(name)).timeout(LONG);
    let names = ["one", "two", "three"];
    let guards = names.map(|name| lock_of(name).acquire().unwrap());

    assert_eq!(leases(&server).len(), 3);
    let [one, two, three] = guards;
    one.release().unwrap();
    // The first lease serves one other lock, beside the two that are held.
    let four = lock_of("four").acquire().unwrap();
    assert_eq!(leases(&server).len(), 3);
    let five = lock_of("five").acquire().unwrap();
    assert_eq!(leases(&server).len(), 4);
    four.release().unwrap();
    five.release().unwrap();
    two.release().unwrap();
    assert!(three.is_held());
    three.renew().unwrap();
    three.release().unwrap();
    see("that one is kept", || leases(&server).len() == 1);
}

#[test]
fn a_lease_that_nobody_needs_is_revoked_after_a_while() {
    let server = server();
    let lock = lock(&server.url("jobs")).timeout(LONG);
    let kept = Instant::now();
    keep_a_lease(&lock, &server);

    see("that no lease is left", || leases(&server).is_empty());

    assert!(kept.elapsed() < secs(40), "{:?}", kept.elapsed());
    lock.acquire().unwrap().release().unwrap();
}

#[test]
fn a_request_that_arrives_late_does_not_take_the_lock_for_nobody() {
    let server = server();
    let delay = Delay::start(server.endpoint());
    let url = format!("etcd://{},{}/jobs", delay.address, server.endpoint());
    let lock = lock(&url).timeout(LONG).patience(secs(60));
    keep_a_lease(&lock, &server);

    // The request that takes the lock with the kept lease goes to the server by both ways.
    delay.keep_back_after(0);
    lock.acquire().unwrap().release().unwrap();
    assert!(delay.has_kept_back());
    let calls = Calls::of(&url);
    let guard = lock.acquire().unwrap();
    assert!(calls.sent().contains(&("LeaseGrant", 1)), "{:?}", calls.sent());
    see("that its lease is gone", || leases(&server).len() == 1);
    let before = handled(&server, "Txn");
    delay.let_go();
    see("that it has arrived", || handled(&server, "Txn") > before);

    assert_eq!(queue(&server).lines().count(), 1);
    guard.release().unwrap();
    assert_eq!(queue(&server), "");
}

#[test]
fn a_release_by_an_old_key_does_not_end_the_next_holding() {
    let server = server();
    let lock = lock(&server.url("jobs")).timeout(LONG);
    let guard = lock.acquire().unwrap();
    let key = guard.key();
    let delay = Delay::start(server.endpoint());
    let url = format!("etcd://{}/jobs", delay.address);
    let other = crate::lock(&url).timeout(LONG);
    other.status().unwrap();

    // It looks (two requests) while its key holds the lock; what it does then arrives later.
    delay.keep_back_after(2);
    let late = other.clone();
    let released = thread::spawn(move || late.release(&key));
    see("that it is kept back", || delay.has_kept_back());
    guard.release().unwrap();
    let next = lock.acquire().unwrap();
    assert_eq!(leases(&server).len(), 1);
    delay.let_go();

    assert!(released.join().unwrap().is_err());
    // A request that was started before is sent before this one.
    other.status().unwrap();
    next.renew().unwrap();
    assert_eq!(queue(&server).lines().count(), 1);
    assert_eq!(handled(&server, "LeaseRevoke"), 0.0);
    assert!(!Calls::of(&url).before.contains_key("LeaseRevoke"));
}

/// Runs `work` in a forked child, and returns the child.
fn in_a_child(work: impl FnOnce() -> bool) -> i32 {
    // A panic must not reach the child's copy of the test program.
    let work = || catch_unwind(AssertUnwindSafe(work)).is_ok_and(|is_well| is_well);
    match fork::fork().unwrap() {
        fork::Fork::Child => std::process::exit(i32::from(!work())),
        fork::Fork::Parent(child) => child,
    }
}

#[test]
fn a_lease_from_which_another_process_moved_the_key_is_not_kept() {
    let server = server();
    let url = server.url("jobs");
    let lock = lock(&url).timeout(LONG);
    let guard = lock.acquire().unwrap();
    let key = guard.key();
    let delay = Delay::start(server.endpoint());
    let other = crate::lock(&format!("etcd://{}/jobs", delay.address)).timeout(LONG);

    // It asks for the version, looks (two requests), is granted a lease and moves the key; the request that
    // revokes the old lease arrives later.
    delay.keep_back_after(5);
    let child = in_a_child(|| {
        let is_renewed = other.renew(&key).is_ok();
        lockbydir_etcd::settle(secs(60));
        is_renewed
    });
    see("that it is kept back", || delay.has_kept_back());
    guard.release().unwrap();
    let next = lock.acquire().unwrap();
    let before = handled(&server, "LeaseRevoke");
    delay.let_go();
    see("that it has arrived", || handled(&server, "LeaseRevoke") > before);

    assert_eq!(queue(&server).lines().count(), 1);
    next.renew().unwrap();
    assert_eq!(fork::waitpid(child).unwrap(), 0);
    next.release().unwrap();
}

#[test]
fn a_forked_child_does_not_use_its_parents_lease() {
    let server = server();
    let url = server.url("jobs");
    let lock = lock(&url).timeout(LONG);
    let lease = keep_a_lease(&lock, &server);

    let child = in_a_child(|| {
        let guard = lock.acquire().unwrap();
        let sent = Calls { url: &url, before: BTreeMap::new() }.sent();
        let is_own = sent == [("LeaseGrant", 1), ("Txn", 1)] && leases(&server).len() == 2;
        guard.release().unwrap();
        lockbydir_etcd::settle(secs(60));
        is_own
    });
    assert_eq!(fork::waitpid(child).unwrap(), 0);

    assert_eq!(leases(&server), [lease]);
    let calls = Calls::of(&url);
    lock.acquire().unwrap().release().unwrap();
    assert_eq!(calls.sent(), [("Txn", 2)]);
}

#[test]
fn a_killed_process_leaves_one_lease_which_expires() {
    let server = server();
    let lock_of = |name| lock(&server.url(name)).timeout(secs(8));
    let child = in_a_child(|| {
        let guards = ["one", "two", "three"].map(|name| lock_of(name).acquire().unwrap());
        guards.into_iter().for_each(|guard| guard.release().unwrap());
        see("that one is kept", || leases(&server).len() == 1);
        let own = std::process::id().to_string();
        Command::new("kill").args(["-KILL", &own]).status().is_err()
    });
    let killed = 9;
    assert_eq!(fork::waitpid(child).unwrap(), killed);

    see("that it expires", || leases(&server).is_empty());
    lock_of("one").acquire().unwrap().release().unwrap();
}

#[test]
fn a_lease_of_a_former_leader_is_not_kept() {
    crate::begin();
    let mut cluster = Cluster::on_loopback(&Options::default()).unwrap();
    let leader = cluster.leader().unwrap();
    let url = cluster.members()[(leader + 1) % 3].url("jobs");
    let lock = lock(&url).timeout(LONG).patience(secs(60));
    lock.acquire().unwrap().release().unwrap();
    let calls = Calls::of(&url);
    lock.acquire().unwrap().release().unwrap();
    assert_eq!(calls.sent(), [("Txn", 2)]);

    // The leadership goes from one member to another, neither of which serves the lock.
    let listed = cluster.members()[leader].control(&["member", "list"]).unwrap();
    let name = format!(", m{},", (leader + 2) % 3);
    let next = listed.lines().find(|line| line.contains(&name)).unwrap();
    let next = next.split(',').next().unwrap();
    cluster.members()[leader].control(&["move-leader", next]).unwrap();
    cluster.await_health().unwrap();
    lock.acquire().unwrap().release().unwrap();
    let calls = Calls::of(&url);
    lock.acquire().unwrap().release().unwrap();

    // The lease of before is perhaps being revoked meanwhile.
    assert!(calls.sent().contains(&("LeaseGrant", 1)), "{:?}", calls.sent());
}

#[test]
fn a_late_renewal_by_key_does_nothing_to_the_next_holding() {
    let server = server();
    let lock = lock(&server.url("jobs")).timeout(LONG);
    let key = lock.acquire().unwrap().keep();
    let [lease] = leases(&server).try_into().unwrap();
    server.control(&["lease", "revoke", &lease]).unwrap();
    let delay = Delay::start(server.endpoint());
    let other = crate::lock(&format!("etcd://{}/jobs", delay.address)).timeout(LONG);
    other.status().unwrap();

    // It looks while the lock is nobody's, and is granted a lease; what it does then arrives later.
    delay.keep_back_after(2);
    let renewed = thread::spawn(move || other.renew(&key));
    see("that it is kept back", || delay.has_kept_back());
    lock.break_by_force().unwrap();
    let next = lock.acquire().unwrap();
    let before = handled(&server, "Txn");
    delay.let_go();
    see("that it has arrived", || handled(&server, "Txn") > before);

    assert!(renewed.join().unwrap().is_err());
    assert_eq!(queue(&server).lines().count(), 1);
    assert_eq!(lock.status().unwrap().token, Some(next.token()));
    next.release().unwrap();
}
