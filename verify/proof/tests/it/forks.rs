//! Forked children: none holds its parent's lock, whatever PID it has.

use std::fs;

use lockbydir_proof::{
    FORKS,
    scripted_worker::{ScriptedWorker, unshare},
};

use lockbydir_testbed::needs;

use crate::stage::{Stage, WORKER};

#[test]
fn processes_that_reuse_ancestors_pids_exclude_each_other() {
    needs!(Mounts);
    let stage = Stage::on_tmpfs();
    let forks = FORKS.number();

    let done = unshare(&["--pid", "--mount-proc"])
        .arg(env!("CARGO_BIN_EXE_lockbydir-forks"))
        .arg(stage.folder())
        .arg(forks.to_string())
        .output()
        .expect("the program starts");

    let (output, failed) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{failed}");
    println!("{forks} forks in a range of 100 PIDs: {output}");
    let figure = |name: &str| -> u64 {
        let mut words = output.split_whitespace().skip_while(|word| *word != name).skip(1);
        words.next().and_then(|word| word.parse().ok()).expect(name)
    };
    assert!(figure("reused") > forks / 4, "PIDs were hardly given twice: {output}");
    assert_eq!((figure("overlaps"), figure("lost")), (0, 0), "{output}");
    // A fresh process must not take a queue position of its ancestors for its own.
    assert!(figure("longest_wait_ms") < 30_000, "{output}");
}

#[test]
fn a_child_with_its_parents_pid_does_not_hold_its_parents_lock() {
    needs!(Mounts);
    let stage = Stage::on_tmpfs();
    let mut parent = ScriptedWorker::start_in_another_pid_namespace(WORKER);
    assert_eq!(parent.number("pid"), 1);
    parent.lock(&stage.path("first"), "timeout_ms=30000");
    parent.hold("acquire");
    let entry = || fs::read_dir(stage.directory("first")).expect("D").next().expect("an entry");
    let before = entry().expect("an entry").file_name();

    // Its child is PID 1 of the next namespace.
    assert_eq!(parent.ask("unshare-and-fork"), "ok");

    assert_eq!(entry().expect("an entry").file_name(), before, "the child has changed it");
    assert_eq!(parent.ask("is-held"), "true");
    assert_eq!(parent.ask("release"), "ok");
    stage.assert_empty();
}
