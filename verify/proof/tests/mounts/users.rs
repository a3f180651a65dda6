//! User namespaces: the same user has another number in each, or none.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use lockbydir_proof::scripted_worker::ScriptedWorker;
use rustix::process::Signal;

use crate::{
    namespaces::assert_respects,
    place::Place,
    program::{Ran, WORKER, finished, lockbydir, run, with_jobs},
};

/// A user namespace, for as long as its first process lives.
struct Users(Child);

impl Users {
    /// Makes a namespace in which the user `first` outside has the number 0, or no user has a number.
    fn from(first: Option<u32>) -> Self {
        let mut command = Command::new("unshare");
        let piped = command.args(["--user", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let child = piped.spawn().expect("a user namespace");
        let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).expect("its number");
        let ours = space("self");
        while space(&child.id().to_string()) == ours {
            thread::yield_now();
        }
        for map in ["uid_map", "gid_map"] {
            if let Some(first) = first {
                let mapped =
                    fs::write(format!("/proc/{}/{map}", child.id()), format!("0 {first} 65536"));
                mapped.expect("root may map users");
            }
        }
        Self(child)
    }

    /// Returns a command in the namespace, as this user of it, or as our own user.
    fn command(&self, user: Option<u32>, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.0.id().to_string(), "--user"]);
        match user {
            Some(user) => command.args(["--setuid", &user.to_string(), "--setgid", "0"]),
            None => command.arg("--preserve-credentials"),
        };
        command.arg("--").arg(program);
        command
    }

    fn run(&self, user: Option<u32>, folder: &Path, arguments: &[&str]) -> Ran {
        finished(self.command(user, &lockbydir()).args(arguments).current_dir(folder))
    }

    fn worker(&self, folder: &Path, options: &str) -> ScriptedWorker {
        let mut command = self.command(Some(0), Path::new(WORKER));
        with_jobs(ScriptedWorker::spawn(&mut command), folder, options)
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ROOT: Option<u32> = Some(0);
const ONE: u32 = 100_000;
const OTHER: u32 = 200_000;

#[test]
fn a_lock_of_another_user_namespace_is_refused_with_its_owner() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let (one, other) = (Users::from(Some(ONE)), Users::from(Some(OTHER)));
    let key = one.run(ROOT, &folder, &["acquire", "jobs"]);
    assert_eq!(key.code, 0, "{key:?}");

    // Its owner has no number there, and so the kernel's number for nobody.
    for verb in [&["run", "-n", "jobs", "--", "true"][..], &["break", "jobs"]] {
        let words = "belongs to user 65534";
        other.run(ROOT, &folder, verb).refused(77, words);
        run(&folder, verb).refused(77, "belongs to user 100000");
    }
    assert_eq!(one.run(ROOT, &folder, &["release", "jobs", key.out.trim()]).code, 0);
}

#[test]
fn a_shared_lock_passes_between_user_namespaces() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let (one, other) = (Users::from(Some(ONE)), Users::from(Some(OTHER)));
    let shared = format!("timeout_ms=30000 patience_ms=300 mode={}", 0o777);
    let (mut holder, mut waiter) = (one.worker(&folder, &shared), other.worker(&folder, &shared));

    for _ in 0..2 {
        holder.hold("acquire");
        assert_respects(&mut waiter, &mut holder);
        assert_eq!(holder.ask("release"), "ok");
        std::mem::swap(&mut holder, &mut waiter);
    }
    // They see each other's processes, though not whose they are.
    holder.hold("acquire");
    holder.signal(Signal::KILL);
    holder.wait();
    assert_eq!(waiter.hold("try").how, "after-death");
    assert_eq!(waiter.ask("release"), "ok");
}

#[test]
fn an_unmapped_user_owns_no_other_users_lock() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let (one, nobody) = (Users::from(Some(ONE)), Users::from(None));
    let key = one.run(ROOT, &folder, &["acquire", "--mode", "777", "jobs"]);
    assert_eq!(key.code, 0, "{key:?}");

    // For it, both it and the owner are 65534.
    let verb = ["run", "-n", "jobs", "--", "true"];
    nobody.run(None, &folder, &verb).refused(77, "belongs to user 65534");
    assert_eq!(one.run(ROOT, &folder, &["release", "jobs", key.out.trim()]).code, 0);
    // It may have its own lock.
    nobody.run(None, &folder, &["run", "-n", "jobs", "--", "echo", "in"]).printed("in");
}
