//! Tests of frames, in characters, without the clock, since time zones differ. Whole frames are snapshots:
//! `INSTA_UPDATE=always cargo test -p lockbydir-player --test it frames` accepts new ones.

use std::collections::VecDeque;
use std::time::Duration;

use insta::assert_snapshot;
use lockbydir_player::watch::{Options, once, still};
use lockbydir_player::{Contender, Error, Event, How, Source, What, Why};

use crate::{acquired, event, joined, left, who};

/// A source that returns all events at once, at a fixed time.
struct Script(VecDeque<Event>, f64);

impl Source for Script {
    fn next(&mut self, _: Duration) -> Result<Vec<Event>, Error> {
        Ok(self.0.drain(..).collect())
    }

    fn now(&self) -> f64 {
        self.1
    }
}

fn script(now: f64, events: impl IntoIterator<Item = Event>) -> Box<Script> {
    Box::new(Script(events.into_iter().collect(), now))
}

/// Returns the frame of all locks, without its first line, which has the clock.
fn list(now: f64, events: impl IntoIterator<Item = Event>) -> String {
    let frame = once(script(now, events), 80, 24).unwrap();
    frame.split_once('\n').unwrap().1.to_owned()
}

/// Returns the text with `hh:mm:ss` for each time of day.
fn clockless(text: &str) -> String {
    let mut signs: Vec<char> = text.chars().collect();
    let is_time = |signs: &[char]| {
        let shape = |sign: &char| if sign.is_ascii_digit() { '0' } else { *sign };
        signs.iter().map(shape).eq("00:00:00".chars())
    };
    for at in 0..signs.len().saturating_sub(7) {
        if is_time(&signs[at..at + 8]) {
            signs.splice(at..at + 8, "hh:mm:ss".chars());
        }
    }
    signs.into_iter().collect()
}

fn lock(name: &str, at: f64, what: What) -> Event {
    Event { lock: name.into(), ..event(at, what) }
}

