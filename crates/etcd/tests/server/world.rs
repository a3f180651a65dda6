//! The contract of every engine, on an etcd server.

use std::time::Duration;

use lockbydir_etcd_lab::Server;

use crate::contract::{World, contract};
use crate::{see, server};

struct Etcd(Server);

impl World for Etcd {
    /// The shortest timeout that the test's servers allow; other servers allow 2 s.
    const SHORTEST: Duration = Duration::from_secs(1);
    const SEES_DEATH: bool = true;

    fn new() -> Etcd {
        Etcd(server())
    }

    fn folder(&self) -> String {
        format!("etcd://{}", self.0.endpoint())
    }

    fn folder_of_another_process(&self) -> String {
        // To this process the same server under another name is another cluster.
        self.folder().replace("127.0.0.1", "localhost")
    }

    fn assert_clean(&self) {
        see("that nobody queues", || {
            let keys = self.0.control(&["get", "--prefix", "jobs.lockdir/", "--keys-only"]);
            keys.unwrap().trim().is_empty()
        });
    }
}

contract! { Etcd }
