//! Of all processes that rename or remove the same name, exactly one succeeds: the basis of the lock.

#![cfg(windows)]

use std::ffi::OsString;
use std::fs;
use std::os::windows::io::AsHandle;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use lockbydir_windows::{
    Access, Errno, about_path, create_file, open_dir, remove_dir, remove_file, rename_path,
    rename_within,
};

/// Lets several threads call `act` at once, each with its number, and checks that exactly one succeeds in
/// every round.
fn race(rounds: usize, begin: impl Fn(), act: impl Fn(usize) -> Result<(), Errno> + Sync) {
    const THREADS: usize = 4;
    for round in 0..rounds {
        begin();
        let barrier = Barrier::new(THREADS);
        let done: Vec<_> = thread::scope(|scope| {
            let one = |number| {
                let (barrier, act) = (&barrier, &act);
                scope.spawn(move || {
                    barrier.wait();
                    act(number)
                })
            };
            let all: Vec<_> = (0..THREADS).map(one).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let won = done.iter().filter(|done| done.is_ok()).count();
        assert_eq!(won, 1, "round {round}: {done:?}");
    }
}

fn begin(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::write(folder.join("held"), "").unwrap();
}

#[test]
fn one_of_many_renames_of_a_name_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    race(
        300,
        || begin(at),
        |number| {
            let dir = open_dir(None, at, Access::Change)?;
            rename_within(
                dir.as_handle(),
                "held".as_ref(),
                OsString::from(number.to_string()).as_ref(),
            )
        },
    );
}

#[test]
fn one_of_many_renames_and_removals_of_a_name_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    race(
        300,
        || begin(at),
        |number| {
            let dir = open_dir(None, at, Access::Change)?;
            if number % 2 == 0 {
                remove_file(Some(dir.as_handle()), "held".as_ref())
            } else {
                let to = OsString::from(number.to_string());
                rename_within(dir.as_handle(), "held".as_ref(), &to)
            }
        },
    );
}

#[test]
fn one_of_many_directories_renamed_to_a_name_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let begin = || {
        fs::read_dir(at)
            .unwrap()
            .for_each(|entry| fs::remove_dir_all(entry.unwrap().path()).unwrap());
        (0..4).for_each(|number| fs::create_dir(at.join(number.to_string())).unwrap());
    };
    race(200, begin, |number| rename_path(&at.join(number.to_string()), &at.join("place")));
}

#[test]
fn nothing_is_ever_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("one"), "1").unwrap();
    fs::write(at.join("two"), "2").unwrap();
    fs::create_dir(at.join("stage")).unwrap();
    fs::create_dir(at.join("empty")).unwrap();
    let dir = open_dir(None, at, Access::Change).unwrap();

    let renamed = rename_within(dir.as_handle(), "one".as_ref(), "two".as_ref());
    assert_eq!(renamed, Err(Errno::EXIST));
    assert_eq!(rename_path(&at.join("stage"), &at.join("empty")), Err(Errno::EXIST));
    assert_eq!(rename_path(&at.join("stage"), &at.join("one")), Err(Errno::EXIST));

    assert_eq!(fs::read_to_string(at.join("two")).unwrap(), "2");
}

#[test]
fn only_empty_directories_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("full");
    fs::create_dir(&at).unwrap();
    fs::write(at.join("theirs"), "").unwrap();

    assert_eq!(remove_dir(None, &at), Err(Errno::NOTEMPTY));
    assert_eq!(remove_dir(None, &at.join("theirs")), Err(Errno::NOTDIR));
    assert_eq!(remove_dir(None, &at.join("missing")), Err(Errno::NOENT));
    let dir = open_dir(None, folder.path(), Access::Change).unwrap();
    assert!(remove_file(Some(dir.as_handle()), "full".as_ref()).is_err());

    assert!(at.join("theirs").exists());
}

#[test]
fn a_file_open_to_read_can_be_renamed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("held"), "").unwrap();
    let _reader = fs::File::open(folder.path().join("held")).unwrap();
    let dir = open_dir(None, folder.path(), Access::Change).unwrap();

    rename_within(dir.as_handle(), "held".as_ref(), "next".as_ref()).unwrap();
    remove_file(Some(dir.as_handle()), "next".as_ref()).unwrap();
}

#[test]
fn an_open_new_file_cannot_be_written_but_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = open_dir(None, folder.path(), Access::Change).unwrap();
    let kept = create_file(dir.as_handle(), "ticket".as_ref()).unwrap();
    let open = || lockbydir_windows::open_file(dir.as_handle(), "ticket".as_ref());

    assert_eq!(open().unwrap_err(), Errno::BUSY);
    remove_file(Some(dir.as_handle()), "ticket".as_ref()).unwrap();
    drop(kept);
    assert_eq!(about_path(&folder.path().join("ticket")).unwrap_err(), Errno::NOENT);
}
