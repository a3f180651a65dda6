//! The parts of a plan that are impossible here, or make no sense.

use std::time::Duration;

use rustix::process::geteuid;

use super::{Ground, Plan, contender::Outcome, fault::Fault, faults, worker::LockUnderTest};

impl Plan {
    /// Returns what this machine cannot do of the plan, in a sentence.
    ///
    /// # Errors
    /// If the folder cannot be examined.
    pub fn refusal(&self) -> Outcome<Option<String>> {
        if let Some(why) = self.refusal_of_ground() {
            return Ok(Some(why));
        }
        let is_root = geteuid().is_root();
        let simple = |fault: &Fault| matches!(fault, Fault::Kill | Fault::Stop);
        if self.ground == Ground::Nfs && (self.counting || self.set.is_some()) {
            return Ok(Some("a counter or a set is not to be had between hosts".to_owned()));
        }
        if self.ground == Ground::Nfs && self.contestant == LockUnderTest::ProperLockfile {
            return Ok(Some("there is no Node in the guests".to_owned()));
        }
        if self.contestant != LockUnderTest::Lockbydir && !self.faults.iter().all(simple) {
            return Ok(Some("a known-bad lock is tortured by `kill` and `stop` only".to_owned()));
        }
        for fault in [Fault::Namespace, Fault::Pids] {
            if self.has(fault) && !is_root {
                return Ok(Some(format!("`{}` needs root", fault.word())));
            }
        }
        if self.has(Fault::Clock) && !self.stepped_clock().exists() {
            return Ok(Some(format!(
                "`clock` needs {}: `cargo build -p lockbydir-proof --examples` with the profile of \
                 this program makes it",
                self.stepped_clock().display()
            )));
        }
        if self.has(Fault::Full)
            && let Some(size) = faults::too_large(&self.dir)?
        {
            return Ok(Some(format!(
                "`full` fills the disk, and {} is on one of {} GB: mount a small one there, for \
                 example `mount -t tmpfs -o size=16m,nr_inodes=4k tmpfs DIR`",
                self.dir.display(),
                size >> 30
            )));
        }
        let package = self.node_modules().join("proper-lockfile");
        if self.contestant == LockUnderTest::ProperLockfile && !package.exists() {
            return Ok(Some(format!(
                "there is no {}: `verify/rivals/run --quick` installs it, or RIVALS_NODE_MODULES says \
                 where it is",
                package.display()
            )));
        }
        let least = self.shortest_timeout();
        if self.timeout < least {
            return Ok(Some(format!("this lock's shortest timeout is {least:?}")));
        }
        Ok(None)
    }

    fn refusal_of_ground(&self) -> Option<String> {
        let is_etcd = self.ground == Ground::Etcd;
        let is_there = match self.contestant {
            LockUnderTest::Lockbydir => true,
            other => other.is_on_etcd() == is_etcd,
        };
        if !is_there {
            return Some("this lock is not there: some are on etcd, others in folders".to_owned());
        }
        let faults: &[Fault] = match self.ground {
            Ground::Folder => &Fault::ALL,
            Ground::Etcd => &Fault::OF_A_CLUSTER,
            Ground::Nfs => &Fault::OF_HOSTS,
        };
        if let Some(fault) = self.faults.iter().find(|fault| !faults.contains(fault)) {
            return Some(format!("`{}` does not happen there", fault.word()));
        }
        let needs_root = is_etcd && !geteuid().is_root();
        needs_root.then(|| "etcd's members get networks of their own: that needs root".to_owned())
    }

    fn shortest_timeout(&self) -> Duration {
        match self.contestant {
            // The shortest lease, in whole seconds.
            _ if self.ground == Ground::Etcd => Duration::from_secs(1),
            LockUnderTest::ProperLockfile => Duration::from_secs(2),
            _ => lockbydir_protocol::MIN_TIMEOUT,
        }
    }
}
