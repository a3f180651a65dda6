//! Watches that are cut off or refused: a waiter sees a release all the same, long before it looks at the
//! queue again to renew its lease.

use std::io::Write;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Instant;

use lockbydir::{Error, Guard};
use lockbydir_etcd_lab::{Server, User};

use crate::proxy::Proxy;
use crate::{lock, secs, see, server, wait_in_queue};

/// The key of a holder that no process of this machine has, so that only a watch shows its release.
const HOLDER: &str = "jobs.lockdir/holder";

/// A lock that is held, and a waiter that is connected through a proxy.
struct Wait {
    server: Server,
    proxy: Proxy,
    waiter: JoinHandle<Result<Guard, Error>>,
}

impl Wait {
    /// Starts a waiter with this login, whose lease is not to be renewed within 100 s.
    fn start(server: Server, login: &str) -> Wait {
        server.control(&["lease", "grant", "600"]).unwrap();
        let leases = server.control(&["lease", "list"]).unwrap();
        let lease = leases.lines().last().unwrap();
        server.control(&["put", HOLDER, "held", "--lease", lease]).unwrap();
        let proxy = Proxy::start(server.endpoint());
        let lock = lock(&format!("etcd://{login}{}/jobs", proxy.address));
        let waiter = wait_in_queue(&lock.timeout(secs(300)));
        see("it watches", || watches(&server) > 0.0);
        Wait { server, proxy, waiter }
    }

    /// Cuts the waiter off until `meanwhile` is done, then ends the hold.
    fn cut_off_and_release(self, meanwhile: impl FnOnce(&Server)) {
        let Wait { server, proxy, waiter } = self;
        // Twice: the watch ends, and an attempt to start it again fails.
        for _ in 0..2 {
            proxy.allow(0);
            see("it is cut off", || proxy.has_hung_up());
        }
        meanwhile(&server);
        let before = watches(&server);
        proxy.allow(i64::MAX / 2);
        see("it watches again", || watches(&server) > before);
        server.control(&["del", HOLDER]).unwrap();

        let at = Instant::now();
        let guard = waiter.join().unwrap().unwrap();

        assert!(at.elapsed() < secs(5), "{:?}", at.elapsed());
        let started = watches(&server) - before;
        assert!(started < 20.0, "{started} watches were started");
        guard.release().unwrap();
    }
}

/// Returns the number of streams of watches that were ever started.
fn watches(server: &Server) -> f64 {
    server.counter("grpc_server_started_total", "grpc_method=\"Watch\"").unwrap()
}

#[test]
fn a_watch_is_started_again_when_it_is_cut_off() {
    Wait::start(server(), "").cut_off_and_release(|_| ());
}

#[test]
fn a_watch_of_a_compacted_revision_ends_in_a_look() {
    Wait::start(server(), "").cut_off_and_release(|server| {
        for _ in 0..10 {
            server.control(&["put", "other", "x"]).unwrap();
        }
        server.compact().unwrap();
    });
}

#[test]
fn a_watch_with_an_old_token_logs_in_again() {
    let mut server = server();
    server.require_users(&[User { name: "team", password: "pw", prefix: "jobs" }]).unwrap();

    Wait::start(server, "team:pw@").cut_off_and_release(|server| {
        // A new password ends the login, also if it is the same.
        let mut command = server.etcdctl();
        command.args(["user", "passwd", "team", "--interactive=false"]);
        let mut passwd = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        passwd.stdin.take().unwrap().write_all(b"pw\n").unwrap();
        assert!(passwd.wait().unwrap().success());
    });
}
