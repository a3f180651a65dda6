//! Containers: PIDs and boot clocks have a different meaning in each.

use std::{fs, path::Path, process::Command, time::Duration};

use lockbydir_proof::{
    clock,
    scripted_worker::{Held, ScriptedWorker, send},
    torture::fault::Fault,
};
use rustix::process::Signal;

use crate::{
    place::Place,
    program::{WORKER, run, run_within, scripted_worker, with_jobs},
};

pub(crate) const LONG: &str = "timeout_ms=30000 patience_ms=300";
pub(crate) const SHORT: &str = "timeout_ms=1000";
pub(crate) const PATIENT: &str = "timeout_ms=30000 patience_ms=10000";

/// Starts the first process of a container: PIDs, host name and mounts of its own, and an empty `/etc`.
pub(crate) fn container(options: &[&str]) -> ScriptedWorker {
    let script = "echo box > /proc/sys/kernel/hostname; mount -t tmpfs lockbydir /etc; exec $W";
    let mut command = Command::new("unshare");
    command.args(["--fork", "--kill-child", "--pid", "--mount-proc", "--uts"]).args(options);
    let mut first = ScriptedWorker::spawn(command.args(["sh", "-ec", script]).env("W", WORKER));
    assert_eq!(first.number("pid"), 1, "the first process of a container");
    first
}

/// Starts another process in a container.
fn one_more(container: &ScriptedWorker) -> ScriptedWorker {
    let mut command = Command::new("nsenter");
    command.args(["--target", &container.inner().to_string(), "--all", WORKER]);
    ScriptedWorker::spawn(&mut command)
}

/// Checks that the waiter neither takes nor breaks the holder's lock.
#[track_caller]
pub(crate) fn assert_respects(waiter: &mut ScriptedWorker, holder: &mut ScriptedWorker) {
    assert_eq!(waiter.ask("try"), "no");
    assert_eq!(waiter.ask("break-expired"), "still-held");
    assert_eq!(waiter.ask("acquire"), "patience-over");
    assert_eq!(holder.ask("is-held"), "true");
    assert_eq!(holder.ask("renew"), "ok");
}

/// Kills the process that does the work.
fn kill(mut worker: ScriptedWorker) {
    send(worker.inner(), Signal::KILL);
    worker.wait();
}

/// Lets the holder acquire the lock, kills it, and checks that the next process gets the lock after its
/// timeout of a second, not before and not much later.
#[track_caller]
pub(crate) fn assert_follows_after_the_timeout(
    mut holder: ScriptedWorker,
    next: &mut ScriptedWorker,
) {
    let before = clock::now();
    holder.hold("acquire");
    kill(holder);
    let taken = next.hold("acquire");
    let waited = Duration::from_nanos(clock::now() - before);
    assert_eq!(taken.how, "after-expiry");
    assert!(waited + Duration::from_millis(1) > Duration::from_secs(1), "after {waited:?}");
    assert!(waited < Duration::from_secs(4), "after {waited:?} only");
    assert_eq!(next.ask("release"), "ok");
}

/// Checks that the next process respects a live holder of the lock `jobs` there, and follows a killed one.
#[track_caller]
pub(crate) fn assert_respects_and_follows(
    mut holder: ScriptedWorker,
    mut next: ScriptedWorker,
    folder: &Path,
) {
    holder.hold("acquire");
    assert_respects(&mut next, &mut holder);
    assert_eq!(holder.ask("release"), "ok");

    holder.lock(&folder.join("jobs"), SHORT);
    next.lock(&folder.join("jobs"), PATIENT);
    assert_follows_after_the_timeout(holder, &mut next);
}

/// Mounts a tmpfs and an ext4.
fn volumes(place: &mut Place) -> [std::path::PathBuf; 2] {
    [place.tmpfs("tmpfs"), place.ext4("ext4", &[])]
}

/// Returns the owner that the name of the only entry there contains.
fn owner(folder: &Path) -> String {
    let mut entries = fs::read_dir(folder.join("jobs.lockdir")).expect("it is held");
    let name = entries.next().expect("an entry").expect("an entry").file_name();
    name.to_string_lossy().split('.').nth(11).expect("an owner").to_owned()
}

#[test]
fn pid_1_of_a_container_does_not_count_as_dead_in_another() {
    let mut place = Place::new();
    for folder in volumes(&mut place) {
        let mut holder = with_jobs(container(&[]), &folder, LONG);
        let mut waiter = with_jobs(container(&[]), &folder, LONG);

        for _ in 0..2 {
            holder.hold("acquire");
            assert!(owner(&folder).starts_with("1-"), "{}", owner(&folder));
            assert_respects(&mut waiter, &mut holder);
            assert_eq!(holder.ask("release"), "ok");
            std::mem::swap(&mut holder, &mut waiter);
        }
    }
}

