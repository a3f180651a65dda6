//! Tests of recordings: events are replayed as recorded, and a file that is not a recording is
//! refused with a clear error.

#![allow(missing_docs, reason = "test names are sentences")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockbydir_player::{
    Board, Contender, Error, Event, How, Recorder, Replay, Source, State, What, Why,
};

/// A source of these events, two at a time.
struct Script(Vec<Event>);

impl Source for Script {
    fn next(&mut self, _: Duration) -> Result<Vec<Event>, Error> {
        let first = self.0.len().min(2);
        Ok(self.0.drain(..first).collect())
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

const HEADER: &str = r#"{"format":"lockbydir events","version":1,"program":"a test"}"#;

struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn absent() -> File {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("night.jsonl");
        File { _folder: folder, path }
    }

    fn with(content: impl AsRef<[u8]>) -> File {
        let file = File::absent();
        std::fs::write(&file.path, content).unwrap();
        file
    }

    /// Creates a file with a valid header and these lines.
    fn of(lines: &str) -> File {
        File::with(format!("{HEADER}\n{lines}"))
    }
}

fn who(id: &str) -> Contender {
    Contender {
        id: id.into(),
        host: "web1".into(),
        pid: Some(7),
        command: Some("backup.sh".into()),
        label: Some(format!("label {id}")),
        since: Some(999.942_135_698_7),
    }
}

fn at(at: f64, what: What) -> Event {
    Event { at, lock: "jobs".into(), what }
}

fn night() -> Vec<Event> {
    let acquired = |by, token| What::Acquired {
        by,
        token,
        timeout_s: 10.0,
        remaining_s: 9.75,
        how: How::HandedOver,
    };
    let said = What::Said { text: "It is night.".into() };
    vec![
        Event { at: 1000.0, lock: String::new(), what: said },
        at(1000.1, What::Appeared),
        at(1000.1, acquired(who("a"), 1)),
        at(1000.2, What::Joined { by: who("b") }),
        at(1000.3, What::Joined { by: who("c") }),
        at(1000.4, What::Renewed { by: who("a"), times: Some(2), timeout_s: 5.0 }),
        at(1000.5, What::Left { by: who("c"), why: Why::GaveUp, ago_s: 0.05 }),
        at(1000.6, What::Expired { by: who("a") }),
        at(1000.7, acquired(who("b"), 2)),
        at(1000.8, What::Died { by: who("b") }),
        at(1000.9, What::Missed { count: 3 }),
    ]
}

fn all(mut source: impl Source) -> Vec<Event> {
    let mut events = Vec::new();
    let begun = Instant::now();
    while !source.is_over() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} events, and no end", events.len());
        events.extend(source.next(Duration::from_millis(20)).unwrap());
    }
    events
}

fn replay(path: &Path) -> Vec<Event> {
    all(Replay::open(path, 1000.0).unwrap())
}

fn board(events: &[Event]) -> String {
    let mut board = Board::new(600.0);
    for event in events {
        board.apply(event);
    }
    board.tick(1001.0);
    serde_json::to_string(&board.all()).unwrap()
}

#[track_caller]
fn refused(content: impl AsRef<[u8]>, line: usize, words: &str) {
    let file = File::with(content);
    let error = Replay::open(&file.path, 1.0).unwrap_err();
    assert!(matches!(error, Error::Recording { line: at, .. } if at == line), "{error}");
    assert!(error.to_string().contains(words), "no `{words}` in `{error}`");
    assert!(error.to_string().starts_with(&*file.path.to_string_lossy()), "{error}");
}

#[test]
fn a_replay_returns_and_shows_the_same_events() {
    let file = File::absent();

    let live = all(Recorder::new(Script(night()), &file.path).unwrap());
    let again = replay(&file.path);

    assert_eq!(live, night());
    assert_eq!(again, live);
    assert_eq!(board(&again), board(&live));
}

#[test]
fn events_are_in_the_file_when_they_are_returned() {
    let file = File::absent();
    let mut recorder = Recorder::new(Script(night()), &file.path).unwrap();

    let events = recorder.next(Duration::ZERO).unwrap();

    // The recorder is not used any more, as if its program had been killed.
    assert_eq!(replay(&file.path), events);
    std::mem::forget(recorder);
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let file = File::with("precious");

    let error = Recorder::new(Script(night()), &file.path).err().unwrap();

    assert!(error.to_string().ends_with("it is there already; name a new file"), "{error}");
    assert_eq!(std::fs::read_to_string(&file.path).unwrap(), "precious");
}

