//! Other users: their locks are refused, their folders deny access.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use lockbydir_testbed::needs;

use crate::{Folder, Ran, quoted};

pub(crate) const NOBODY: u32 = 65534;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a copy of the program that any user can run, and a folder that any user can write.
pub(crate) fn shared() -> (Folder, tempfile::TempDir, String) {
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("lockbydir");
    // The copy is not made by this process: a process that another test starts meanwhile would inherit
    // the descriptor that is open for writing, and then the program cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_lockbydir")).arg(&program).status();
    assert!(copied.unwrap().success());
    let program = program.to_str().unwrap().to_owned();
    (folder, place, program)
}

pub(crate) fn as_user(uid: u32, folder: &Folder, program: &str, args: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder.path());
    if is_root() {
        command.uid(uid).gid(uid);
    }
    Ran::of(command.output().unwrap())
}

#[test]
fn another_users_lock_is_refused_and_left_alone() {
    needs!(AnotherUser);
    let (folder, _place, program) = shared();
    let key = as_user(NOBODY, &folder, &program, &["acquire", "jobs"]);
    assert_eq!(key.code, 0, "{key:?}");

    // A third user may not read the directory; a user who may read it is refused, too.
    for mode in [0o700, 0o755] {
        fs::set_permissions(folder.path().join("jobs.lockdir"), fs::Permissions::from_mode(mode))
            .unwrap();
        for verb in [
            &["run", "-n", "jobs", "--", "true"][..],
            &["acquire", "-n", "jobs"],
            &["break", "jobs"],
        ] {
            as_user(1234, &folder, &program, verb).refused(77, "user 65534");
        }
        let status = as_user(1234, &folder, &program, &["status", "jobs"]);
        assert!(status.out.contains("belongs to user 65534"), "{status:?}");
        as_user(1234, &folder, &program, &["is-locked", "jobs"]).refused(77, "user 65534");
    }
    assert_eq!(fs::metadata(folder.path().join("jobs.lockdir")).unwrap().uid(), NOBODY);
    fs::set_permissions(folder.path().join("jobs.lockdir"), fs::Permissions::from_mode(0o700))
        .unwrap();
    assert_eq!(as_user(NOBODY, &folder, &program, &["release", "jobs", key.out.trim()]).code, 0);
}

