//! Names of entries and tickets, spelled as docs/protocol.md specifies.

use lockbydir_protocol::*;

use crate::play::*;

fn spelled(label: &str) -> String {
    let label = Label::new(label).unwrap();
    let name = Entry { label, ..held(7) }.to_string();
    name.rsplit_once(".h.").expect("the host").1.into()
}

#[test]
fn labels_are_spelled_portably() {
    for (label, name) in [
        ("", "-"),
        ("-", "=2d"),
        ("--", "--"),
        ("backup.sh", "backup.sh"),
        ("a-z_0.9", "a-z_0.9"),
        ("A b", "=41=20b"),
        ("=/~", "=3d=2f=7e"),
        ("end.", "end=2e"),
        ("..", ".=2e"),
    ] {
        assert_eq!(spelled(label), name, "{label}");
        let entry = Entry { label: Label::new(label).unwrap(), ..held(7) };
        assert_eq!(Entry::parse(&entry.to_string()), Some(entry));
    }
}

#[test]
fn a_label_has_at_most_forty_printable_characters() {
    let forty = "x".repeat(40);
    assert_eq!(Label::new(&forty).unwrap().as_str(), forty);
    assert_eq!(Label::new(&"x".repeat(41)), Err(LabelError::TooLong));
    for text in ["\n", "\u{7f}", "é", "\0"] {
        assert_eq!(Label::new(text), Err(LabelError::NotPrintable), "{text:?}");
    }
    assert_ne!(LabelError::TooLong.to_string(), LabelError::NotPrintable.to_string());
    assert!(Label::default().is_empty() && Label::new("").unwrap().is_empty());
    assert!(!Label::new("-").unwrap().is_empty());
}

/// An entry whose name without its label has this many bytes.
fn of_length(length: usize) -> Entry {
    let started = |digits: usize| {
        let process = |start| Process { pid: 4_000_000_000, start };
        let owner = Owner::Two(process(10u64.pow(digits as u32 - 1)), process(10u64.pow(18)));
        let stamp = millis(99_999_999_999_999);
        let host = Host::new("abcdefghijklmnop");
        Entry { owner, timeout: MAX_TIMEOUT, stamp, token: MAX_TOKEN, host, ..held(7) }
    };
    let none = Label::default();
    let shortest = Entry { label: none.clone(), ..started(1) }.to_string().len() - 1;
    Entry { label: none, ..started(1 + length - shortest) }
}

#[test]
fn a_label_that_does_not_fit_is_cut_but_never_an_escape() {
    let spelled = |room: usize, label: &str| {
        let label = Label::new(label).unwrap();
        let entry = Entry { label, ..of_length(MAX_NAME - room) };
        let name = entry.to_string();
        assert!(name.len() <= MAX_NAME);
        let back = Entry::parse(&name).unwrap_or_else(|| panic!("{name}"));
        assert!(entry.label.as_str().starts_with(back.label.as_str()));
        name[MAX_NAME - room..].to_string()
    };
    assert_eq!(spelled(4, "abcdef"), "abcd");
    assert_eq!(spelled(4, "aBcdef"), "a=42");
    assert_eq!(spelled(4, "abCdef"), "ab");
    assert_eq!(spelled(5, "abCdef"), "ab=43");
    assert_eq!(spelled(6, "abCdef"), "ab=43d");
    // A dot that the cut leaves at the end becomes an escape if there is room for it.
    assert_eq!(spelled(4, "abc.def"), "abc");
    assert_eq!(spelled(4, "a..."), "a");
    assert_eq!(spelled(4, "...."), "-");
    assert_eq!(spelled(4, "a.Bc"), "a=2e");
    assert_eq!(spelled(3, "a.Bc"), "a");
    assert_eq!(spelled(5, "a..Bc"), "a.=2e");
    assert_eq!(spelled(1, "ab"), "a");
}

