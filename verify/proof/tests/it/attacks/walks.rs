//! Folders that are exchanged with links while a program lists or cleans the folders around them.

use std::{
    fs,
    os::unix::fs::{chown, symlink},
    path::Path,
    time::Instant,
};

use lockbydir_testbed::needs;

use super::{ATTACKER, Ground, one_of};

/// Makes the remains of an attempt that died before the last boot: `clean` would remove them.
fn leave_a_dead_stage(folder: &Path) {
    let stage = folder.join("far.lockdir.00000000000000000000000007");
    let entry = "v1.held.p.1.00000000000000000000000007.0.100.1.0.0.0.none.far.-";
    let entry = entry.replace(".1.0.0.0.none", ".1.0000000000000000.00000000.00000000.none");
    fs::create_dir_all(&stage).expect("a stage");
    fs::write(stage.join(entry), "").expect("its entry");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::open(&stage).and_then(|open| open.set_modified(old)).expect("an old stage");
}

#[test]
fn list_and_clean_do_not_follow_folders_that_become_links() {
    needs!(AnotherUser);
    let ground = Ground::sticky();
    let far = tempfile::tempdir_in("/dev/shm").expect("a far folder");
    leave_a_dead_stage(far.path());
    fs::create_dir(far.path().join("far.lockdir")).expect("a bare lock");
    let cave = ground.stage.path("cave");
    fs::create_dir(&cave).expect("the attacker's folder");
    fs::create_dir(cave.join("inner")).expect("a folder in it");
    symlink(far.path(), cave.join("link")).expect("a link");
    for path in [cave.join("inner"), cave] {
        chown(path, Some(ATTACKER), Some(ATTACKER)).expect("root may give away");
    }
    let attacker = ground.attacker(&["exchange", "cave/inner", "cave/link"]);

    let (begun, mut rounds) = (Instant::now(), 0);
    let mut astray = Vec::new();
    while begun.elapsed() < one_of(1) {
        let listed = lockbydir::list(ground.stage.folder()).expect("a list");
        astray.extend(listed.into_iter().map(|status| status.path));
        astray.extend(lockbydir::clean(ground.stage.folder()).expect("cleaned"));
        rounds += 1;
    }

    let count = attacker.end();
    println!("a folder became a link {count} times while {rounds} times was listed and cleaned");
    assert!(count > 0, "nothing was attacked");
    assert_eq!(astray, Vec::<std::path::PathBuf>::new());
    ground.assert_untouched();
    // `clean` would have removed it: that is the aim of the attack.
    assert_eq!(lockbydir::clean(far.path()).expect("cleaned").len(), 1, "the far stage");
}