#[test]
fn a_lock_shared_on_purpose_goes_from_user_to_user() {
    needs!(AnotherUser);
    let (folder, _place, program) = shared();
    for uid in [NOBODY, 1234] {
        let got =
            as_user(uid, &folder, &program, &["acquire", "--mode", "777", "-t", "500ms", "jobs"]);
        assert_eq!(got.code, 0, "{got:?}");
    }
    let status = as_user(4321, &folder, &program, &["status", "jobs", "--json"]);
    assert!(status.out.contains("\"token\": 1"), "who shared it may be seen: {status:?}");
    let ran =
        as_user(4321, &folder, &program, &["run", "--mode", "777", "-v", "jobs", "--", "true"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

const FIRST: u32 = 1234;
const SECOND: u32 = 4321;

/// Runs a test in folders in which the second user may not remove what the first one made: with the sticky
/// bit, with it and a group, and folders that only one other user may write. Both may use the lock itself.
fn where_only_the_first_user_removes(test: impl Fn(&dyn Fn(u32, &[&str]) -> Ran, &Folder, &str)) {
    const GROUP: u32 = 5678;
    for (owner, first, folder_mode, mode) in [
        (0, FIRST, 0o1777, "777"),
        (0, FIRST, 0o3770, "770"),
        (0, 0, 0o755, "777"),
        (FIRST, FIRST, 0o755, "777"),
    ] {
        let (folder, _place, program) = shared();
        std::os::unix::fs::chown(folder.path(), Some(owner), Some(GROUP)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(folder_mode)).unwrap();
        let run = |uid: u32, args: &[&str]| {
            let uid = if uid == FIRST { first } else { uid };
            let mut command = Command::new(&program);
            command.args(args).current_dir(folder.path()).uid(uid).gid(GROUP);
            let ran = Ran::of(command.output().unwrap());
            println!("{folder_mode:o}, user {uid}: {args:?}: {ran:?}");
            ran
        };
        test(&run, &folder, mode);
        // A lock that the second user could only leave open is left to its owner.
        let last = run(FIRST, &["run", "--mode", mode, "-n", "jobs", "--", "true"]);
        assert_eq!(last.code, 0, "{last:?}");
    }
}

#[test]
fn a_user_who_may_not_remove_a_shared_lock_leaves_it_open() {
    needs!(AnotherUser);
    where_only_the_first_user_removes(|run, _, mode| {
        let acquire = ["acquire", "--mode", mode, "-t", "500ms", "-w", "9s", "jobs"];
        assert_eq!(run(FIRST, &acquire).code, 0);
        for _ in 0..2 {
            let ran = run(SECOND, &["run", "--mode", mode, "-w", "9s", "jobs", "--", "true"]);
            assert_eq!(ran.code, 0, "{ran:?}");
            assert!(!ran.err.contains("cannot remove"), "{ran:?}");
        }
        // By key, and by force.
        let key = run(SECOND, &["acquire", "--mode", mode, "-n", "jobs"]);
        assert_eq!(run(SECOND, &["release", "jobs", key.out.trim()]).code, 0);
        assert_eq!(run(SECOND, &["acquire", "--mode", mode, "-n", "-t", "1h", "jobs"]).code, 0);
        let broken = run(SECOND, &["break", "--force", "--mode", mode, "jobs"]);
        assert_eq!(broken.code, 0, "{broken:?}");
    });
}

#[test]
fn an_empty_directory_that_a_user_may_not_remove_says_who_may() {
    needs!(AnotherUser);
    where_only_the_first_user_removes(|run, folder, mode| {
        assert_eq!(run(FIRST, &["acquire", "--mode", mode, "-t", "1h", "jobs"]).code, 0);
        // As after a release that was killed between its two calls.
        let lock = folder.path().join("jobs.lockdir");
        for entry in fs::read_dir(&lock).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(150));
        for verb in [
            &["run", "--mode", mode, "-n", "-t", "100ms", "jobs", "--", "true"][..],
            &["acquire", "--mode", mode, "-w", "200ms", "-t", "100ms", "jobs"],
            &["break", "--force", "--mode", mode, "jobs"],
        ] {
            run(SECOND, verb).refused(77, "must run `rmdir ");
        }
        fs::remove_dir(lock).unwrap();
    });
}

#[test]
fn a_key_is_good_in_a_directory_that_another_user_made() {
    needs!(AnotherUser);
    let (folder, _place, program) = shared();
    as_user(NOBODY, &folder, &program, &["acquire", "--mode", "777", "-t", "500ms", "jobs"]);
    let got = as_user(1234, &folder, &program, &["acquire", "--mode", "777", "jobs"]);
    assert_eq!(got.code, 0, "{got:?}");
    for verb in ["renew", "release"] {
        let ran = as_user(1234, &folder, &program, &[verb, "jobs", got.out.trim()]);
        assert_eq!(ran.code, 0, "{verb}: {ran:?}");
    }
}

#[test]
fn a_parent_folder_that_may_not_be_written_says_so() {
    needs!(AnotherUser);
    let (folder, _place, program) = shared();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for verb in [&["run", "-n", "jobs", "--", "true"][..], &["acquire", "jobs"]] {
        as_user(1234, &folder, &program, verb).refused(77, "Permission denied");
    }
    assert_eq!(as_user(1234, &folder, &program, &["is-locked", "jobs"]).code, 1);
}

#[test]
fn a_queue_that_may_not_be_written_stops_nobody() {
    needs!(AnotherUser);
    let (folder, _place, program) = shared();
    let line = folder.path().join("jobs.lockdir.queue");
    fs::create_dir(&line).unwrap();
    let got = as_user(NOBODY, &folder, &program, &["acquire", "-t", "500ms", "jobs"]);
    assert_eq!(got.code, 0, "{got:?}");

    let ran = as_user(NOBODY, &folder, &program, &["run", "-w", "10s", "jobs", "--", "echo", "in"]);

    assert_eq!((ran.code, ran.out.as_str()), (0, "in\n"), "{ran:?}");
    let _ = fs::remove_dir(&line); // a release may have done so: the folder is everybody's
}

#[test]
fn a_private_lock_is_waited_for_and_its_owner_is_named() {
    needs!(AnotherUser);
    let (folder, _place, program) = shared();
    // A lock of a user, and one of root: a private lock of a trusted user is refused, too.
    for (uid, words) in [(NOBODY, "belongs to user 65534"), (0, "belongs to user 0 (root)")] {
        let key = as_user(uid, &folder, &program, &["acquire", "-t", "120s", "jobs"]).out;
        let one_try = as_user(1234, &folder, &program, &["run", "-n", "jobs", "--", "true"]);
        one_try.refused(77, words);
        one_try.refused(77, "with mode 700, which is private; wait for its release");
        let mut waiter = Command::new(&program);
        waiter.args(["run", "-w", "60s", "jobs", "--", "echo", "in"]).current_dir(folder.path());
        waiter.uid(1234).gid(1234).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut waiter = waiter.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(waiter.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains("waiting ") && said.contains("belongs to user"), "{said}");

        let released = as_user(uid, &folder, &program, &["release", "jobs", key.trim()]);
        assert_eq!(released.code, 0, "{released:?}");

        let ran = Ran::of(waiter.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.out.as_str()), (0, "in\n"), "{ran:?}");
    }
}

#[test]
fn a_umask_that_denies_the_owner_is_harmless() {
    let (folder, _place, program) = shared();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "umask 177; exec \"$0\" run jobs -- sh -c 'ls -d jobs.lockdir/v1*'",
        &program,
    ]);
    shell.current_dir(folder.path());
    if is_root() {
        shell.uid(1234).gid(1234);
    }
    let ran = Ran::of(shell.output().unwrap());
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{ran:?}");
}