#[test]
fn a_torn_last_line_is_reported_and_left_out() {
    let file = File::absent();
    all(Recorder::new(Script(night()), &file.path).unwrap());
    let whole = std::fs::read(&file.path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;

    // At every length that it may be cut to.
    for length in last..whole.len() {
        std::fs::write(&file.path, &whole[..length]).unwrap();
        let replay = Replay::open(&file.path, 1000.0).unwrap();

        // If only the newline is missing, the line is complete.
        let is_torn = length > last && length < whole.len() - 1;
        assert_eq!(replay.torn(), is_torn.then_some(12), "{length}");
        let count = if length < whole.len() - 1 { 10 } else { 11 };
        assert_eq!(all(replay), night()[..count], "{length}");
    }
}

#[test]
fn a_file_without_a_valid_header_is_refused() {
    refused("", 1, "no recording of lockbydir");
    refused("\n", 1, "no recording of lockbydir");
    refused("jobs\nmore jobs\n", 1, "no recording of lockbydir");
    refused([0xff, 0xfe, b'\n'], 1, "no recording of lockbydir");
    refused(r#"{"at":1.0,"lock":"jobs","what":"appeared"}"#, 1, "no recording of lockbydir");
    refused(HEADER.replace("lockbydir events", "other"), 1, "no recording of lockbydir");
    refused(vec![0; 100_000], 1, "longer than 65536 bytes");
}

#[test]
fn a_recording_of_another_version_is_refused() {
    let other = HEADER.replace("\"version\":1", "\"version\":2").replace("a test", "new\\u001b[2J");
    refused(other, 1, "new\\u{1b}[2J wrote it in version 2 of the format; this program reads 1");
    refused(HEADER.replace("\"version\":1", "\"version\":0"), 1, "version 0");
}

#[test]
fn a_wrong_line_is_named_by_its_number() {
    let good = r#"{"at":1.0,"lock":"jobs","what":"appeared"}"#;
    let with = |line: &str| format!("{HEADER}\n{good}\n{line}\n{good}\n");
    refused(with("nonsense"), 3, "expected");
    refused(with(""), 3, "EOF");
    refused(with(r#"{"at":1.0,"lock":"jobs","what":"eaten"}"#), 3, "unknown variant `eaten`");
    refused(with(r#"{"at":1.0,"lock":"jobs","what":"died"}"#), 3, "missing field `by`");
    refused(with("{\"at\":1.0,\"lock\":\"\u{1}\",\"what\":\"appeared\"}"), 3, "control character");
    refused(with(&"x".repeat(70_000)), 3, "longer than 65536 bytes");
    refused(with(&"[".repeat(60_000)), 3, "");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let appeared = |at: &str| format!(r#"{HEADER}{}{{"at":{at},"what":"appeared"}}"#, '\n') + "\n";
    for at in ["-1", "1e12", "-1e300"] {
        refused(appeared(at), 2, "`at` is ");
    }
    refused(appeared("1e400"), 2, "number out of range");
    refused(appeared("null"), 2, "invalid type");
    let renewed = |timeout: &str, times: &str| {
        let by = r#"{"id":"a","host":"h"}"#;
        format!(
            "{HEADER}\n{{\"at\":1,\"lock\":\"l\",\"what\":\"renewed\",\"by\":{by},\"times\":{times},\"timeout_s\":{timeout}}}\n"
        )
    };
    refused(renewed("-5", "1"), 2, "`timeout_s` is -5");
    refused(renewed("1e99", "1"), 2, "`timeout_s` is ");
    refused(renewed("1", "4294967296"), 2, "invalid value");
    refused(renewed("1", "-1"), 2, "invalid value");
}

#[test]
fn errors_quote_hostile_text_in_printable_form() {
    let hostile = r"\u001b]0;x\u0007\u009b2J\u202e";
    let by = format!(r#"{{"id":"a","host":"h","{hostile}":1}}"#);
    for line in [
        format!(r#"{{"at":1,"what":"{hostile}"}}"#),
        format!(r#"{{"at":1,"what":"left","by":{by},"why":"{hostile}"}}"#),
        format!(r#"{{"at":1,"what":"renewed","by":{by},"times":"{hostile}","timeout_s":1}}"#),
        format!(r#"{{"at":"{hostile}","what":"appeared"}}"#),
        format!(r#"{{"at":1,"what":"appeared","lock":["{hostile}"]}}"#),
    ] {
        let file = File::of(&(line + "\n"));
        let error = Replay::open(&file.path, 1.0).unwrap_err().to_string();
        let is_bad = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!error.contains(is_bad), "{error:?}");
    }
}

/// Damages a recording by a random sequence of cuts, duplications and changed bytes, determined by
/// the seed.
fn damaged(whole: &[u8], mut seed: u64) -> Vec<u8> {
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below.max(1)
    };
    let mut bytes = whole.to_vec();
    for _ in 0..=random(4) {
        // The header stays valid in most cases, so that more code is reached.
        let from = if random(8) == 0 { 0 } else { HEADER.len() + 1 };
        let at = (from + random(bytes.len().saturating_sub(from))).min(bytes.len());
        let tokens: [&[u8]; 12] = [
            b"\n",
            b"{",
            b"[[[[[[[[",
            b"\"",
            b"null",
            b"1e308",
            b"-0.0",
            b"\\u001b[2J",
            b"\\ud800",
            b"\xff\xfe",
            b"\x1b[2J",
            b"18446744073709551616",
        ];
        match random(5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..(at + random(40)).min(bytes.len()))),
            2 => bytes.extend_from_within(at..),
            3 => drop(bytes.splice(at..at, tokens[random(12)].iter().copied())),
            _ => {
                let other = u8::try_from(random(256)).unwrap();
                bytes.splice(at..(at + 1).min(bytes.len()), [other]);
            }
        }
    }
    bytes
}

#[test]
fn a_damaged_recording_is_replayed_or_refused() {
    let file = File::absent();
    all(Recorder::new(Script(night()), &file.path).unwrap());
    let whole = std::fs::read(&file.path).unwrap();
    let (mut replayed, mut refused) = (0, 0);

    for seed in 0..4000 {
        std::fs::write(&file.path, damaged(&whole, seed)).unwrap();
        let text = match Replay::open(&file.path, 1e300) {
            Ok(replay) => {
                replayed += 1;
                lockbydir_player::watch::once(Box::new(replay), 80, 24).unwrap()
            }
            Err(error) => {
                refused += 1;
                error.to_string()
            }
        };
        let is_bad = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(is_bad), "{seed}: {text:?}");
    }

    assert!(replayed > 100 && refused > 100, "{replayed} {refused}");
}

#[test]
fn a_large_file_is_read_while_it_is_replayed() {
    let pad = "x".repeat(60_000);
    let event = |number: u32| {
        let by = format!(r#"{{"id":"{number}","host":"h"}}"#);
        format!(r#"{{"at":1,"lock":"jobs","what":"joined","by":{by},"pad":"{pad}"}}"#) + "\n"
    };
    let file = File::of(&(0..300).map(event).collect::<String>());
    let replay = Replay::open(&file.path, 1000.0).unwrap();
    assert_eq!((replay.only_lock(), replay.torn()), (Some("jobs"), None));

    // Events appended afterwards are returned, too.
    let mut more = std::fs::File::options().append(true).open(&file.path).unwrap();
    more.write_all(event(300).as_bytes()).unwrap();
    let events = all(replay);

    assert_eq!(events.len(), 301);
    assert!((0..).zip(&events).all(|(n, event)| event.what.by().unwrap().id == n.to_string()));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_replayed_from_memory() {
    let file = File::absent();
    all(Recorder::new(Script(night()), &file.path).unwrap());
    let whole = std::fs::read(&file.path).unwrap();
    let (pipe, writer) = std::io::pipe().unwrap();
    let writer = std::thread::spawn(move || (&writer).write_all(&whole).unwrap());
    let number = std::os::fd::AsRawFd::as_raw_fd(&pipe);
    let replay = Replay::open(format!("/dev/fd/{number}"), 1000.0).unwrap();
    writer.join().unwrap();
    drop(pipe);
    assert_eq!(all(replay), night());
}

#[test]
fn hostile_text_is_made_printable() {
    let by =
        r#"{"id":"a\u0007","host":"h\u202e","pid":1,"command":"\u001b]0;x","label":"\u001b[2J"}"#;
    let file = File::of(&format!(
        "{{\"at\":1,\"lock\":\"jobs\\u001b[1A\",\"what\":\"joined\",\"by\":{by}}}\n{}\n",
        r#"{"at":1,"what":"said","text":"all\u001b[0m well\r\n"}"#
    ));

    let events = replay(&file.path);

    assert_eq!(events[0].lock, "jobs\\u{1b}[1A");
    let who = events[0].what.by().unwrap();
    assert_eq!((&*who.id, &*who.host), ("a\\u{7}", "h\\u{202e}"));
    assert_eq!(who.command.as_deref(), Some("\\u{1b}]0;x"));
    assert_eq!(who.label.as_deref(), Some("\\u{1b}[2J"));
    assert_eq!(events[1].what, What::Said { text: "all\\u{1b}[0m well\\u{d}\\u{a}".into() });
}

#[test]
fn counters_saturate() {
    let many = format!(r#"{{"at":1,"lock":"l","what":"missed","count":{}}}"#, u64::MAX);
    let by = r#"{"id":"a","host":"h"}"#;
    let held = format!(
        r#"{{"at":1,"lock":"l","what":"acquired","by":{by},"token":1,"timeout_s":1,"remaining_s":1,"how":"free"}}"#
    );
    let often = format!(
        r#"{{"at":1,"lock":"l","what":"renewed","by":{by},"times":{},"timeout_s":1}}"#,
        u32::MAX
    );
    let file = File::of(&format!("{many}\n{many}\n{held}\n{often}\n{often}\n"));

    let mut board = Board::new(60.0);
    replay(&file.path).iter().for_each(|event| board.apply(event));

    let card = board.cards().next().unwrap();
    assert_eq!((card.missed, card.holdings, card.state), (u64::MAX, u64::MAX, State::Held));
}

#[test]
fn time_does_not_run_backwards_after_a_clock_step() {
    let event = |at: f64| format!(r#"{{"at":{at},"lock":"jobs","what":"appeared"}}"#) + "\n";
    let file = File::of(&[100.0, 101.0, 41.0, 42.5, 200.0].map(event).concat());

    let times: Vec<f64> = replay(&file.path).iter().map(|event| event.at).collect();

    assert_eq!(times, [100.0, 101.0, 101.0, 102.5, 260.0]);
}

#[test]
fn a_replay_keeps_its_speed() {
    let file = File::absent();
    all(Recorder::new(Script(night()), &file.path).unwrap());
    let takes = |speed| {
        let begun = Instant::now();
        assert_eq!(all(Replay::open(&file.path, speed).unwrap()).len(), 11);
        begun.elapsed().as_secs_f64()
    };

    // The night is 0.9 s long.
    assert!(takes(1000.0) < 0.3);
    let half = takes(2.0);
    assert!(half > 0.44, "{half}");
    let slow = takes(0.5);
    assert!(slow > 1.79, "{slow}");
}

#[test]
fn a_hundred_thousand_events_are_replayed_fast() {
    let mut lines = String::new();
    for number in 0..100_000 {
        let by = format!(r#"{{"id":"{}","host":"h","pid":{number}}}"#, number % 50);
        let what = if number / 50 % 2 == 0 { "joined" } else { "left\",\"why\":\"gave-up" };
        let at = 1000.0 + f64::from(number) / 1e4;
        writeln!(lines, r#"{{"at":{at},"lock":"jobs","what":"{what}","by":{by}}}"#).unwrap();
    }
    let file = File::of(&lines);
    let begun = Instant::now();

    let events = replay(&file.path);

    assert_eq!(events.len(), 100_000);
    let took = begun.elapsed();
    // The limit allows for a build without optimization, beside other tests.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn the_lines_in_the_manual_are_a_recording() {
    let manual = include_str!("player.md");
    let blocks = manual.split("\n```").filter_map(|block| block.strip_prefix("json\n"));
    let file =
        File::with(blocks.map(|block| format!("{}\n", block.trim_end())).collect::<String>());

    let events = replay(&file.path);

    assert_eq!(events.len(), 4);
    assert!(matches!(&events[3].what, What::Joined { by } if by.pid == Some(4242)));
}

#[test]
fn an_unreadable_file_is_a_file_error() {
    let file = File::absent();
    let error = Replay::open(&file.path, 1.0).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert!(error.to_string().contains("night.jsonl: cannot be read: "), "{error}");
}
