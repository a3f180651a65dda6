//! Recordings, as people make and replay them.

use std::time::Duration;

use super::play;
use crate::Folder;

/// Makes a recording, and returns the output of that play.
fn recorded(folder: &Folder) -> String {
    let ran = play(folder, &["one-bed", "--scale", "0.5", "--record", "night.jsonl"]);
    assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    ran.out
}

fn read(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).unwrap()
}

fn write(folder: &Folder, name: &str, content: &str) {
    std::fs::write(folder.path().join(name), content).unwrap();
}

fn remove(folder: &Folder, names: &[&str]) {
    names.iter().for_each(|name| std::fs::remove_file(folder.path().join(name)).unwrap());
}

#[test]
fn a_recording_is_replayed_with_its_verdict() {
    let folder = Folder::new();
    let live = recorded(&folder);

    let replay = ["--replay", "night.jsonl", "--speed", "100", "--record", "again.jsonl"];
    let again = play(&folder, &replay);

    assert_eq!((again.code, &*again.err), (0, ""));
    assert_eq!(again.out, live);
    assert_eq!(read(&folder, "again.jsonl"), read(&folder, "night.jsonl"));
    remove(&folder, &["night.jsonl", "again.jsonl"]);
}

#[test]
fn a_recording_is_replayed_at_the_given_speed() {
    let folder = Folder::new();
    let event = |at: f64| format!(r#"{{"at":{at},"what":"said","text":"now"}}"#) + "\n";
    let header = r#"{"format":"lockbydir events","version":1,"program":"a test"}"#;
    write(&folder, "night.jsonl", &format!("{header}\n{}{}", event(100.0), event(101.0)));
    let takes = |speed| {
        let begun = std::time::Instant::now();
        let ran = play(&folder, &["--replay", "night.jsonl", "--speed", speed]);
        assert_eq!((ran.code, &*ran.out), (0, "now\nnow\n"), "{ran:?}");
        begun.elapsed()
    };

    assert!(takes("0.4") > Duration::from_millis(2400));
    crate::soon(Duration::from_secs(1), || takes("1000"));
    remove(&folder, &["night.jsonl"]);
}

#[test]
fn a_torn_recording_is_replayed_without_its_last_line() {
    let folder = Folder::new();
    let live = recorded(&folder);
    let whole = read(&folder, "night.jsonl");
    write(&folder, "night.jsonl", &whole[..whole.len() - 10]);

    let ran = play(&folder, &["--replay", "night.jsonl", "--speed", "100"]);

    let lines = whole.lines().count();
    let note = format!("lockbydir: night.jsonl, line {lines}: cut off, so it is left out\n");
    assert_eq!((ran.code, ran.err), (0, note));
    assert_eq!(ran.out.lines().count(), live.lines().count() - 1, "{}", ran.out);
    remove(&folder, &["night.jsonl"]);
}

#[test]
fn bad_files_are_refused_with_what_is_wrong() {
    let folder = Folder::new();
    write(&folder, "poem.txt", "Roses are red\n");
    write(
        &folder,
        "wrong.jsonl",
        "{\"format\":\"lockbydir events\",\"version\":1,\"program\":\"x\"}\n{\"at\":\"\x1b[2J\"}\n",
    );

    let replay = |name: &str| play(&folder, &["--replay", name]);
    replay("missing.jsonl").refused(74, "missing.jsonl: cannot be read: No such file");
    replay(".").refused(74, "cannot be read: Is a directory");
    replay("/dev/zero").refused(64, "longer than 65536 bytes");
    replay("/dev/null").refused(64, "no recording of lockbydir; `--record FILE` makes one");
    replay("poem.txt").refused(64, "poem.txt, line 1: no recording of lockbydir");
    replay("wrong.jsonl").refused(64, "wrong.jsonl, line 2: ");

    // The file is not changed and no example is started.
    let record = |name: &str| play(&folder, &["--record", name]);
    record("poem.txt").refused(73, "poem.txt: cannot be recorded into: it is there already");
    record("no/where").refused(74, "no/where: cannot be recorded into: No such file");
    assert_eq!(read(&folder, "poem.txt"), "Roses are red\n");
    remove(&folder, &["poem.txt", "wrong.jsonl"]);
}
