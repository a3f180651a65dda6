//! A file system that is frozen for a while under a lock (`fsfreeze`, as for a snapshot): the holder can
//! neither renew nor release, and nobody else can acquire.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    place::{Place, names},
    program::{Ran, lockbydir},
};

/// The timeout of the lock.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The lengths of the freezes: one ends before the timeout, the other does not.
const SHORT: Duration = Duration::from_secs(8);
const LONG: Duration = Duration::from_secs(15);

/// A frozen file system, thawed when this is dropped.
struct Frozen<'a> {
    at: &'a Path,
    since: Instant,
}

impl<'a> Frozen<'a> {
    fn new(at: &'a Path) -> Self {
        assert!(fsfreeze("--freeze", at), "cannot freeze {}", at.display());
        Self { at, since: Instant::now() }
    }

    /// Waits until it has been frozen for this long.
    fn wait(&self, time: Duration) {
        thread::sleep(time.saturating_sub(self.since.elapsed()));
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let thawed = fsfreeze("--unfreeze", self.at);
        assert!(thawed || thread::panicking(), "{} stays frozen", self.at.display());
    }
}

fn fsfreeze(option: &str, at: &Path) -> bool {
    Command::new("fsfreeze").arg(option).arg(at).status().expect("fsfreeze").success()
}

/// A job that writes outside the frozen file system until it is asked to end.
struct Job {
    log: PathBuf,
    stop: PathBuf,
    run: Child,
}

impl Job {
    fn start(place: &Place, at: &Path) -> Self {
        let outside = place.folder("outside");
        let (log, stop) = (outside.join("log"), outside.join("stop"));
        fs::write(&log, "").expect("a log");
        let script = "while [ ! -e \"$1\" ]; do echo x >> \"$0\"; sleep 0.02; done; echo finished";
        let run = start(at, script, &[&log, &stop]);
        let job = Self { log, stop, run };
        until("the job's beginning", || job.written() > 0);
        job
    }

    fn written(&self) -> u64 {
        fs::metadata(&self.log).expect("a log").len()
    }

    fn finish(self) -> Ran {
        fs::write(&self.stop, "").expect("a file");
        Ran::of(self.run.wait_with_output().expect("its end"))
    }
}

/// Runs a script under the lock `jobs` there.
fn start(at: &Path, script: &str, arguments: &[&Path]) -> Child {
    let timeout = format!("{}s", TIMEOUT.as_secs());
    let mut command = Command::new(lockbydir());
    command.args(["run", "-t", &timeout, "-w", "120s", "jobs", "--", "sh", "-c", script]);
    command.args(arguments).current_dir(at).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a renewal: a freeze that begins then has the whole timeout before it.
fn await_renewal(at: &Path) {
    let lock = at.join("jobs.lockdir");
    let before = names(&lock);
    until("a renewal", || names(&lock) != before);
}

#[test]
fn a_job_continues_after_a_freeze_without_another_holder() {
    for freeze in [SHORT, LONG] {
        let mut place = Place::new();
        let at = place.ext4("ext4", &[]);
        let job = Job::start(&place, &at);
        await_renewal(&at);

        let frozen = Frozen::new(&at);
        if freeze > TIMEOUT {
            // Past the deadline it must not run.
            frozen.wait(TIMEOUT + Duration::from_secs(1));
            let stopped_at = job.written();
            frozen.wait(freeze);
            assert_eq!(job.written(), stopped_at, "it runs after the timeout");
        }
        frozen.wait(freeze);
        drop(frozen);
        let thawed_at = job.written();
        until("more work", || job.written() > thawed_at);

        let ran = job.finish();
        assert_eq!((ran.code, ran.out.as_str()), (0, "finished\n"), "{freeze:?}: {ran:?}");
        assert_eq!(names(&at), ["lost+found"], "left behind");
    }
}

#[test]
fn after_a_long_freeze_with_a_waiter_there_is_one_holder() {
    let mut place = Place::new();
    let at = place.ext4("ext4", &[]);
    let job = Job::start(&place, &at);
    let watch = "a=$(wc -l < \"$0\"); sleep 0.5; b=$(wc -l < \"$0\"); echo in; [ \"$a\" = \"$b\" ] && echo alone";
    let waiter = start(&at, watch, &[&job.log]);
    until("a queue of waiters", || names(&at).len() > 2);
    await_renewal(&at);

    let frozen = Frozen::new(&at);
    frozen.wait(LONG);
    let thawed_at = job.written();
    drop(frozen);
    // One of the two has it now: the job, or the waiter, which ends the job.
    let lock = at.join("jobs.lockdir");
    until("a decision", || job.written() > thawed_at || !lock.exists());
    let job = job.finish();
    let waiter = Ran::of(waiter.wait_with_output().expect("its end"));

    println!("after the freeze the job ended with {}", job.code);
    match job.code {
        0 => assert_eq!(job.out, "finished\n", "{job:?}"),
        _ => job.refused(76, "lost"),
    }
    assert_eq!((waiter.code, waiter.out.as_str()), (0, "in\nalone\n"), "{waiter:?} {job:?}");
}
