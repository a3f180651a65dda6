//! Forged entries, in a lock that attacker and victim share on purpose: with a false process, time, number
//! or timeout.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::{Duration, SystemTime};

use rustix::fs::FileType;

use lockbydir_testbed::needs;

use super::{ATTACKER, Arena, VICTIM, boot_clock, entry};

const TEN_YEARS: u64 = 315_360_000_000;
const LARGEST: u64 = 999_999_999_999_999_999;

/// Makes a shared lock with this entry, made by the attacker and with this date.
fn forged(name: &str, date: SystemTime) -> Arena {
    let arena = Arena::sticky();
    arena.attackers_directory("jobs.lockdir", 0o777);
    arena.attackers_file(format!("jobs.lockdir/{name}"), FileType::RegularFile);
    fs::File::open(arena.path("jobs.lockdir")).unwrap().set_modified(date).unwrap();
    arena
}

fn hour(ahead: bool) -> SystemTime {
    let hour = Duration::from_secs(3600);
    if ahead { SystemTime::now() + hour } else { SystemTime::now() - hour }
}

#[test]
fn no_date_of_a_forged_entry_makes_two_holders() {
    needs!(AnotherUser);
    let now = boot_clock();
    let living = format!("{}-0", std::process::id());
    let long_ago = 1;
    // Where they are hidden, process 1 may be the holder for all that the victim knows, and so it holds until
    // its timeout.
    let are_others_seen = crate::sees_others(VICTIM);
    for (entry, is_taken) in [
        // A dead holder, or one whose entry has expired, holds nothing.
        (entry("held", 5, TEN_YEARS, now, "4194303-1"), true),
        (entry("held", 5, TEN_YEARS, now, "1-99999999"), are_others_seen),
        (entry("held", 5, 100, long_ago, &living), true),
        (entry("open", 5, 100, 99_999_999_999_999, "none"), true),
        // A living holder with a valid entry holds, whatever the date of the directory.
        (entry("held", 5, TEN_YEARS, now, &living), false),
        (entry("held", 5, TEN_YEARS, now, "none"), false),
        // A stamp of the future is ignored: then the change time decides, which nobody can set.
        (entry("held", 5, 600_000, 99_999_999_999_999, "none"), false),
        (entry("held", LARGEST, 600_000, now, "none"), false),
    ] {
        for date in [hour(false), SystemTime::now(), hour(true), SystemTime::UNIX_EPOCH] {
            let arena = forged(&entry, date);

            let ran = arena.run(
                VICTIM,
                &["run", "-q", "--mode", "777", "-w", "300ms", "jobs", "--", "echo", "in"],
            );

            let expected = if is_taken { (0, "in\n") } else { (75, "") };
            assert_eq!((ran.code, ran.out.as_str()), expected, "{entry} {date:?}: {ran:?}");
        }
    }
}

#[test]
fn a_lock_held_for_ten_years_is_broken_by_force() {
    needs!(AnotherUser);
    let arena = forged(&entry("held", 5, TEN_YEARS, boot_clock(), "none"), SystemTime::now());
    let run = ["run", "--mode", "777", "-n", "jobs", "--", "true"];

    assert_eq!(arena.run(VICTIM, &run).code, 75);
    assert_eq!(arena.run(VICTIM, &["break", "--mode", "777", "jobs"]).code, 1);
    // The sticky bit keeps the victim from removing the attacker's directory, so it is opened in place.
    let broken = arena.run(VICTIM, &["break", "--force", "--mode", "777", "jobs"]);

    assert_eq!(broken.code, 0, "{broken:?}");
    assert_eq!(arena.run(VICTIM, &run).code, 0);
}

#[test]
fn the_largest_number_is_refused() {
    needs!(AnotherUser);
    for name in [entry("open", LARGEST, 100, 1, "none"), entry("held", LARGEST, 100, 1, "none")] {
        let arena = forged(&name, SystemTime::now());
        let before = arena.seen();

        for (verb, ran) in arena.run_every_verb(VICTIM, &["--mode", "777"]) {
            if matches!(verb, "run" | "acquire") {
                ran.refused(73, "largest value");
            }
        }

        // Breaking frees a held lock; all other verbs change nothing.
        if name.contains(".open.") {
            assert_eq!(arena.seen(), before);
        }
    }
}

#[test]
fn non_members_of_a_group_can_do_nothing() {
    needs!(AnotherUser);
    const GROUP: &str = "4321";
    let arena = Arena::without_sticky();
    fs::set_permissions(arena.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let place = arena.path("team");
    fs::create_dir(&place).unwrap();
    std::os::unix::fs::chown(&place, Some(0), Some(4321)).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o1770)).unwrap();
    let member = |user: u32, args: &[&str]| {
        let mut command = arena.command(user, args);
        command.gid(4321);
        crate::Ran::of(command.output().unwrap())
    };

    let key =
        member(VICTIM, &["acquire", "--mode", "770", "--group", GROUP, "-t", "300ms", "team/jobs"]);
    assert_eq!(key.code, 0, "{key:?}");
    let other =
        ["run", "-q", "--mode", "770", "--group", GROUP, "-w", "5s", "team/jobs", "--", "true"];
    assert_eq!(member(1235, &other).code, 0, "another member");
    for args in [
        &["run", "--mode", "770", "-w", "300ms", "team/jobs", "--", "true"][..],
        &["break", "--force", "--mode", "770", "team/jobs"],
        &["acquire", "-n", "team/jobs"],
        &["is-locked", "team/jobs"],
    ] {
        arena.run(ATTACKER, args).refused(77, "Permission denied");
    }
}
