//! A program with the set-user-ID bit that uses the library: it acts as its owner, and ignores the
//! environment of the user who started it.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
};

use lockbydir_proof::scripted_worker::ScriptedWorker;
use lockbydir_testbed::needs;

use super::{ATTACKER, Ground, VICTIM};

#[test]
fn set_user_id_programs_lock_as_their_owner_without_environment() {
    needs!(SetUserId);
    let ground = Ground::sticky();
    let program = ground.programs.path().join("lockbydir-worker");
    chown(&program, Some(VICTIM), Some(VICTIM)).expect("root may give away");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("a mode");
    let mut command = ground.program("lockbydir-worker");
    command.uid(ATTACKER).gid(ATTACKER).envs([
        ("LOCKBYDIR_DIR", "/nowhere"),
        ("LOCKBYDIR_TIMEOUT", "100ms"),
        ("LOCKBYDIR_PATIENCE", "0"),
        ("TMPDIR", "/nowhere"),
        ("HOME", "/nowhere"),
    ]);
    let mut raised = ScriptedWorker::spawn(&mut command);
    let mut owner = ScriptedWorker::start_as(&program, VICTIM);
    raised.lock(&ground.stage.path("n"), "");
    owner.lock(&ground.stage.path("n"), "patience_ms=50");

    raised.hold("acquire");

    let directory = ground.stage.directory("n");
    let stat = fs::metadata(&directory).expect("the lock");
    assert_eq!((stat.uid(), stat.mode() & 0o7777), (VICTIM, 0o700));
    let entry = fs::read_dir(&directory).expect("a lock").next().expect("an entry");
    let name = entry.expect("an entry").file_name().into_string().expect("ASCII");
    assert!(name.contains(".10000."), "the library's own timeout: {name}");
    assert_eq!(owner.ask("acquire"), "patience-over", "the same lock, and its holder seen to live");
    assert_eq!(raised.ask("renew"), "ok");
    assert_eq!(raised.ask("release"), "ok");
    owner.hold("acquire");
}
