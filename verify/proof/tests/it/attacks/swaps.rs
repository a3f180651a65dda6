//! Swaps in the directory tree between a victim's look and its next call: directories are exchanged with
//! the attacker's own, with the victim's own, and with links.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, lchown, symlink},
    path::Path,
    time::{Duration, Instant},
};

use lockbydir::{Lock, Owner};
use lockbydir_proof::history::Record;
use lockbydir_testbed::needs;

use super::{ATTACKER, Ground, VICTIM, one_of};

/// The object that is swapped in.
#[derive(Clone, Copy, Debug)]
enum Bait {
    /// The victim's own directory, full of files.
    Things,
    /// A link to it.
    Link,
    /// An empty directory of the attacker, which all may write to.
    Trap,
    /// A directory of the attacker with a held lock in it, which all may write to.
    ForgedLock,
    /// Another lock of the victim, which is held.
    OtherLock,
}

const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// Gives a directory and its files to this user.
fn give_all(directory: &Path, user: u32) {
    for file in fs::read_dir(directory).expect("a directory") {
        chown(file.expect("a file").path(), Some(user), Some(user)).expect("root may give away");
    }
    chown(directory, Some(user), Some(user)).expect("root may give away");
}

impl Bait {
    const ALL: [Bait; 5] =
        [Bait::Things, Bait::Link, Bait::Trap, Bait::ForgedLock, Bait::OtherLock];

    /// Makes the bait; returns its name in the folder.
    fn lay(self, ground: &Ground) -> &'static str {
        let path = ground.stage.path("bait");
        match self {
            Bait::Things => return "things",
            Bait::OtherLock => {
                let lock = Lock::new(ground.stage.path("other")).timeout(A_DAY);
                let _key = lock.owner(Owner::Nobody).acquire().expect("another lock").keep();
                give_all(&ground.stage.directory("other"), VICTIM);
                return "other.lockdir";
            }
            Bait::Link => {
                symlink(ground.stage.path("things"), &path).expect("a link");
                lchown(&path, Some(ATTACKER), Some(ATTACKER)).expect("root may give away");
            }
            Bait::Trap | Bait::ForgedLock => {
                fs::create_dir(&path).expect("a trap");
                if matches!(self, Bait::ForgedLock) {
                    let forged = "v1.held.p.1.00000000000000000000000007.0.100.1.0000000000000001.\
                                  00000001.00000001.none.forged.-";
                    fs::write(path.join(forged), "").expect("a forged entry");
                }
                fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("a mode");
                chown(&path, Some(ATTACKER), Some(ATTACKER)).expect("root may give away");
            }
        }
        "bait"
    }
}

/// Lets victims lock while the attacker performs its action with the bait; returns the ground and their
/// histories. If the action did not succeed in that time, it is tried again, for longer.
fn attack(
    bait: Bait,
    what: (u32, &str, &str),
    time: Duration,
    options: &[&str],
) -> (Ground, Record) {
    for nth in 0..4 {
        let (ground, record, count) = try_attack(bait, what, time * 4_u32.pow(nth), options);
        if count > 0 {
            return (ground, record);
        }
        record.judge().assert_clean();
        ground.assert_untouched();
    }
    panic!("nothing was attacked");
}

/// The same for a single try; also returns how often the action succeeded.
fn try_attack(
    bait: Bait,
    (user, action, at): (u32, &str, &str),
    time: Duration,
    options: &[&str],
) -> (Ground, Record, u64) {
    let ground = Ground::non_sticky();
    let place = bait.lay(&ground);
    let attacker = ground.attacker(&[action, at, place]);

    let victims = ground.victims(user, time, options);
    let record = ground.record(victims);

    let count = attacker.end();
    println!(
        "{action} {at} with {bait:?}, victims of user {user}, for {time:.1?}: done {count} times; {} holds, \
         {} waits ended without one, {} lost; {}",
        record.holds.len(),
        record.gave_up,
        record.lost,
        record.judge()
    );
    (ground, record, count)
}

#[test]
fn a_stage_that_changes_places_is_filled_by_its_handle_only() {
    needs!(AnotherUser);
    for (user, mode) in [(VICTIM, "mode=448"), (VICTIM, "mode=511"), (0, "mode=511")] {
        for bait in Bait::ALL {
            let (ground, _) = attack(
                bait,
                (user, "exchange-stages", "."),
                one_of(15),
                &["patience_ms=100", mode],
            );

            ground.assert_untouched();
        }
    }
}

#[test]
fn a_swapped_lock_has_one_holder_and_others_files_stay_untouched() {
    needs!(AnotherUser);
    let options = ["timeout_ms=100", "patience_ms=100", "hold_us=2000", "renewing=1"];
    for user in [VICTIM, 0] {
        for bait in Bait::ALL {
            let (ground, record) =
                attack(bait, (user, "exchange", "contended.lockdir"), one_of(10), &options);

            // If the lock was exchanged with an empty trap, our own `rmdir` removes the trap, and the name is
            // free, as if the attacker had moved the lock away (see the test of that below).
            if !matches!(bait, Bait::Trap) {
                record.judge().assert_clean();
            }
            ground.assert_untouched();
        }
    }
}

