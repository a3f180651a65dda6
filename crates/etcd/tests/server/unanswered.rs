//! Requests that are carried out but whose answers are lost, after every number of bytes.

use lockbydir::{Guard, State};
use lockbydir_etcd_lab::Server;

use crate::proxy::Proxy;
use crate::{lock, secs, see, server};

/// The step from one cut to the next, in bytes: shorter than any answer, so that each answer is cut.
const STEP: i64 = 24;

/// Runs `verb` with its answers lost after every number of bytes, until one run loses none. The lock
/// knows two addresses: first a proxy, then the server itself.
fn with_answers_lost(verb: impl Fn(Guard)) {
    let server = server();
    let mut cut = 0;
    loop {
        let proxy = Proxy::start(server.endpoint());
        let url = format!("etcd://{},{}/cut-{cut}", proxy.address, server.endpoint());
        let lock = lock(&url).timeout(secs(20)).patience(secs(20));
        let guard = lock.acquire().unwrap();
        let token = guard.token();
        proxy.allow(cut);
        verb(guard);

        let next = lock.acquire().unwrap();
        assert!(next.token() > token, "after {cut} bytes");
        next.release().unwrap();
        assert_empty(&server, &format!("cut-{cut}"));
        if !proxy.has_hung_up() {
            break;
        }
        cut += STEP;
    }
    assert!(cut > STEP, "nothing was ever lost");
}

/// Asserts that nothing of the lock is left: no key, no record.
#[track_caller]
fn assert_empty(server: &Server, name: &str) {
    let prefix = format!("{name}.lockdir");
    see("that nothing is left", || {
        server.control(&["get", "--prefix", &prefix, "--keys-only"]).unwrap().trim().is_empty()
    });
}

#[test]
fn an_acquisition_whose_answers_are_lost_ends_with_one_hold() {
    let server = server();
    let mut cut = 0;
    loop {
        let proxy = Proxy::start(server.endpoint());
        proxy.allow(cut);
        let name = format!("cut-{cut}");
        let url = format!("etcd://{},{}/{name}", proxy.address, server.endpoint());
        let lock = lock(&url).timeout(secs(20)).patience(secs(20));

        let guard = lock.acquire().unwrap();

        let status = lock.status().unwrap();
        assert_eq!((status.state, status.token), (State::Held, Some(guard.token())));
        assert!(status.queue.is_empty(), "after {cut} bytes: {:?}", status.queue);
        assert!(guard.remaining() > secs(10));
        guard.renew().unwrap();
        guard.release().unwrap();
        assert_empty(&server, &name);
        if !proxy.has_hung_up() {
            break;
        }
        cut += STEP;
    }
    assert!(cut > STEP, "nothing was ever lost");
}

#[test]
fn a_renewal_whose_answers_are_lost_keeps_the_hold() {
    with_answers_lost(|guard| {
        guard.renew().unwrap();
        assert!(guard.is_held());
        guard.release().unwrap();
    });
}

#[test]
fn a_new_timeout_whose_answers_are_lost_is_on_one_lease() {
    with_answers_lost(|guard| {
        guard.set_timeout(secs(40)).unwrap();
        assert!(guard.remaining() > secs(30));
        guard.renew().unwrap();
        guard.release().unwrap();
    });
}

#[test]
fn a_release_whose_answers_are_lost_is_a_release() {
    with_answers_lost(|guard| guard.release().unwrap());
}