#[test]
fn a_folder_that_its_owner_may_not_write_is_reported() {
    let (folder, _place, program) = shared();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    as_user(NOBODY, &folder, &program, &["run", "-n", "jobs", "--", "true"])
        .refused(77, "Permission denied");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_process_with_raised_privileges_is_named_as_left() {
    needs!(SetUserId);
    let (folder, place, program) = shared();
    let raise = place.path().join("raise");
    let copied = Command::new("cp").arg("/usr/bin/setpriv").arg(&raise).status();
    assert!(copied.unwrap().success());
    fs::set_permissions(&raise, fs::Permissions::from_mode(0o4755)).unwrap();
    let script =
        format!("echo $$; {} --reuid 0 sh -c 'echo $$; exec sleep 60' & wait", quoted(&raise));
    let mut command = Command::new(&program);
    command.args(["run", "-t", "3s", "jobs", "--", "sh", "-c", &script]);
    command.current_dir(folder.path()).uid(4322).gid(4322);
    let mut holding = crate::Holding::start(command);
    let raised: i32 = holding.line().parse().unwrap();

    fs::remove_dir_all(folder.path().join("jobs.lockdir")).unwrap();
    let started = std::time::Instant::now();
    let status = holding.child.wait().unwrap();
    let mut words = String::new();
    let mut err = holding.child.stderr.take().unwrap();
    // The process that could not be ended has this pipe open too, so it does not end.
    let mut part = [0; 4096];
    while !words.contains("by hand") && started.elapsed().as_secs() < 20 {
        let read = std::io::Read::read(&mut err, &mut part).unwrap();
        words.push_str(&String::from_utf8_lossy(&part[..read]));
    }

    assert_eq!(status.code(), Some(76), "{words}");
    assert!(words.contains(&format!("could not be ended: {raised};")), "{words}");
    assert!(!words.contains("was ended"), "{words}");
    assert!(crate::is_alive(raised));
    let raised = rustix::process::Pid::from_raw(raised).unwrap();
    rustix::process::kill_process(raised, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_thread_limit_is_reported_without_a_panic() {
    needs!(AnotherUser);
    let (folder, _place, program) = shared();
    let mut refused = 0;
    for limit in 1..=8 {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={limit}")).args([&program, "run", "jobs", "--", "true"]);
        let ran = Ran::of(command.current_dir(folder.path()).uid(4323).gid(4323).output().unwrap());

        assert!(matches!(ran.code, 0 | 74 | 126), "{limit}: {ran:?}");
        assert!(!ran.err.contains("panicked"), "{limit}: {ran:?}");
        assert_eq!(ran.err.is_empty(), ran.code == 0, "{limit}: {ran:?}");
        refused += usize::from(ran.code != 0);
        assert_eq!(folder.names(), Vec::<String>::new(), "{limit}");
    }
    assert!((1..8).contains(&refused), "{refused}");
}
