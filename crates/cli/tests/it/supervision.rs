//! `run` on Linux: whatever happens to `lockbydir`, no process that its command has started works on
//! beside the next holder.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{Folder, Holding, Ran, below, is_alive, quoted, quoted_program, until, ways};

/// The number of kills at varied moments; `LOCKBYDIR_KILLS` in the environment sets another one.
const KILLS: u64 = 6;

/// A folder for the files that the commands of a test write, outside the folder of their lock.
struct Outside(tempfile::TempDir);

impl Outside {
    fn new() -> Outside {
        Outside(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, text: &str) -> String {
        std::fs::write(self.file(name), text).unwrap();
        self.file(name).to_str().unwrap().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }
}

/// Each process writes its lock's token again and again, and starts two of the next depth: one in a
/// session of its own, whose parent is gone.
const TREE: &str = r#"
if [ "$2" -gt 0 ]; then
    (setsid sh "$0" "$1" $(($2 - 1)) &)
    sh "$0" "$1" $(($2 - 1)) &
fi
while :; do echo "$LOCKBYDIR_TOKEN" >> "$1"; sleep 0.01; done
"#;

/// Prints whether the log grows, and if so its lengths.
const WATCH: &str = r#"a=$(wc -l < "$0"); sleep 0.1; b=$(wc -l < "$0"); [ "$a" = "$b" ] && echo alone || echo "grew $a $b""#;

#[test]
fn a_killed_run_leaves_no_writer_beside_the_next_holder() {
    let kills = std::env::var("LOCKBYDIR_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for way in ways() {
        (0..kills).for_each(|nth| kill_at_some_moment(way, nth));
    }
}

/// The number of targets of a kill: `lockbydir`, the supervisor, the group, or combinations.
const VICTIMS: u64 = 4;

fn kill_at_some_moment(way: &[&str], nth: u64) {
    let (folder, outside) = (Folder::new(), Outside::new());
    let tree = outside.script("tree", TREE);
    let log = outside.file("log");
    std::fs::write(&log, "").unwrap();
    let mut run = folder
        .command(&["run", "-t", "60s"])
        .args(way)
        .args(["jobs", "--", "sh", &tree, log.to_str().unwrap(), "3"])
        .process_group(0)
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&run);
    // From before the lock exists until the whole tree works.
    let moment = Duration::from_millis(nth * 7919 % 200);
    std::thread::sleep(moment);

    // If only the supervisor is killed, `lockbydir` ends the rest, and an uncontained rest may be seen
    // meanwhile. So the supervisor is a target only with `--contain`.
    let supervisor = supervisor_of(run.id()).filter(|_| !way.is_empty());
    let _ = match (nth % VICTIMS, supervisor) {
        (0, _) => kill_process(pid, Signal::KILL),
        (2, Some(supervisor)) => kill_process(supervisor, Signal::KILL),
        (3, Some(supervisor)) => kill_process(supervisor, Signal::KILL)
            .and_then(|()| kill_process_group(pid, Signal::KILL)),
        _ => kill_process_group(pid, Signal::KILL),
    };
    let next = folder.run(&[
        "run",
        "-q",
        "-w",
        "20s",
        "jobs",
        "--",
        "sh",
        "-c",
        WATCH,
        log.to_str().unwrap(),
    ]);
    run.wait().unwrap();

    assert_eq!(
        (next.code, next.out.as_str()),
        (0, "alone\n"),
        "kill {nth} after {moment:?} {way:?}"
    );
    // The kill may have left a stage behind.
    folder.run(&["clean"]);
    for name in folder.names() {
        std::fs::remove_dir_all(folder.path().join(name)).unwrap();
    }
}

fn supervisor_of(run: u32) -> Option<Pid> {
    let is_supervisor = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"run-supervisor\n")
    };
    below(run.cast_signed()).into_iter().find(is_supervisor).and_then(Pid::from_raw)
}

#[test]
fn forking_chains_end_with_the_lock() {
    ways().into_iter().for_each(chains_end);
}

fn chains_end(way: &[&str]) {
    const CHAIN: &str = "use POSIX (); while (1) { select undef, undef, undef, 0.0005;
        open my $log, '>>', $ARGV[0]; print $log 'x'; close $log;
        my $pid = fork; POSIX::_exit(0) if $pid; POSIX::setsid() if defined $pid }";
    let (folder, outside) = (Folder::new(), Outside::new());
    let chain = outside.script("chain", CHAIN);
    let (chain, log) = (quoted(chain), quoted(outside.file("log")));
    let script = format!("for i in 1 2 3 4; do perl {chain} {log} & done; exec sleep 60");
    let holding = folder.hold(&[&["-t", "3s"], way].concat(), &format!("({script}) >/dev/null; :"));
    until("the chains", || outside.log().len() > 100);

    assert_eq!(folder.run(&["break", "--force", "jobs"]).code, 0);
    let ran = holding.finish();
    let length = outside.log().len();
    std::thread::sleep(Duration::from_millis(300));

    ran.refused(76, "the lock was lost, so the command was ended");
    assert_eq!(outside.log().len(), length, "a chain goes on");
}