/// Returns the frame of one lock, without its first line, which has the clock.
fn lanes(now: f64, events: impl IntoIterator<Item = Event>, size: (u16, u16)) -> String {
    let mut options = Options::titled("");
    options.opened = Some("jobs".into());
    let frame = still(script(now, events), options, size, false).unwrap();
    frame.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn locks_in_trouble_come_first_then_long_waits_then_names() {
    let frame = list(
        100.0,
        [
            lock("alright", 91.0, acquired("a", 1, How::Free)),
            lock("dead", 91.0, acquired("b", 1, How::Free)),
            lock("dead", 93.0, What::Died { by: who("b") }),
            lock("free", 91.0, What::Appeared),
            lock("expired", 80.0, acquired("c", 1, How::Free)),
            lock("expired", 90.0, What::Expired { by: who("c") }),
            lock("waited", 80.0, joined("e")),
            lock("waited", 98.0, acquired("d", 1, How::Free)),
            lock("short", 99.0, joined("e")),
        ],
    );

    assert_snapshot!(frame);
}

#[test]
fn one_lock_shows_all_facts_and_each_span_its_mark() {
    let times = |id: &str| Contender { pid: Some(id.len() as u32), ..who(id) };
    let frame = lanes(
        100.0,
        [
            event(81.0, acquired("a", 7, How::Free)),
            event(82.0, joined("b")),
            event(82.0, joined("c")),
            event(84.0, left("c", Why::GaveUp)),
            event(83.0, What::Joined { by: times("d") }),
            event(86.0, left("d", Why::Died)),
            event(91.0, What::Expired { by: who("a") }),
            event(93.0, acquired("b", 8, How::AfterExpiry)),
            event(96.0, What::Died { by: who("b") }),
        ],
        (60, 18),
    );

    assert_snapshot!(clockless(&frame));
}

#[test]
fn a_foreign_lock_shows_the_obstacle_and_the_holder() {
    let why = "it holds `note`, which is not ours".to_owned();
    let foreign = event(99.5, What::Foreign { why });

    let alone = lanes(100.0, [foreign.clone()], (100, 18));
    let held = [event(99.0, acquired("a", 7, How::Free)), foreign];
    let both = lanes(100.0, held.clone(), (100, 18));

    assert!(!alone.contains("holder"), "{alone}");
    assert_snapshot!("a_foreign_lock_without_a_holder", clockless(&alone));
    assert_snapshot!("a_foreign_lock_with_a_holder", clockless(&both));
    assert_snapshot!("a_foreign_lock_among_others", list(100.0, held));
}

#[test]
fn long_texts_are_cut_visibly_even_in_wide_characters() {
    let long = "部門の仕事/".repeat(9) + "夜";
    let by = Contender { command: Some("とても長い命令".repeat(9)), ..who("a") };
    let held = What::Acquired { by, token: 1, timeout_s: 10.0, remaining_s: 10.0, how: How::Free };

    for width in [40, 60, 80, 200] {
        let frame = once(script(100.0, [lock(&long, 99.0, held.clone())]), width, 9).unwrap();

        let row = frame.lines().nth(2).unwrap();
        assert!(row.contains("夜 ") && row.contains("● held"), "{row}");
        assert!(row.starts_with("  …"), "{row}");
        // Each wide character takes two columns.
        let wide = |c: char| if c > '\u{3000}' { 2 } else { 1 };
        let room: usize = row.chars().map(wide).sum();
        assert!(room <= usize::from(width), "{room} in {width}: {row}");
    }
}

#[test]
fn hostile_text_is_printable_and_messages_are_shown() {
    let hostile = "\u{1b}[2J\u{202e}\n";
    let by = Contender {
        host: hostile.into(),
        command: Some(hostile.into()),
        label: Some(hostile.into()),
        ..who("a")
    };
    let events = [
        lock(hostile, 99.0, What::Joined { by: by.clone() }),
        event(99.0, What::Joined { by }),
        lock("", 99.0, What::Said { text: format!("now then{hostile}") }),
    ];

    let list = once(script(100.0, events.clone()), 80, 24).unwrap();
    assert!(list.contains("202e}\\u{a} ○ free"), "{list}");
    let both = list + &lanes(100.0, events, (80, 24));

    assert!(both.chars().all(|c| c == '\n' || !c.is_control()), "{both:?}");
    assert!(!both.contains('\u{202e}'));
    assert!(both.contains("now then\\u{1b}[2J\\u{202e}\\u{a}"), "{both}");
}

#[test]
fn messages_have_a_third_of_the_height() {
    let text = "one two three four five six seven eight nine ten eleven twelve thirteen".to_owned();
    let said = |at: f64, text: String| lock("", at, What::Said { text });
    let frame = |events: Vec<Event>| once(script(100.0, events), 60, 18).unwrap();

    let whole = frame(vec![said(99.0, text.clone())]);
    let full = frame((1..9).map(|nth| said(f64::from(nth), format!("{nth} {text}"))).collect());

    let ends = |frame: &str| {
        let mut lines: Vec<_> = frame.lines().rev().skip_while(|line| line.is_empty()).collect();
        lines.truncate(3);
        lines.into_iter().rev().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(ends(&whole)[0].chars().all(|c| c == '─'), "{whole}");
    assert!(
        ends(&whole)[1].ends_with(" one two three four five six seven eight nine ten"),
        "{whole}"
    );
    assert!(ends(&whole)[2].ends_with("  eleven twelve thirteen"), "{whole}");
    assert!(full.contains(" 8 one two") && full.contains(" 7 one two"), "{full}");
    assert_eq!(full.matches("thirteen").count(), 3, "{full}");
    assert!(!full.contains(" 6 one two"), "{full}");
}

#[test]
fn unreachable_servers_are_shown_in_the_first_line() {
    let held = event(99.0, acquired("h", 7, How::Free));
    let (servers, why) = ("etcd://h:2379/".to_owned(), "etcd://h:2379/ is out of reach".to_owned());
    let gone = lock("", 99.5, What::Unreachable { servers: servers.clone(), why });
    let back = lock("", 99.8, What::Reachable { servers });

    let away = once(script(100.0, [held.clone(), gone.clone()]), 80, 12).unwrap();
    let again = once(script(100.0, [held, gone, back]), 80, 12).unwrap();

    let first = |frame: &str| frame.lines().next().unwrap().to_owned();
    assert!(first(&away).contains("1 lock, etcd servers unreachable "), "{away}");
    assert!(away.contains(" etcd://h:2379/ is out of reach"), "{away}");
    assert!(!first(&again).contains("reach"), "{again}");
    assert!(again.contains(" etcd://h:2379/ answers again"), "{again}");
}

#[test]
fn of_a_thousand_waiters_the_next_ones_are_shown() {
    let held = event(1001.0, acquired("h", 7, How::Free));
    let wait = (1..=1000_u32).map(|nth| {
        let by = Contender { pid: Some(nth), command: None, ..who(&format!("w{nth}")) };
        event(f64::from(nth), What::Joined { by })
    });

    let frame = lanes(1002.0, wait.chain([held]), (80, 20));

    assert!(frame.contains("1000 in the queue, the first for 16m41s: 1"), "{frame}");
    let rows: Vec<&str> = frame.lines().skip(5).collect();
    assert!(rows[0].starts_with(" 1-11 of 1001"), "{frame}");
    assert!(rows[1].starts_with(" 4242 backup.sh ") && rows[1].ends_with("██"), "{frame}");
    assert!(rows[2].starts_with(" 1 ") && rows[11].starts_with(" 10 "), "{frame}");
}

#[test]
fn a_frame_of_any_size_is_drawn() {
    let events = [event(99.0, acquired("a", 1, How::Free)), event(99.5, joined("b"))];
    let said = lock("", 99.0, What::Said { text: "well".into() });

    for width in 1..100 {
        for height in 1..30 {
            let events = events.iter().chain([&said]).cloned();
            let frame = once(script(100.0, events.clone()), width, height).unwrap();
            lanes(100.0, events, (width, height));

            assert!(frame.lines().count() <= usize::from(height));
            let is_small = width < 40 || height < 8;
            assert_eq!(is_small, !frame.contains("NAME"), "{width}x{height}: {frame}");
        }
    }
    assert_eq!(once(script(1.0, events), 34, 2).unwrap(), "34x2 is too small; 40x8 will do\n");
}

#[test]
fn colours_are_used_only_on_request() {
    let frame = |colours| {
        let events = [event(99.0, acquired("a", 1, How::Free))];
        still(script(100.0, events), Options::titled("t"), (80, 24), colours).unwrap()
    };

    assert!(frame(true).contains("\u{1b}[0;36m● held"), "{:?}", frame(true));
    assert!(!frame(false).contains('\u{1b}'));
}