#[test]
fn holders_with_equal_pid_and_start_are_judged_separately() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let owners = |worker: &mut ScriptedWorker| {
        worker.hold("acquire");
        let owner = owner(&folder);
        assert_eq!(worker.ask("release"), "ok");
        owner
    };
    // These clocks count in hundredths of a second, so two that start together are soon alike.
    let (mut one, mut other) = (0..200)
        .find_map(|_| {
            let starts: Vec<_> = (0..2).map(|_| std::thread::spawn(|| container(&[]))).collect();
            let mut both = starts.into_iter().map(|start| start.join().expect("a container"));
            let mut next = || with_jobs(both.next().expect("two"), &folder, PATIENT);
            let (mut one, mut other) = (next(), next());
            (owners(&mut one) == owners(&mut other)).then_some((one, other))
        })
        .expect("two of the same PID and start");

    one.lock(&folder.join("jobs"), SHORT);
    other.lock(&folder.join("jobs"), LONG);
    one.hold("acquire");
    assert_respects(&mut other, &mut one);
    assert_eq!(one.ask("release"), "ok");
    other.lock(&folder.join("jobs"), PATIENT);
    assert_follows_after_the_timeout(one, &mut other);
}

#[test]
fn death_is_noticed_at_once_in_the_same_container_only() {
    let mut place = Place::new();
    for folder in volumes(&mut place) {
        let (here, there) = (container(&[]), container(&[]));
        let mut beside = with_jobs(one_more(&here), &folder, PATIENT);

        let mut holder = with_jobs(one_more(&here), &folder, "timeout_ms=30000");
        holder.hold("acquire");
        beside.order("acquire");
        kill(holder);
        let answer = beside.answer().expect("an answer");
        assert_eq!(Held::parse(&answer).expect("the lock").how, "after-death");
        assert_eq!(beside.ask("release"), "ok");

        let holder = with_jobs(one_more(&here), &folder, SHORT);
        assert_follows_after_the_timeout(holder, &mut with_jobs(there, &folder, PATIENT));
    }
}

#[test]
fn boot_clocks_far_apart_do_not_change_the_timeout() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let ahead = "3600000".to_owned();
    // A boot clock cannot be set to a time before its boot.
    let behind = format!("-{}", (clock::now() / 1_000_000_000).saturating_sub(60));
    for (holders, waiters) in [(&ahead, &behind), (&behind, &ahead)] {
        let [of_holder, of_waiter] =
            [holders, waiters].map(|offset| ["--time", "--boottime", offset.as_str()]);

        let holder = with_jobs(container(&of_holder), &folder, LONG);
        let waiter = with_jobs(container(&of_waiter), &folder, LONG);
        assert_respects_and_follows(holder, waiter, &folder);
        // And a process outside all containers.
        let holder = with_jobs(container(&of_holder), &folder, SHORT);
        assert_follows_after_the_timeout(holder, &mut scripted_worker(&folder, PATIENT));
    }
}

#[test]
fn a_reused_time_namespace_number_does_not_shorten_a_key() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let number = "readlink /proc/self/ns/time; ";
    let within = |offset: &str, script: &str| {
        run_within(&folder, &["--time", "--boottime", offset], &format!("{number}{script}"))
    };
    let made = within("0", "$L acquire -t 60s jobs");
    let (of_maker, key) = made.out.trim().split_once('\n').expect("a number and a key");

    // The kernel gives the number of a namespace that is gone to the next one.
    let mut numbers = Vec::new();
    while !numbers.iter().any(|number| number == of_maker) {
        assert!(numbers.len() < 100, "{of_maker} does not come again: {numbers:?}");
        let ran = within("3600", "exec $L run -n jobs -- echo in");
        ran.refused(75, "held by a key, no process, from ");
        numbers.push(ran.out.trim().to_owned());
    }
    assert_eq!(run(&folder, &["release", "jobs", key]).code, 0);
}

#[test]
fn a_holder_with_the_wrong_proc_does_not_count_as_dead() {
    let place = Place::new();
    let folder = place.folder("volume");
    let holder = ScriptedWorker::start_in_another_pid_namespace_with_our_proc(WORKER);
    let mut holder = with_jobs(holder, &folder, LONG);
    let mut beside = with_jobs(ScriptedWorker::start_beside(WORKER, holder.inner()), &folder, LONG);

    // Whichever of the two holds, the other sees another process of that PID in its /proc.
    for _ in 0..2 {
        holder.hold("acquire");
        assert_respects(&mut beside, &mut holder);
        assert_eq!(holder.ask("release"), "ok");
        std::mem::swap(&mut holder, &mut beside);
    }
}

#[test]
fn two_never_hold_at_once_among_containers() {
    let mut place = Place::new();
    for folder in volumes(&mut place) {
        let mut plan = place.plan(&folder);
        plan.faults = vec![Fault::Kill, Fault::Stop, Fault::Pids, Fault::Namespace];
        place.judge(plan);
    }
}