#[test]
fn a_commands_orphans_are_reaped_while_it_runs() {
    ways().into_iter().for_each(orphans_are_reaped);
}

fn orphans_are_reaped(way: &[&str]) {
    let folder = Folder::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (sh -c 'echo $$' &); done; echo end; cat; :";
    let mut holding = folder.hold(way, script);
    let mut orphans = 0;
    while orphans < 10 {
        orphans += usize::from(holding.line().parse::<i32>().is_ok());
    }

    // The supervisor, the command and its `cat`.
    until("the orphans' end", || below(holding.child.id().cast_signed()).len() == 3);

    assert_eq!(holding.finish().code, 0);
}

#[test]
fn children_that_lockbydir_did_not_start_are_left_alone() {
    let (folder, outside) = (Folder::new(), Outside::new());
    let program = quoted_program();
    let pid = outside.file("pid");
    let script = format!(
        "sleep 60 >/dev/null 2>&1 & echo $! > {}; exec {program} run -t 2s jobs -- sh -c 'echo $$; exec sleep 60'",
        quoted(&pid)
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(folder.path());
    let holding = Holding::start(command);

    folder.run(&["break", "--force", "jobs"]);
    holding.finish().refused(76, "the command was ended");

    let other: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    assert!(is_alive(other), "it is somebody else's");
    kill_process(Pid::from_raw(other).unwrap(), Signal::KILL).unwrap();
}

/// Under cron, in a container or in CI a process group is orphaned: it has no parent outside. The kernel
/// hangs up on a group when it becomes orphaned; the end of a command there must not look like that.
#[test]
fn a_commands_end_does_not_hang_up_on_a_stopped_group() {
    let folder = Folder::new();
    let program = quoted_program();
    let script = format!(
        "sleep 60 & kill -STOP $!; {program} run jobs -- true; cut -d' ' -f3 /proc/$!/stat; kill -KILL $!"
    );

    let ran = Command::new("setsid")
        .args(["--wait", "sh", "-c", &script])
        .current_dir(folder.path())
        .output()
        .unwrap();

    let ran = Ran::of(ran);
    assert_eq!((ran.code, ran.out.as_str()), (0, "T\n"), "{ran:?}");
}

/// Returns the parent and the process group of a process.
fn parent_and_group(pid: i32) -> (i32, i32) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit(") ").next().unwrap().to_owned();
    let mut fields = rest.split(' ').skip(1).map(|field| field.parse().unwrap());
    (fields.next().unwrap(), fields.next().unwrap())
}

#[test]
fn only_the_command_stays_in_the_callers_group() {
    let folder = Folder::new();
    let holding = folder.hold(&[], "cat");
    let ours = holding.child.id().cast_signed();

    let (supervisor, group) = parent_and_group(holding.pid);

    assert_eq!(group, parent_and_group(ours).1);
    assert_eq!(parent_and_group(supervisor), (ours, supervisor));
    let name = std::fs::read_to_string(format!("/proc/{supervisor}/comm")).unwrap();
    assert_eq!(name, "run-supervisor\n");
    assert_eq!(holding.finish().code, 0);
    // Not even a zombie is left that another process would have to wait for.
    assert!(!std::fs::exists(format!("/proc/{supervisor}")).unwrap());
}

