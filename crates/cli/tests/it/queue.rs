//! The queue of waiting processes: order, handoff, and everything that may go wrong with it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Folder, Ran, names, soon, until};

/// The bound for passing over a first waiter that does not take a free lock, in a short queue.
const PASSED_OVER: Duration = Duration::from_millis(1000);
/// How often the first waiter looks at the lock. If it gets the lock sooner, a release has woken it.
const LOOK: Duration = Duration::from_secs(1);

/// Returns the number of tickets in the queue.
fn tickets(folder: &Folder) -> usize {
    let queue = fs::read_dir(folder.path().join("jobs.lockdir.queue")).into_iter().flatten();
    let is_ticket = |entry: &fs::DirEntry| {
        let is_pipe = entry.file_type().is_ok_and(|kind| kind.is_fifo());
        is_pipe && entry.file_name().to_string_lossy().starts_with("t1.")
    };
    queue.flatten().filter(is_ticket).count()
}

fn wait_in_queue(folder: &Folder, script: &str) -> Child {
    let before = tickets(folder);
    let child = folder
        .command(&["run", "-w", "60s", "jobs", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("its ticket", || tickets(folder) > before);
    child
}

fn finished(child: Child) -> Ran {
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits until `/proc` shows that the process sleeps or is stopped.
fn until_state(child: &Child, wanted: char) {
    until("its state", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with(wanted)
    });
}

#[test]
fn processes_are_served_in_the_order_in_which_they_came() {
    let dial = |name: &str, default: usize| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (rounds, processes) =
        (dial("LOCKBYDIR_QUEUE_ROUNDS", 2), dial("LOCKBYDIR_QUEUE_PROCESSES", 12));
    for _ in 0..rounds {
        let orders: Vec<_> = (0..4).map_while(|_| wrong_order(processes)).collect();
        assert!(orders.len() < 4, "each time: {orders:?}");
    }
}

/// Returns the order in which these processes were served, unless it is that in which they came. A machine that
/// is so busy that the first one does not run for 0.1 s lets it be passed over.
fn wrong_order(processes: usize) -> Option<String> {
    let folder = Folder::new();
    let holding = folder.hold(&["-t", "60s"], "cat");
    let waiters: Vec<_> = (0..processes)
        .map(|number| wait_in_queue(&folder, &format!("echo {number} >> served")))
        .collect();

    assert_eq!(holding.finish().code, 0);
    waiters.into_iter().for_each(|waiter| drop(finished(waiter)));

    let served = fs::read_to_string(folder.path().join("served")).unwrap();
    fs::remove_file(folder.path().join("served")).unwrap();
    let expected: String = (0..processes).map(|number| format!("{number}\n")).collect();
    (served != expected).then_some(served)
}

#[test]
fn a_lock_is_handed_over_in_place() {
    let folder = Folder::new();
    let inode = || fs::metadata(folder.path().join("jobs.lockdir")).unwrap().ino();
    let holding = folder.hold(&[], "cat");
    let (first, token) = (inode(), folder.status()["token"].as_u64());
    let waiter = wait_in_queue(&folder, "stat -c %i jobs.lockdir; echo $LOCKBYDIR_TOKEN");

    assert_eq!(holding.finish().code, 0);

    let out = finished(waiter).out;
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some(first.to_string().as_str()), "neither removed nor made");
    assert!(lines.next().unwrap().parse::<u64>().ok() > token);
}

#[test]
fn status_shows_the_queue() {
    let folder = Folder::new();
    let holding = folder.hold(&[], "cat");
    let first = wait_in_queue(&folder, "true");
    let second = wait_in_queue(&folder, "true");

    let status = folder.status();
    let line = status["queue"].as_array().unwrap();
    assert_eq!(line[0]["pid"], first.id());
    assert_eq!(line[1]["pid"], second.id());
    assert_eq!(line[0]["label"], "sh");
    assert!(line[0]["waiting_s"].as_f64() >= line[1]["waiting_s"].as_f64());
    let text = folder.run(&["status", "jobs"]).out;
    assert!(text.contains(&format!("1st   pid {} (sh), for ", first.id())), "{text}");
    assert!(text.contains(&format!("2nd   pid {} (sh), for ", second.id())), "{text}");

    assert_eq!(holding.finish().code, 0);
    finished(first);
    finished(second);
}

#[test]
fn a_waiter_that_gives_up_leaves_the_queue() {
    soon(LOOK, || {
        let folder = Folder::new();
        let holding = folder.hold(&[], "cat");
        let gives_up = Instant::now() + Duration::from_secs(3);
        let first = folder
            .command(&["run", "-w", "3s", "jobs", "--", "true"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("its ticket", || tickets(&folder) == 1);
        let second = wait_in_queue(&folder, "echo in");

        assert_eq!(Ran::of(first.wait_with_output().unwrap()).code, 75);
        assert_eq!(tickets(&folder), 1);
        assert_eq!(holding.finish().code, 0);
        finished(second);
        gives_up.elapsed()
    });
}

#[test]
fn the_last_waiter_that_gives_up_removes_the_queue() {
    let folder = Folder::new();
    let holding = folder.hold(&[], "cat");
    folder.run(&["run", "-w", "100ms", "jobs", "--", "true"]).refused(75, "held by");
    assert_eq!(folder.names(), ["jobs.lockdir"]);
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn a_dead_first_in_queue_is_replaced_at_once() {
    soon(LOOK, || {
        let folder = Folder::new();
        let holding = folder.hold(&["-t", "60s"], "cat");
        let mut first = wait_in_queue(&folder, "true");
        let second = wait_in_queue(&folder, "echo in");
        let third = wait_in_queue(&folder, "echo in");

        let killed = Instant::now();
        first.kill().unwrap();
        first.wait().unwrap();
        until("the removal of its ticket", || tickets(&folder) == 2);

        assert_eq!(holding.finish().code, 0);
        finished(second);
        finished(third);
        killed.elapsed()
    });
}

#[test]
fn a_stopped_first_waiter_is_passed_over_and_requeued() {
    soon(PASSED_OVER, pass_over_a_stopped_waiter);
}

fn pass_over_a_stopped_waiter() -> Duration {
    let folder = Folder::new();
    let holding = folder.hold(&["-t", "60s"], "cat");
    let first = wait_in_queue(&folder, "echo first >> served");
    let second = wait_in_queue(&folder, "echo second >> served");
    until_state(&first, 'S');
    signal(&first, Signal::STOP);
    until_state(&first, 'T');

    let released = Instant::now();
    assert_eq!(holding.finish().code, 0);
    finished(second);
    let took = released.elapsed();

    let holding = folder.hold(&["-t", "60s"], "cat");
    let third = wait_in_queue(&folder, "echo third >> served");
    signal(&first, Signal::CONT);
    until("its new ticket", || {
        let line = folder.status()["queue"].clone();
        line.as_array().unwrap().last().unwrap()["pid"] == first.id()
    });
    assert_eq!(holding.finish().code, 0);
    finished(third);
    finished(first);
    let served = fs::read_to_string(folder.path().join("served")).unwrap();
    fs::remove_file(folder.path().join("served")).unwrap();
    // The third is passed over, too, if it does not run for 0.1 s.
    match &*served {
        "second\nthird\nfirst\n" => took,
        "second\nfirst\nthird\n" => Duration::MAX,
        other => panic!("{other}"),
    }
}

#[test]
fn a_deleted_queue_costs_order_but_no_progress() {
    soon(Duration::from_secs(5), || {
        let folder = Folder::new();
        let holding = folder.hold(&["-t", "60s"], "cat");
        let waiters: Vec<_> = (0..3).map(|_| wait_in_queue(&folder, "true")).collect();

        fs::remove_dir_all(folder.path().join("jobs.lockdir.queue")).unwrap();
        let released = Instant::now();
        assert_eq!(holding.finish().code, 0);

        waiters.into_iter().for_each(|waiter| drop(finished(waiter)));
        released.elapsed()
    });
}

#[test]
fn foreign_files_in_the_queue_are_left_alone() {
    let folder = Folder::new();
    let line = folder.path().join("jobs.lockdir.queue");
    fs::write(folder.path().join("victim"), "precious").unwrap();
    fs::create_dir(&line).unwrap();
    symlink("../victim", line.join("bell")).unwrap();
    let ticket = "t1.5.00000000000000000000000001.5.00.1.1.1-1.h.-";
    for name in ["notes", ticket, "t1.x", "\u{1b}[2J"] {
        fs::write(line.join(name), "theirs").unwrap();
    }

    let holding = folder.hold(&["-t", "60s"], "cat");
    let waiters: Vec<_> = (0..3).map(|_| wait_in_queue(&folder, "true")).collect();
    assert_eq!(holding.finish().code, 0);
    waiters.into_iter().for_each(|waiter| drop(finished(waiter)));

    assert_eq!(names(&line).len(), 5, "{:?}", names(&line));
    assert_eq!(fs::read_to_string(folder.path().join("victim")).unwrap(), "precious");
    fs::remove_dir_all(&line).unwrap();
    fs::remove_file(folder.path().join("victim")).unwrap();
}

#[test]
fn waiting_works_where_no_queue_can_be_made() {
    for what in ["a file", "a link"] {
        soon(Duration::from_millis(500), || {
            let folder = Folder::new();
            let line = folder.path().join("jobs.lockdir.queue");
            match what {
                "a file" => fs::write(&line, "theirs").unwrap(),
                _ => symlink("elsewhere", &line).unwrap(),
            }
            let holding = folder.hold(&["-t", "60s"], "cat");
            let waiter = folder
                .command(&["run", "jobs", "--", "echo", "in"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            until_state(&waiter, 'S');
            let released = Instant::now();
            assert_eq!(holding.finish().code, 0);
            finished(waiter);
            fs::remove_file(&line).unwrap();
            released.elapsed()
        });
    }
}

#[test]
fn a_forced_break_wakes_the_first_in_queue() {
    soon(LOOK, || {
        let folder = Folder::new();
        let key = folder.run(&["acquire", "-t", "60s", "jobs"]).out;
        let begun = Instant::now();
        let waiter = wait_in_queue(&folder, "true");

        assert_eq!(folder.run(&["break", "--force", "jobs"]).code, 0);

        finished(waiter);
        let took = begun.elapsed();
        folder.run(&["release", "jobs", key.trim()]).refused(76, "lost");
        took
    });
}

#[test]
fn releasing_a_key_wakes_the_first_waiter() {
    soon(LOOK, || {
        let folder = Folder::new();
        let key = folder.run(&["acquire", "-t", "60s", "jobs"]).out;
        let begun = Instant::now();
        let waiter = wait_in_queue(&folder, "true");
        assert_eq!(folder.run(&["release", "jobs", key.trim()]).code, 0);
        finished(waiter);
        begun.elapsed()
    });
}

#[test]
fn what_killed_waiters_left_is_cleaned() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "-t", "60s", "jobs"]).out;
    let mut waiters = [wait_in_queue(&folder, "true"), wait_in_queue(&folder, "true")];
    for waiter in &waiters {
        signal(waiter, Signal::STOP);
        until_state(waiter, 'T');
    }
    for waiter in &mut waiters {
        waiter.kill().unwrap();
        waiter.wait().unwrap();
    }
    assert_eq!(folder.status()["queue"].as_array().unwrap().len(), 2);
    let ran = folder.run(&["clean"]);
    assert!(ran.out.contains("jobs.lockdir.queue"), "{ran:?}");
    assert_eq!(folder.names(), ["jobs.lockdir"]);
    assert_eq!(folder.run(&["release", "jobs", key.trim()]).code, 0);
}

#[test]
fn one_try_does_not_jump_the_queue() {
    let folder = Folder::new();
    let holding = folder.hold(&["-t", "60s"], "cat");
    let waiter = wait_in_queue(&folder, "until [ -e go ]; do sleep 0.05; done; rm go");

    folder.run(&["run", "-n", "jobs", "--", "true"]).refused(75, "held by");
    assert_eq!(holding.finish().code, 0);
    until("the waiter holds", || folder.status()["state"] == "held");
    folder.run(&["run", "-n", "jobs", "--", "true"]).refused(75, "held by");

    fs::write(folder.path().join("go"), "").unwrap();
    finished(waiter);
}

/// The only waiter is stopped. A single try gives it the time to come, and then acquires the lock.
fn one_try_passes_over_a_stopped_waiter(frees: impl FnOnce(&Folder) -> Box<dyn FnOnce() + '_>) {
    let folder = Folder::new();
    let free = frees(&folder);
    let waiter = wait_in_queue(&folder, "true");
    signal(&waiter, Signal::STOP);
    until_state(&waiter, 'T');
    free();

    let tries = Instant::now();
    let ran = folder.run(&["run", "-n", "jobs", "--", "true"]);

    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(tries.elapsed() < Duration::from_secs(10), "{:?}", tries.elapsed());
    signal(&waiter, Signal::CONT);
    finished(waiter);
}

#[test]
fn one_try_passes_a_stopped_waiter_of_a_free_lock() {
    one_try_passes_over_a_stopped_waiter(|folder| {
        let holding = folder.hold(&["-t", "60s"], "cat");
        Box::new(move || assert_eq!(holding.finish().code, 0))
    });
}

#[test]
fn one_try_passes_a_stopped_waiter_of_an_expired_lock() {
    one_try_passes_over_a_stopped_waiter(|folder| {
        assert_eq!(folder.run(&["acquire", "-t", "3s", "jobs"]).code, 0);
        Box::new(|| until("its expiry", || folder.status()["state"] == "expired"))
    });
}

#[test]
fn one_try_passes_a_stopped_waiter_of_a_dead_holder() {
    one_try_passes_over_a_stopped_waiter(|folder| {
        let mut owner = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = owner.id().to_string();
        assert_eq!(folder.run(&["acquire", "-t", "60s", "--pid", &pid, "jobs"]).code, 0);
        Box::new(move || {
            owner.kill().unwrap();
            owner.wait().unwrap();
        })
    });
}

#[test]
fn an_idle_ticket_of_another_host_is_passed_over() {
    soon(PASSED_OVER, pass_over_a_ticket_of_another_host);
}

fn pass_over_a_ticket_of_another_host() -> Duration {
    let folder = Folder::new();
    let line = folder.path().join("jobs.lockdir.queue");
    let holding = folder.hold(&["-t", "60s"], "cat");
    fs::create_dir(&line).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ticket = format!(
        "t1.{}.00000000000000000000000001.5.00000000000000aa.effffffa.effffffc.7-7.elsewhere.-",
        now.as_micros()
    );
    let made = std::process::Command::new("mkfifo").arg(line.join(&ticket)).status().unwrap();
    assert!(made.success());
    let waiter = wait_in_queue(&folder, "true");
    assert_eq!(folder.status()["queue"][0]["host"], "elsewhere");

    let released = Instant::now();
    assert_eq!(holding.finish().code, 0);

    finished(waiter);
    released.elapsed()
}