#[test]
fn a_swapped_queue_is_safe_and_others_files_stay_untouched() {
    needs!(AnotherUser);
    for mode in ["mode=448", "mode=511"] {
        let options = ["patience_ms=100", "hold_us=2000", mode];
        for bait in Bait::ALL {
            let (ground, record) =
                attack(bait, (VICTIM, "exchange", "contended.lockdir.queue"), one_of(10), &options);

            record.judge().assert_clean();
            ground.assert_untouched_but_for_pipes();
        }
    }
}

#[test]
fn in_a_sticky_folder_nothing_of_the_victims_can_be_moved() {
    needs!(AnotherUser);
    let ground = Ground::sticky();
    Bait::Trap.lay(&ground);
    let actions = [
        &["exchange", "contended.lockdir", "bait"][..],
        &["exchange", "contended.lockdir.queue", "bait"],
        &["exchange-stages", ".", "bait"],
        &["move-away", "contended.lockdir", "away"],
    ];
    let attackers = actions.map(|action| ground.attacker(action));

    let record = ground.record(ground.victims(VICTIM, one_of(1), &["hold_us=1000"]));

    let counts = attackers.map(super::Attacker::end);
    println!("{} holds under four attackers in a sticky folder", record.holds.len());
    assert_eq!(counts, [0; 4], "how often something was moved");
    assert!(record.holds.len() > 10, "the victims were hindered");
    record.judge().assert_clean();
    ground.assert_untouched();
}

#[test]
fn a_name_taken_in_every_gap_is_refused_and_never_held_twice() {
    needs!(AnotherUser);
    let ground = Ground::sticky();
    let attacker = ground.attacker(&["squat", "contended.lockdir"]);

    let record = ground.record(ground.victims(VICTIM, one_of(1), &["hold_us=100"]));

    let count = attacker.end();
    let (holds, refused) = (record.holds.len(), record.gave_up);
    println!("the name was taken {count} times between {holds} holds; {refused} tries refused");
    assert!(count > 0, "nothing was attacked");
    record.judge().assert_clean();
}

/// A user who may move the lock directory away can break the lock by force: the holder learns of it at its
/// next renewal, and not before. If that user moves it back as well, two may continue to hold. That is why
/// the folder must be sticky, or its writers trusted.
#[test]
fn a_lock_that_is_moved_away_is_broken_by_force() {
    needs!(AnotherUser);
    let ground = Ground::non_sticky();
    let moved = |from: &str, to: &str| {
        fs::rename(ground.stage.path(from), ground.stage.path(to)).expect("anybody may");
    };
    let (mut one, mut other) = (ground.stage.worker("n", ""), ground.stage.worker("n", ""));
    let first = one.hold("acquire");

    moved("n.lockdir", "away");
    let second = other.hold("try");
    assert_eq!(one.ask("is-held"), "true", "it cannot know yet");
    assert_eq!(one.ask("renew"), "lost", "and so it learns of it");
    assert_eq!((one.ask("is-held"), other.ask("renew")), ("false".into(), "ok".into()));
    assert!(second.token > first.token, "the store knows the later one");

    // A third process that did not renew while it was away never learns of it.
    let mut third = ground.stage.worker("n", "");
    moved("n.lockdir", "aside");
    third.hold("try");
    moved("n.lockdir", "hidden");
    moved("aside", "n.lockdir");
    assert_eq!(other.ask("renew"), "ok");
    assert_eq!((other.ask("is-held"), third.ask("is-held")), ("true".into(), "true".into()));
}

/// Shows that the attack is effective: a stage that is filled by its path, as a simple program would fill it,
/// is filled wherever the attacker wants. This program waits between its look and its call as long as needed.
#[test]
fn a_stage_that_is_filled_by_its_path_touches_others_things() {
    needs!(AnotherUser);
    let ground = Ground::non_sticky();
    let stage = ground.stage.path("n.lockdir.00000000000000000000000001");
    fs::create_dir(&stage).expect("a stage");
    let attacker = ground.attacker(&["exchange", "n.lockdir.00000000000000000000000001", "things"]);

    let begun = Instant::now();
    let is_in_time = || begun.elapsed() < Duration::from_secs(30);
    // Its entry may stay in its own stage, if that was exchanged before it removes the entry.
    let is_ours = || !stage.join("bell").exists();
    while ground.seen() == ground.before && is_in_time() {
        if is_ours() {
            while is_ours() && is_in_time() {
                std::thread::yield_now();
            }
            fs::write(stage.join("v1.held"), "").expect("an entry");
            fs::remove_file(stage.join("v1.held")).ok();
        }
    }

    let count = attacker.end();
    println!("a simple program that looks first was led astray after {count} exchanges");
    assert_ne!(ground.seen(), ground.before, "the attack shows nothing");
}
