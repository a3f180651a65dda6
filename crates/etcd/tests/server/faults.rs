//! Servers that are missing, silent, killed or closed to us, and the errors that are reported then.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lockbydir::ErrorKind;
use lockbydir_etcd_lab::{Certificates, Cluster, Options, Server, User};

use crate::{lock, ms, secs, see, server, wait_in_queue};

#[test]
fn a_missing_server_is_reported_when_patience_is_over() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lock = lock(&format!("etcd://{free}/jobs"));

    let at = Instant::now();
    let once = lock.try_acquire().unwrap_err();
    let took_once = at.elapsed();
    let at = Instant::now();
    let error = lock.clone().patience(ms(700)).acquire().unwrap_err();
    let took = at.elapsed();

    assert!(took_once < ms(500), "{took_once:?}");
    assert!((ms(700)..ms(1500)).contains(&took), "{took:?}");
    for error in [once, error, lock.status().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("Connection refused"), "{error}");
    }
}

#[test]
fn an_unknown_host_is_reported_at_once() {
    let at = Instant::now();
    let error = lock("etcd://nobody.invalid/jobs").patience(secs(60)).acquire().unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("nobody.invalid"), "{error}");
    assert!(error.to_string().contains("lookup"), "{error}");
    assert!(at.elapsed() < secs(20));
}

#[test]
fn a_silent_server_is_reported_when_patience_is_over() {
    let mut server = server();
    server.stop().unwrap();
    let lock = lock(&server.url("jobs"));

    let at = Instant::now();
    let error = lock.patience(secs(1)).acquire().unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("does not answer"), "{error}");
    assert!((ms(1000)..ms(2000)).contains(&at.elapsed()), "{:?}", at.elapsed());
    server.go_on().unwrap();
}

#[test]
fn tls_needs_an_authority_and_a_client_certificate() {
    let certificates = Arc::new(Certificates::new().unwrap());
    let options = Options {
        certificates: Some(certificates.clone()),
        clients_certified: true,
        ..Options::default()
    };
    let server = Server::start_with(&options).unwrap();
    let ca = certificates.authority();
    let (cert, key) = certificates.client();
    let (ca, cert, key) = (ca.display(), cert.display(), key.display());
    let url = |query: &str| lock(&server.url(&format!("jobs{query}")));

    let whole = url(&format!("?ca={ca}&cert={cert}&key={key}"));
    whole.acquire().unwrap().release().unwrap();
    assert!(!whole.path().unwrap().to_string_lossy().contains('?'));

    for (query, why) in [
        (format!("?ca={ca}"), ""),
        ("?tls".into(), "certificate"),
        ("?ca=/nowhere/ca.pem".into(), "/nowhere/ca.pem"),
        (String::new(), ""),
    ] {
        let at = Instant::now();
        let error = url(&query).patience(secs(2)).acquire().unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Unavailable, "{query}: {error}");
        assert!(error.to_string().contains(why), "{query}: {error}");
        assert!(at.elapsed() < secs(4), "{query}: {:?}", at.elapsed());
    }
}

#[test]
fn users_have_passwords_and_keys_of_their_own() {
    let mut server = server();
    let team = User { name: "team", password: "p:w/@", prefix: "team/" };
    server.require_users(&[team]).unwrap();
    let host = server.endpoint();

    let own = lock(&format!("etcd://team:p%3Aw%2F%40@{host}/team/jobs"));
    own.acquire().unwrap().release().unwrap();

    for url in [
        format!("etcd://team:wrong@{host}/team/jobs"),
        format!("etcd://nobody:wrong@{host}/team/jobs"),
        format!("etcd://{host}/team/jobs"),
        format!("etcd://team:p%3Aw%2F%40@{host}/others/jobs"),
    ] {
        let at = Instant::now();
        let error = lock(&url).patience(secs(20)).acquire().unwrap_err();

        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
        assert!(at.elapsed() < secs(10), "{:?}", at.elapsed());
    }
}

#[test]
fn a_restarted_server_ends_neither_a_hold_nor_a_wait() {
    let mut server = server();
    let lock = lock(&server.url("jobs")).timeout(secs(20));
    let guard = lock.acquire().unwrap();
    let waiter = wait_in_queue(&lock);

    server.kill().unwrap();
    assert!(guard.is_held());
    server.restart().unwrap();

    see("a renewal", || guard.renew().is_ok());
    let token = guard.token();
    guard.release().unwrap();
    let next = waiter.join().unwrap().unwrap();
    assert!(next.token() > token);
}

