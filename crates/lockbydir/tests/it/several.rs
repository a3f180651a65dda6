//! Several locks in one call, as far as directories are concerned: spellings of one path, and the order.

use std::fs;

use lockbydir::{ErrorKind, Lock, Patience, acquire_all};

use crate::{assert_empty, ms, secs};

#[cfg(unix)]
#[test]
fn two_spellings_of_one_lock_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir_all(path.join("real/inner")).unwrap();
    std::os::unix::fs::symlink("real", path.join("link")).unwrap();
    let lock = |name: &str| Lock::new(path.join(name)).patience(Patience::NONE);
    for (one, other) in [
        ("real/x", "real/inner/../x"),
        ("real/x", "real/./x"),
        ("real/x", "link/x"),
        ("link/x", "link/inner/../x.lockdir"),
        ("real/x", "real/x.lockdir"),
        ("real/x", "real/x.lockdir/"),
    ] {
        let error = acquire_all([lock(one), lock("real/y"), lock(other)]).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Usage, "{one} {other}: {error}");
        assert!(error.to_string().contains("real/x.lockdir"), "{error}");
    }
    // These are two locks each.
    for (one, other) in [("real/x", "real/inner/x"), ("real/x", "real/x.1"), ("x", "X")] {
        if one.eq_ignore_ascii_case(other) && cfg!(target_os = "macos") {
            continue;
        }
        acquire_all([lock(one), lock(other)]).unwrap().release().unwrap();
    }
    fs::remove_file(path.join("link")).unwrap();
    fs::remove_dir_all(path.join("real")).unwrap();
    assert_empty(path);
}

#[cfg(unix)]
#[test]
fn every_spelling_has_the_same_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir_all(path.join("m")).unwrap();
    std::os::unix::fs::symlink("m", path.join("a")).unwrap();
    std::os::unix::fs::symlink("m", path.join("z")).unwrap();
    let lock = |name: &str| Lock::new(path.join(name)).patience(ms(50));
    // `z/1` is `m/1`, and is acquired before `m/2`; so is `m/1` before `a/2`.
    for names in [["z/1", "m/2"], ["m/2", "z/1"], ["m/1", "a/2"], ["a/2", "m/1"]] {
        let held = lock("m/2").acquire().unwrap();
        let before = lock("m/1").acquire().unwrap();

        let error = acquire_all(names.map(lock)).unwrap_err();

        let blocked = error.path().unwrap().file_name().unwrap().to_owned();
        assert_eq!(blocked, "1.lockdir", "{names:?}");
        drop((held, before));
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_dropped_future_releases_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| Lock::new(folder.path().join(name)).patience(secs(60)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let guards = lockbydir::acquire_all_async([&b, &a]).await.unwrap();
        assert!(guards.is_held());
        assert_eq!(guards.into_guards().len(), 2);
        let held = b.acquire_async().await.unwrap();

        let both = lockbydir::acquire_all_async([&b, &a]);
        assert!(tokio::time::timeout(ms(300), both).await.is_err());

        assert!(!a.is_locked().unwrap());
        held.release_async().await.unwrap();
        assert!(!b.is_locked().unwrap());
    });
    assert_empty(folder.path());
}