#[test]
fn a_name_of_more_than_two_hundred_bytes_is_foreign() {
    let process = |pid| Process { pid, start: u64::MAX };
    let mut entry = Entry {
        token: MAX_TOKEN,
        renewals: 9,
        timeout: MAX_TIMEOUT,
        stamp: millis(99_999_999_999_999),
        owner: Owner::Two(process(400_000_000), process(20_000_000)),
        host: Host::new("aaaaaaaaaaaaaaaa"),
        label: Label::default(),
        ..held(7)
    };
    assert_eq!(entry.to_string().len(), MAX_NAME);
    assert_eq!(Entry::parse(&entry.to_string()), Some(entry.clone()));

    entry.renewals = 10;
    assert_eq!(entry.to_string().len(), MAX_NAME + 1);
    assert_eq!(Entry::parse(&entry.to_string()), None);

    // The label of a ticket is cut likewise.
    let label = Label::new(&"A".repeat(40)).unwrap();
    let ticket = Ticket { label, ..ticket(7, 7) };
    let name = ticket.to_string();
    let fields = name.split_once(".h.").unwrap().0;
    assert!((MAX_NAME - 2..=MAX_NAME).contains(&name.len()) && Ticket::parse(&name).is_some());
    assert_eq!(Ticket::parse(&format!("{fields}.h.{}", "=41".repeat(40))), None);
}

#[test]
fn hosts_are_the_first_part_of_a_name_made_portable() {
    for (name, host) in [
        ("web1", "web1"),
        ("Web1.example.org", "web1"),
        ("my_host", "my-host"),
        ("", "unknown"),
        (".org", "unknown"),
        ("a-very-long-host-name", "a-very-long-host"),
        ("öl", "-l"),
    ] {
        assert_eq!(Host::new(name).as_str(), host, "{name}");
        assert_eq!(format!("{:?}", Host::new(name)), host);
    }
    let name = |host: &str| held(7).to_string().replace(".h.", &format!(".{host}."));
    assert!(Entry::parse(&name("abcdefghijklmnop")).is_some());
    for host in ["", "abcdefghijklmnopq", "A", "a_b", "é"] {
        assert_eq!(Entry::parse(&name(host)), None, "{host}");
    }
}

#[test]
fn nonces_are_written_in_26_digits_of_base_32() {
    assert_eq!(Nonce(0).to_string(), "0".repeat(26));
    assert_eq!(Nonce(31).to_string(), format!("{}z", "0".repeat(25)));
    assert_eq!(Nonce(32).to_string(), format!("{}10", "0".repeat(24)));
    assert_eq!(Nonce(u128::MAX).to_string(), format!("7{}", "z".repeat(25)));
    assert_eq!(format!("{:?}", Nonce(31)), Nonce(31).to_string());
    for nonce in [0, 1, 31, 32, u128::MAX / 3, u128::MAX] {
        assert_eq!(Nonce::parse(&Nonce(nonce).to_string()), Some(Nonce(nonce)));
    }
    for text in ["", "0", &"0".repeat(27), &format!("8{}", "0".repeat(25)), &"i".repeat(26)] {
        assert_eq!(Nonce::parse(text), None, "{text}");
    }
}

#[test]
fn the_first_process_of_an_owner_is_the_one_that_took_the_lock() {
    let process = |pid| Process { pid, start: 1 };
    for (owner, processes) in [
        (Owner::Nobody, vec![]),
        (Owner::One(process(1)), vec![process(1)]),
        (Owner::Two(process(1), process(2)), vec![process(1), process(2)]),
    ] {
        assert_eq!(owner.processes().collect::<Vec<_>>(), processes);
    }
}

#[test]
fn the_limits_of_a_timeout_are_a_tenth_of_a_second_and_ten_years() {
    let name = |timeout: &str| held(7).to_string().replace(".10000.", &format!(".{timeout}."));

    for timeout in ["100", "10000", "315360000000"] {
        assert!(Entry::parse(&name(timeout)).is_some(), "{timeout}");
    }
    for timeout in ["99", "315360000001", "0"] {
        assert!(Entry::parse(&name(timeout)).is_none(), "{timeout}");
    }
    assert_eq!(MAX_TIMEOUT.as_millis(), 315_360_000_000);
}