#[test]
fn without_its_supervisor_the_command_and_all_it_started_end() {
    let folder = Folder::new();
    let script = "setsid sh -c 'echo $$; exec sleep 60' & (sleep 60 & echo $!); wait";
    let mut holding = folder.hold(&["-t", "60s"], script);
    let below: Vec<i32> = (0..2).map(|_| holding.line().parse().unwrap()).collect();
    let pid = holding.pid;

    let supervisor = Pid::from_raw(parent_and_group(pid).0).unwrap();
    kill_process(supervisor, Signal::KILL).unwrap();
    let ran = holding.finish();

    ran.refused(137, "supervisor was killed, so the command was ended");
    assert!(!is_alive(pid) && !below.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn a_stopped_lockbydir_stops_its_command_at_the_deadline() {
    ways().into_iter().for_each(all_stop_at_the_deadline);
}

fn all_stop_at_the_deadline(way: &[&str]) {
    let (folder, outside) = (Folder::new(), Outside::new());
    let log = outside.file("log");
    let tree = outside.script("tree", TREE);
    let script = format!("exec sh {} {} 1", quoted(tree), quoted(&log));
    // Between its deadline and the expiry there is half a second, in which the supervisor must run.
    let first = folder.hold(&[&["-t", "4s"], way].concat(), &script);
    until("the work", || outside.log().lines().count() > 10);

    first.signal(Signal::STOP);
    let log = log.to_str().unwrap();
    let second = folder.run(&["run", "-w", "60s", "jobs", "--", "sh", "-c", WATCH, log]);
    first.signal(Signal::CONT);

    assert_eq!((second.code, second.out.as_str()), (0, "alone\n"), "{second:?}");
    first.finish().refused(76, "lost the lock");
}

#[test]
fn a_command_continues_after_an_unused_pause() {
    ways().into_iter().for_each(a_pause_is_survived);
}

fn a_pause_is_survived(way: &[&str]) {
    let folder = Folder::new();
    let holding = folder.hold(&[&["-t", "500ms"], way].concat(), "read line; echo woke");
    let (ours, commands) = (Pid::from_child(&holding.child), Pid::from_raw(holding.pid).unwrap());
    kill_process(commands, Signal::STOP).unwrap();
    kill_process(ours, Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_millis(1500));

    kill_process(ours, Signal::CONT).unwrap();
    kill_process(commands, Signal::CONT).unwrap();

    let ran = holding.finish();
    assert_eq!((ran.code, ran.out.as_str()), (0, "woke\n"), "{ran:?}");
}

#[test]
fn a_lock_is_kept_for_the_commands_children_on_request() {
    ways().into_iter().for_each(children_keep_the_lock);
}

fn children_keep_the_lock(way: &[&str]) {
    let (folder, outside) = (Folder::new(), Outside::new());
    let pipe = outside.file("pipe");
    let script =
        format!("mkfifo {0}; (read go < {0}; echo late) & read end; exit 3", quoted(&pipe));
    let mut holding = folder.hold(&[&["--wait-children"], way].concat(), &script);
    let pid = holding.pid;
    drop(holding.child.stdin.take());
    until("the command's end", || !is_alive(pid));

    folder.run(&["run", "-n", "jobs", "--", "true"]).refused(75, "held by");
    std::fs::write(&pipe, "go\n").unwrap();

    let ran = holding.finish();
    assert_eq!((ran.code, ran.out.as_str()), (3, "late\n"), "{ran:?}");
}

#[test]
fn a_changed_link_does_not_move_the_lock() {
    let (folder, outside) = (Folder::new(), Outside::new());
    let link = folder.path().join("current");
    for name in ["one", "two"] {
        std::fs::create_dir(outside.file(name)).unwrap();
    }
    std::os::unix::fs::symlink(outside.file("one"), &link).unwrap();
    let holding = {
        let script = "echo $$; echo $LOCKBYDIR_NAME; cat";
        let args = ["run", "-t", "300ms", "current/jobs", "--", "sh", "-c", script];
        Holding::start(folder.command(&args))
    };

    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(outside.file("two"), &link).unwrap();
    std::thread::sleep(Duration::from_millis(900));

    assert!(outside.file("one/jobs.lockdir").exists());
    let ran = holding.finish();
    let one = outside.file("one").canonicalize().unwrap().join("jobs");
    assert_eq!((ran.code, ran.out.trim_end()), (0, one.to_str().unwrap()), "{ran:?}");
    assert!(!outside.file("one/jobs.lockdir").exists());
    std::fs::remove_file(&link).unwrap();
}

#[test]
fn a_caller_that_ignores_its_children_gets_the_commands_code() {
    let folder = Folder::new();
    let program = quoted_program();
    // Other shells do not ignore SIGCHLD even after `trap '' CHLD`.
    let run = |command: &str| {
        let caller = format!("trap '' CHLD; exec {program} run jobs -- {command}");
        let output = Command::new("bash").args(["-c", &caller]).current_dir(folder.path()).output();
        Ran::of(output.unwrap())
    };

    let seven = run("sh -c 'exit 7'");
    let ran = run("grep SigIgn /proc/self/status");

    assert_eq!((seven.code, seven.err.as_str()), (7, ""), "{seven:?}");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let ignored = u64::from_str_radix(ran.out.trim_start_matches("SigIgn:").trim(), 16).unwrap();
    assert_eq!(ignored >> 16 & 1, 1, "the command inherits what its caller ignores");
}