#[test]
fn a_user_logs_in_again_when_the_server_has_forgotten_it() {
    let mut server = server();
    server.require_users(&[User { name: "team", password: "pw", prefix: "jobs" }]).unwrap();
    let url = format!("etcd://team:pw@{}/jobs", server.endpoint());
    let guard = lock(&url).timeout(secs(20)).acquire().unwrap();

    // A server keeps its tokens in memory.
    server.kill().unwrap();
    server.restart().unwrap();

    see("a renewal", || guard.renew().is_ok());
    guard.release().unwrap();
}

#[test]
fn a_compaction_during_a_wait_costs_no_wake_up() {
    let server = server();
    let lock = lock(&server.url("jobs")).timeout(secs(60));
    let guard = lock.acquire().unwrap();
    let waiter = wait_in_queue(&lock);
    for _ in 0..10 {
        server.control(&["put", "other", "x"]).unwrap();
    }
    server.compact().unwrap();

    let at = Instant::now();
    guard.release().unwrap();
    drop(waiter.join().unwrap().unwrap());

    assert!(at.elapsed() < secs(5), "{:?}", at.elapsed());
}

#[test]
fn a_waiter_that_loses_its_lease_queues_again() {
    let server = server();
    let lock = lock(&server.url("jobs")).timeout(secs(20));
    let guard = lock.acquire().unwrap();
    let waiter = wait_in_queue(&lock);
    let by_age = ["get", "--prefix", "jobs.lockdir/", "--keys-only", "--sort-by=CREATE"];
    let keys = server.control(&by_age).unwrap();
    let own = keys.lines().rfind(|line| !line.is_empty()).unwrap().to_owned();
    let lease = own.rsplit('/').next().unwrap().to_owned();

    server.control(&["lease", "revoke", &lease]).unwrap();
    // The waiter finds that its place is lost when it looks again, to renew its own lease.
    see("it queues anew", || {
        let keys = server.control(&by_age).unwrap();
        keys.lines().filter(|line| !line.is_empty()).count() == 2 && !keys.contains(&own)
    });

    guard.release().unwrap();
    drop(waiter.join().unwrap().unwrap());
}

#[test]
fn a_loss_is_reported_at_the_deadline_when_the_server_is_silent() {
    let mut server = server();
    // Times in this test count from here, on one clock.
    let began = Instant::now();
    let reported = Arc::new(AtomicU64::new(0));
    let report = reported.clone();
    let lock = lock(&server.url("jobs")).timeout(secs(4)).renew_automatically(true).on_lost(
        move |error| {
            assert!(error.is_lost());
            report.store(u64::try_from(began.elapsed().as_millis()).unwrap(), Ordering::SeqCst);
        },
    );
    let guard = lock.acquire().unwrap();
    let mut rest = guard.remaining();
    server.stop().unwrap();
    let mut over = began.elapsed();

    see("that it is lost", || {
        if reported.load(Ordering::SeqCst) == 0 {
            // A renewal under way may still have counted.
            (over, rest) = (began.elapsed(), guard.remaining());
        }
        reported.load(Ordering::SeqCst) != 0
    });

    let (reported, deadline) = (ms(reported.load(Ordering::SeqCst)), over + rest);
    assert!(reported + ms(1) >= deadline, "reported after {reported:?}, over after {deadline:?}");
    assert!(reported <= deadline + secs(2), "reported after {reported:?}, over after {deadline:?}");
    assert!(!guard.is_held());
    assert!(guard.lost().is_some_and(|error| error.is_lost()));
    server.go_on().unwrap();
}

#[test]
fn a_cluster_that_loses_a_member_and_its_leader_goes_on() {
    crate::begin();
    let mut cluster = Cluster::on_loopback(&Options::default()).unwrap();
    let lock = lock(&cluster.url("jobs")).timeout(secs(10)).patience(secs(30));
    let mut last = 0;
    for fault in 0..4 {
        let leader = cluster.leader().unwrap();
        let member = if fault % 2 == 0 { leader } else { (leader + 1) % 3 };
        let guard = lock.acquire().unwrap();
        match fault {
            0 | 1 => cluster.member(member).kill().unwrap(),
            _ => cluster.member(member).stop().unwrap(),
        }

        see("a renewal", || guard.renew().is_ok());
        assert!(guard.token() > last);
        last = guard.token();
        guard.release().unwrap();
        let next = lock.acquire().unwrap();
        assert!(next.token() > last);
        last = next.token();
        next.release().unwrap();

        match fault {
            0 | 1 => cluster.member(member).restart().unwrap(),
            _ => cluster.member(member).go_on().unwrap(),
        }
        cluster.await_health().unwrap();
    }
}
