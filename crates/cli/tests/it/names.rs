//! Names: a lock directory's own name, as a shell completes it, means the same lock.

use crate::{Folder, names};

#[test]
fn the_name_of_the_lock_directory_means_the_same_lock_everywhere() {
    for same in ["jobs.lockdir", "jobs.lockdir/", "./jobs.lockdir//"] {
        let folder = Folder::new();
        let run = |args: &[&str]| folder.run(args);
        let key = run(&["acquire", "-t", "60s", same]).out;
        let key = key.trim();
        assert_eq!(folder.names(), ["jobs.lockdir"], "{same}");

        run(&["run", "-n", "jobs", "--", "true"]).refused(75, "held by");
        run(&["run", "-n", same, "--", "true"]).refused(75, "held by");
        let status = run(&["status", "--json", same]);
        assert!(
            status.out.contains("\"held\"") && status.out.contains("/jobs.lockdir\""),
            "{status:?}"
        );
        assert_eq!(run(&["is-locked", same]).code, 0, "{same}");
        #[cfg(feature = "player")]
        {
            let watched = run(&["watch", "--once", same]);
            assert!(
                watched.out.contains("jobs") && !watched.out.contains("no locks"),
                "{watched:?}"
            );
        }
        assert_eq!(run(&["renew", same, key]).code, 0, "{same}");
        assert_eq!(run(&["break", same]).code, 1, "{same}");
        assert_eq!(run(&["release", same, key]).code, 0, "{same}");
        let named = run(&["run", same, "--", "sh", "-c", "echo $LOCKBYDIR_NAME"]);
        assert!(named.out.ends_with("/jobs\n"), "{named:?}");
    }
}

#[test]
fn each_lock_directory_that_exists_is_reached_by_its_own_name() {
    let folder = Folder::new();
    let twice = "jobs.lockdir.lockdir";
    let key = folder.run(&["acquire", twice]).out;

    assert_eq!(names(folder.path()), [twice]);
    let listed = folder.run(&["list", "--json"]);
    assert!(listed.out.contains("\"held\"") && listed.out.contains(twice), "{listed:?}");
    assert_eq!(folder.run(&["is-locked", "jobs"]).code, 1);

    assert_eq!(folder.run(&["release", twice, key.trim()]).code, 0);
}
