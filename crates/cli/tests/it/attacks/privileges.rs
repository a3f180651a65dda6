//! Raised privileges and unusual umasks.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use lockbydir_testbed::needs;

use super::{ATTACKER, Arena, VICTIM};
use crate::Ran;

#[test]
fn a_program_with_the_set_user_id_bit_refuses_to_run() {
    needs!(SetUserId);
    for (owner, mode) in [(VICTIM, 0o4755), (0, 0o4755), (VICTIM, 0o2755), (0, 0o6755)] {
        let arena = Arena::sticky();
        chown(arena.program(), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(arena.program(), fs::Permissions::from_mode(mode)).unwrap();
        let before = arena.seen();

        for (_, ran) in arena.run_every_verb(ATTACKER, &[]) {
            ran.refused(77, "set-user-ID");
        }
        arena.run(ATTACKER, &["--help"]).refused(77, "set-user-ID");

        assert_eq!(arena.seen(), before);
        // For its own owner and group the bit raises nothing.
        assert_eq!(arena.run(owner, &["run", "-n", "jobs", "--", "true"]).code, 0);
    }
}

#[test]
fn a_umask_neither_opens_nor_closes_a_lock() {
    needs!(AnotherUser);
    for (umask, mode) in
        [("000", "700"), ("022", "777"), ("077", "770"), ("077", "777"), ("000", "777")]
    {
        let arena = Arena::sticky();
        let mut command = std::process::Command::new("sh");
        let script = format!("umask {umask}; exec \"$@\"");
        command.args(["-c", &script, "sh"]).arg(arena.program());
        command.args(["acquire", "--mode", mode, "jobs"]).current_dir(arena.path(""));
        std::os::unix::process::CommandExt::uid(&mut command, VICTIM);
        let key = Ran::of(command.output().unwrap());
        assert_eq!(key.code, 0, "{key:?}");

        let made = fs::metadata(arena.path("jobs.lockdir")).unwrap();
        assert_eq!(format!("{:o}", made.mode() & 0o7777), mode, "umask {umask}");
        if mode == "700" {
            arena.run(ATTACKER, &["break", "--force", "jobs"]).refused(77, "user 1234");
            assert!(fs::read_dir(arena.path("jobs.lockdir")).unwrap().count() == 1);
        }
        assert_eq!(arena.run(VICTIM, &["release", "jobs", key.out.trim()]).code, 0);
    }
}

/// A umask that takes the owner's own rights makes a directory that the owner cannot enter.
#[test]
fn a_umask_that_denies_the_owner_all_is_refused() {
    needs!(AnotherUser);
    let arena = Arena::sticky();
    let before = arena.seen();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "umask 777; exec \"$@\"", "sh"]).arg(arena.program());
    command.args(["acquire", "jobs"]).current_dir(arena.path(""));
    std::os::unix::process::CommandExt::uid(&mut command, VICTIM);

    Ran::of(command.output().unwrap()).refused(77, "Permission denied");

    assert_eq!(arena.seen(), before);
}
