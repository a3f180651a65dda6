//! Names that are made to harm a terminal or a reader of JSON.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;
use serde_json::Value;

use lockbydir_testbed::needs;

use super::{ATTACKER, Arena, VICTIM, ticket};

const NAMES: [&[u8]; 7] = [
    b"\x1b[2J\x1b]0;title\x07",
    b"line\nfeed\r\ttab",
    b"\xc2\x9b31m",
    "\u{202e}txt.exe\u{2066}\u{feff}\u{200b}".as_bytes(),
    b"\xff\xfe\x80",
    b"\x7f\x08\x00end",
    b"\"quote\\back'",
];

#[test]
fn nothing_that_moves_a_cursor_comes_from_a_name() {
    needs!(AnotherUser);
    for name in NAMES {
        let name: Vec<u8> = name.iter().copied().filter(|byte| *byte != 0).collect();
        let name = OsStr::from_bytes(&name);
        let arena = Arena::sticky();
        let with = |end: &str| {
            let mut all = name.to_owned();
            all.push(end);
            all
        };
        // Locks, queues, stages and folders with this name, and things in a lock and a queue.
        arena.attackers_directory("jobs.lockdir", 0o777);
        arena
            .attackers_file(std::path::Path::new("jobs.lockdir").join(name), FileType::RegularFile);
        for end in [".lockdir", ".lockdir.queue", ".lockdir.0000000000000000000000000b", ""] {
            let path = arena.path("").join(with(end));
            fs::create_dir(&path).unwrap();
            arena.give(ATTACKER, with(end));
            fs::create_dir(path.join(with(".lockdir"))).unwrap();
            fs::write(path.join(name), "").unwrap();
            fs::write(path.join(ticket(5, 1)), "").unwrap();
        }

        for (verb, ran) in arena.run_every_verb(VICTIM, &["--mode", "777"]) {
            if verb == "run" || verb == "acquire" {
                ran.refused(73, "which is not ours");
            }
        }
        for user in [VICTIM, 0] {
            let list = arena.run(user, &["list", "--json"]);
            let found: Value = serde_json::from_str(&list.out).expect("valid JSON");
            assert!(found.as_array().unwrap().len() >= 2, "{list:?}");
            let table = arena.run(user, &["list"]);
            let lines = table.out.lines().count();
            assert_eq!(lines, found.as_array().unwrap().len() + 1, "a line each: {table:?}");
        }
    }
}