#[test]
fn stamps_are_whole_milliseconds_of_at_most_fourteen_digits() {
    let name = |stamp: &str| held(7).to_string().replace(".999000.", &format!(".{stamp}."));
    assert!(Entry::parse(&name("99999999999999")).is_some());
    assert!(Entry::parse(&name("100000000000000")).is_none());

    let stamped = |time| held(7).next(State::Held, time, &ORIGIN).stamp;
    assert_eq!(stamped(std::time::Duration::from_nanos(1_999_999)), millis(1));
    assert_eq!(stamped(millis(99_999_999_999_999)), millis(99_999_999_999_999));
    assert_eq!(stamped(millis(100_000_000_000_000)), millis(99_999_999_999_999));
    assert_eq!(stamped(std::time::Duration::MAX), millis(99_999_999_999_999));
}

#[test]
fn a_name_of_any_other_spelling_is_not_a_ticket() {
    let good = ticket(17, 7).to_string();
    assert_eq!(
        good,
        "t1.17.00000000000000000000000007.1000000.0000000000000001.00000001.00000001.50-5.h.-"
    );
    for (part, bad) in [
        ("t1.", "t2."),
        (".17.", ".017."),
        (".17.", ".+17."),
        (".17.", ".."),
        (".17.", ".1000000000000000000."),
        (".1000000.", ".01000000."),
        (".1000000.", ".100000000000000."),
        (".0000000000000001.", ".000000000000001."),
        (".0000000000000001.", ".000000000000000A."),
        (".0000000000000001.", ".+000000000000001."),
        (".00000001.", ".0000001."),
        (".00000001.", ".0000000g."),
        (".50-5.", ".50."),
        (".50-5.", ".050-5."),
        (".50-5.", ".50-05."),
        (".50-5.", ".4294967296-5."),
        (".h.", ".H."),
        (".h.-", ".h."),
        (".h.-", ".h.=61"),
        (".h.-", ".h.a."),
        (".h.-", ""),
    ] {
        let name = good.replace(part, bad);
        assert_ne!(name, good);
        assert_eq!(Ticket::parse(&name), None, "{name}");
    }
    for (part, as_good) in [
        (".17.", ".0."),
        (".17.", ".999999999999999999."),
        (".1000000.", ".99999999999999."),
        (".0000000000000001.", ".abcdef0123456789."),
        (".50-5.", ".4294967295-18446744073709551615."),
        (".h.-", ".h.a.b"),
    ] {
        assert!(Ticket::parse(&good.replace(part, as_good)).is_some(), "{as_good}");
    }
}

#[test]
fn the_smaller_order_goes_first_then_the_smaller_nonce() {
    let stamped = |stamp| Ticket { stamp: millis(stamp), ..ticket(1, 1) };
    let queue = [stamped(1), stamped(2), ticket(1, 2), ticket(2, 0), ticket(2, 1)];

    for (at, one) in queue.iter().enumerate() {
        for (other_at, other) in queue.iter().enumerate() {
            assert_eq!(one.cmp(other), at.cmp(&other_at));
            assert_eq!(one.partial_cmp(other), Some(at.cmp(&other_at)));
        }
    }
}

#[test]
fn a_newcomers_order_is_the_time_or_one_more_than_the_largest() {
    let wall = micros(secs(WALL));
    let late = Now { boot: std::time::Duration::from_micros(1999), ..now() };
    let own_ticket = ticket(0, 8);

    for (queue, order) in [
        (vec![], wall),
        (vec![wall - 1], wall),
        (vec![wall, 5], wall + 1),
        (vec![7, wall + 10, 9], wall + 11),
        (vec![MAX_TOKEN], MAX_TOKEN),
    ] {
        let queue: Vec<_> = queue.into_iter().map(|order| ticket(order, 1)).collect();
        let behind = Ticket { order, stamp: millis(1), ..own_ticket.clone() };
        assert_eq!(own_ticket.behind(&queue, late), behind);
    }
    let end = Now { wall: std::time::Duration::MAX, ..now() };
    assert_eq!(own_ticket.behind(&[], end).order, MAX_TOKEN);
}
