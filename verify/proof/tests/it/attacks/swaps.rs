//! The tree is swapped between a victim's look and its next call: directories change places with
//! the attacker's own, with the victim's own, with links.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, lchown, symlink},
    path::Path,
    time::{Duration, Instant},
};

use lockbydir::{Lock, Owner};
use lockbydir_proof::history::Record;

use super::{ATTACKER, Ground, VICTIM, one_of};

/// What is swapped in.
#[derive(Clone, Copy, Debug)]
enum Bait {
    /// The victim's own directory, full of files.
    Things,
    /// A link to it.
    Link,
    /// An empty directory of the attacker's, which all may write.
    Trap,
    /// A directory of the attacker's with a held lock in it, which all may write.
    ForgedLock,
    /// Another lock of the victim's, which is held.
    OtherLock,
}

const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// Gives a directory and what is in it to this user.
fn give_all(directory: &Path, user: u32) {
    for file in fs::read_dir(directory).expect("a directory") {
        chown(file.expect("a file").path(), Some(user), Some(user)).expect("root may give away");
    }
    chown(directory, Some(user), Some(user)).expect("root may give away");
}

impl Bait {
    const ALL: [Bait; 5] =
        [Bait::Things, Bait::Link, Bait::Trap, Bait::ForgedLock, Bait::OtherLock];

    /// Its place in the folder.
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

/// Victims lock while `deed` is done at a place with the bait; the ground, and what they noted. Where
/// the attacker found no moment for it in that time, there is another try, for longer.
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

/// And how often it was done.
fn try_attack(
    bait: Bait,
    (user, deed, at): (u32, &str, &str),
    time: Duration,
    options: &[&str],
) -> (Ground, Record, u64) {
    let ground = Ground::lawless();
    let place = bait.lay(&ground);
    let attacker = ground.attacker(&[deed, at, place]);

    let victims = ground.victims(user, time, options);
    let record = ground.record(victims);

    let count = attacker.end();
    println!(
        "{deed} {at} with {bait:?}, victims of user {user}, for {time:.1?}: done {count} times; {} holds, \
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
fn a_lock_that_changes_places_is_never_held_twice_nor_are_others_things_touched() {
    let options = ["timeout_ms=100", "patience_ms=100", "hold_us=2000", "renewing=1"];
    for user in [VICTIM, 0] {
        for bait in Bait::ALL {
            let (ground, record) =
                attack(bait, (user, "exchange", "contended.lockdir"), one_of(10), &options);

            // In place of an empty trap our own `rmdir` removes the trap, and the name is free: as
            // if the attacker had moved the lock away, which is told below.
            if !matches!(bait, Bait::Trap) {
                record.judge().assert_clean();
            }
            ground.assert_untouched();
        }
    }
}

#[test]
fn a_queue_that_changes_places_leaves_safety_and_others_things_alone() {
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
    let ground = Ground::sticky();
    Bait::Trap.lay(&ground);
    let deeds = [
        &["exchange", "contended.lockdir", "bait"][..],
        &["exchange", "contended.lockdir.queue", "bait"],
        &["exchange-stages", ".", "bait"],
        &["move-away", "contended.lockdir", "away"],
    ];
    let attackers = deeds.map(|deed| ground.attacker(deed));

    let record = ground.record(ground.victims(VICTIM, one_of(1), &["hold_us=1000"]));

    let counts = attackers.map(super::Attacker::end);
    println!("{} holds under four attackers in a sticky folder", record.holds.len());
    assert_eq!(counts, [0; 4], "how often something was moved");
    assert!(record.holds.len() > 10, "the victims were hindered");
    record.judge().assert_clean();
    ground.assert_untouched();
}

#[test]
fn a_name_that_is_taken_in_every_gap_is_refused_and_never_held_twice() {
    let ground = Ground::sticky();
    let attacker = ground.attacker(&["squat", "contended.lockdir"]);

    let record = ground.record(ground.victims(VICTIM, one_of(1), &["hold_us=100"]));

    let count = attacker.end();
    let (holds, refused) = (record.holds.len(), record.gave_up);
    println!("the name was taken {count} times between {holds} holds; {refused} tries refused");
    assert!(count > 0, "nothing was attacked");
    record.judge().assert_clean();
}

/// Who may move the lock directory away breaks the lock by force: the holder learns of it at its
/// next renewal, and not before. Who moves it back as well can have two go on. That is why the
/// folder must be sticky, or its writers trusted.
#[test]
fn a_lock_that_is_moved_away_is_broken_by_force() {
    let ground = Ground::lawless();
    let moved = |from: &str, to: &str| {
        fs::rename(ground.stage.path(from), ground.stage.path(to)).expect("anybody may");
    };
    let (mut one, mut other) = (ground.stage.puppet("n", ""), ground.stage.puppet("n", ""));
    let first = one.hold("acquire");

    moved("n.lockdir", "away");
    let second = other.hold("try");
    assert_eq!(one.ask("is-held"), "true", "it cannot know yet");
    assert_eq!(one.ask("renew"), "lost", "and so it learns of it");
    assert_eq!((one.ask("is-held"), other.ask("renew")), ("false".into(), "ok".into()));
    assert!(second.token > first.token, "the store knows the later one");

    // A third one that never renewed while it was away is never told.
    let mut third = ground.stage.puppet("n", "");
    moved("n.lockdir", "aside");
    third.hold("try");
    moved("n.lockdir", "hidden");
    moved("aside", "n.lockdir");
    assert_eq!(other.ask("renew"), "ok");
    assert_eq!((other.ask("is-held"), third.ask("is-held")), ("true".into(), "true".into()));
}

/// The attack bites: a stage that is filled by its path, as a simple program would, is filled
/// wherever the attacker wants. This one is as slow between its look and its call as it takes.
#[test]
fn a_stage_that_is_filled_by_its_path_touches_others_things() {
    let ground = Ground::lawless();
    let stage = ground.stage.path("n.lockdir.00000000000000000000000001");
    fs::create_dir(&stage).expect("a stage");
    let attacker = ground.attacker(&["exchange", "n.lockdir.00000000000000000000000001", "things"]);

    let begun = Instant::now();
    let is_in_time = || begun.elapsed() < Duration::from_secs(30);
    // What it wrote may stay in its own stage, if that was exchanged before it removes it.
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
