//! Two never hold the lock at once, whatever servers and clocks do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lockbydir::{Broken, How, Key, State};
use serde_json::Value;

use crate::{lock, ms, secs, see, server, wait_in_queue};

/// The number of warnings about old servers.
static WARNED: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn warned(warning: &str) {
    assert!(warning.contains("upgrade it to"), "{warning}");
    WARNED.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn an_old_server_is_warned_of_once() {
    let server = server();
    let version = server.control(&["endpoint", "status", "--write-out", "json"]).unwrap();
    let is_old = ["\"3.3.", "\"3.4.1", "\"3.4.2"].iter().any(|old| version.contains(old));
    let lock = lock(&server.url("jobs"));

    lock.acquire().unwrap().release().unwrap();
    // Each server of this process's tests may cause one warning; ours is one of them.
    let before = WARNED.load(Ordering::SeqCst);
    if is_old {
        see("a warning", || WARNED.load(Ordering::SeqCst) > 0);
    }
    for _ in 0..20 {
        lock.acquire().unwrap().release().unwrap();
    }
    let others = 40; // tests of this program, each with a server
    assert!(WARNED.load(Ordering::SeqCst) <= before + others);
}

#[test]
fn a_hold_whose_key_is_gone_is_lost() {
    let server = server();
    let lock = lock(&server.url("jobs"));
    let guard = lock.acquire().unwrap();
    server.control(&["del", "--prefix", "jobs.lockdir"]).unwrap();

    // Somebody else has it now.
    let other = lock.acquire().unwrap();
    let error = guard.renew().unwrap_err();

    assert!(error.is_lost());
    assert_eq!(error.holder().and_then(|holder| holder.pid), Some(std::process::id()));
    assert!(!guard.is_held());
    assert!(guard.release().unwrap_err().is_lost());
    other.renew().unwrap();
    other.release().unwrap();
}

#[test]
fn an_old_key_does_nothing_to_a_new_hold() {
    let server = server();
    let lock = lock(&server.url("jobs"));
    let old = lock.acquire().unwrap().keep();
    lock.release(&old).unwrap();
    let guard = lock.acquire().unwrap();
    let token = guard.token();

    // The same lease with another revision is not this hold either.
    let nearly: Key = guard.key().to_string().replacen(&token.to_string(), "1", 1).parse().unwrap();
    for key in [old, nearly] {
        assert!(lock.renew(&key).unwrap_err().is_lost());
        assert!(lock.release(&key).unwrap_err().is_lost());
    }

    guard.renew().unwrap();
    assert_eq!(lock.status().unwrap().token, Some(token));
}

#[test]
fn a_late_renewal_counts_only_if_nobody_held_in_between() {
    let server = server();
    let lock = lock(&server.url("jobs")).timeout(secs(1));
    let guard = lock.acquire().unwrap();
    let granted = guard.timeout();
    see("the deadline", || !guard.is_held());

    // Its lease is over, too, or nearly.
    match guard.renew() {
        Ok(()) => assert!(guard.is_held() && guard.remaining() <= granted),
        Err(error) => assert!(error.is_lost(), "{error}"),
    }
    see("the end of its lease", || lock.status().unwrap().state != State::Held);
    let next = lock.acquire().unwrap();
    assert!(guard.renew().unwrap_err().is_lost());
    assert!(next.is_held());
}

#[test]
fn a_new_timeout_is_a_new_lease_and_the_old_one_is_harmless() {
    let server = server();
    let lock = lock(&server.url("jobs")).timeout(secs(2));
    let guard = lock.acquire().unwrap();
    guard.set_timeout(secs(60)).unwrap();

    assert!(guard.remaining() > secs(50));
    assert_eq!(guard.timeout(), secs(60));
    // The hold lasts longer than the first lease would have, by the server's own count.
    see("only one lease is left", || {
        server.control(&["lease", "list"]).unwrap().contains("found 1 lease")
    });
    see("the first timeout's end", || guard.remaining() < secs(55));
    guard.renew().unwrap();
    assert_eq!(lock.status().unwrap().timeout, Some(secs(60)));
    guard.set_timeout(secs(2)).unwrap();
    assert!(guard.remaining() <= secs(2));
}

/// Creates a lock on the server as a process of another machine would hold it, on a lease of this many
/// seconds; returns the lease.
fn held_elsewhere(server: &lockbydir_etcd_lab::Server, seconds: u64) -> String {
    let url = server.url("jobs");
    let guard = lock(&url).timeout(secs(seconds)).label("elsewhere").acquire().unwrap();
    let record = server.control(&["get", "--print-value-only", "jobs.lockdir"]).unwrap();
    guard.release().unwrap();
    let granted = server.control(&["lease", "grant", &seconds.to_string()]).unwrap();
    let lease = granted.split_whitespace().nth(1).unwrap().to_owned();
    let mut record: Value = serde_json::from_str(record.trim()).unwrap();
    record["boot"] = "00000000deadbeef".into();
    record["nonce"] = lease.clone().into();
    let record = record.to_string();
    let key = format!("jobs.lockdir/{lease}");
    server.control(&["put", &key, &record, "--lease", &lease]).unwrap();
    server.control(&["put", "jobs.lockdir", &record]).unwrap();
    lease
}

#[test]
fn a_lease_that_a_faulty_server_ends_early_is_waited_out() {
    let server = server();
    let version = server.control(&["version"]).unwrap();
    assert!(version.contains("3.4.2"), "this test is for a server with the fault: {version}");
    let lock = lock(&server.url("jobs")).timeout(secs(3));
    let lease = held_elsewhere(&server, 3);
    let waiter = wait_in_queue(&lock);
    let at = Instant::now();

    server.control(&["lease", "revoke", &lease]).unwrap();
    // Neither a try takes it nor a break.
    assert!(lock.try_acquire().unwrap().is_none());
    assert!(matches!(lock.break_stale().unwrap(), Broken::StillHeld(_) | Broken::WasFree));
    let next = waiter.join().unwrap().unwrap();

    // It was seen in the queue for the first time shortly before.
    assert!(at.elapsed() > ms(2000), "{:?}", at.elapsed());
    assert!(at.elapsed() < secs(8), "{:?}", at.elapsed());
    match next.how() {
        How::AfterExpiry(before) => {
            assert_eq!(before.holder.as_ref().unwrap().label.as_deref(), Some("elsewhere"));
        }
        how => panic!("{how:?}"),
    }
}

#[test]
fn a_holder_elsewhere_is_never_called_dead() {
    let server = server();
    let lock = lock(&server.url("jobs"));
    held_elsewhere(&server, 60);

    let status = lock.status().unwrap();

    assert_eq!(status.state, State::Held);
    assert_eq!(status.holder.unwrap().command, None);
    assert!(lock.try_acquire().unwrap().is_none());
}

#[test]
fn what_others_write_is_never_trusted() {
    let server = server();
    let lock = lock(&server.url("jobs"));
    for value in ["", "{}", "\u{1b}[2J", "{\"lockbydir\":1}", "[1,2", "null"] {
        let granted = server.control(&["lease", "grant", "60"]).unwrap();
        let lease = granted.split_whitespace().nth(1).unwrap();
        let key = format!("jobs.lockdir/{lease}");
        server.control(&["put", &key, value, "--lease", lease]).unwrap();

        let status = lock.status().unwrap();
        assert_eq!(status.state, State::Bare, "{value:?}");
        assert!(lock.try_acquire().unwrap().is_none());
        assert!(matches!(lock.break_stale().unwrap(), Broken::StillHeld(None)));
        assert!(matches!(lock.break_by_force().unwrap(), Broken::Removed(None)));
        lock.acquire().unwrap().release().unwrap();
    }
    // A record with any content, without a key in the queue.
    server.control(&["put", "jobs.lockdir", "rubbish"]).unwrap();
    let guard = lock.acquire().unwrap();
    assert_eq!(guard.how(), &How::Free);
    guard.release().unwrap();

    // A key without a lease, which would never go away.
    server.control(&["put", "jobs.lockdir/x", "y"]).unwrap();
    for error in [
        lock.try_acquire().unwrap_err(),
        lock.is_locked().unwrap_err(),
        lock.break_by_force().unwrap_err(),
    ] {
        assert!(error.is_foreign(), "{error}");
        assert!(error.to_string().contains("jobs.lockdir/x"), "{error}");
    }
    assert_eq!(server.control(&["get", "--print-value-only", "jobs.lockdir/x"]).unwrap(), "y\n");
}
