//! Machines told scripted answers: what they ask next.

#![allow(missing_docs, reason = "test names are sentences")]

use std::time::Duration;

use lockbydir_protocol::*;

fn at(second: u64) -> Now {
    Now { boot: Duration::from_secs(second), wall: Duration::from_secs(1_000_000 + second) }
}

#[test]
fn an_entry_staged_for_the_second_time_is_numbered_anew_once_installed() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let wish = |nonce| Wish {
        nonce: Nonce(nonce),
        timeout: Duration::from_secs(3600),
        fenced: false,
        owner: Owner::Nobody,
        host: Host::new("h"),
        label: Label::new("").unwrap(),
    };
    // Somebody else's entry, made by the machine itself.
    let mut other = Acquire::new(wish(7), here, None);
    other.start(at(1));
    let Step::Perform(Operation::Stage(theirs)) = other.resume(at(1), Answer::Seen(Sight::Absent))
    else {
        panic!()
    };

    for losses in [0, 1] {
        let mut slow = Acquire::new(wish(8), here, None);
        slow.start(at(2));
        let mut step = slow.resume(at(2), Answer::Seen(Sight::Absent));
        for _ in 0..losses {
            assert!(matches!(step, Step::Perform(Operation::Stage(_))));
            slow.resume(at(2), Answer::Done(None)); // -> install
            slow.resume(at(2), Answer::Failed(Fault::Taken)); // -> look
            let listing = Listing {
                entries: vec![theirs.clone()],
                litter: None,
                modified: Stamp(0),
                stranger: None,
                foreign: None,
            };
            let cleared = slow.resume(at(2), Answer::Seen(Sight::Directory(listing)));
            assert!(matches!(cleared, Step::Perform(Operation::Unstage(_))));
            slow.resume(at(2), Answer::Done(None)); // -> look
            step = slow.resume(at(2), Answer::Seen(Sight::Absent));
        }
        let Step::Perform(Operation::Stage(staged)) = step else { panic!("{step:?}") };
        slow.resume(at(2), Answer::Done(None)); // -> install
        // A hundred seconds later, others have held and left meanwhile.
        let step = slow.resume(at(102), Answer::Done(None));
        assert!(
            matches!(step, Step::Perform(Operation::Rename(_, ref to)) if to.token > staged.token),
            "after {losses} losses: {step:?}"
        );
    }
}

fn here(origin: Origin) -> Here {
    let booted = Some(Stamp(1_000_000_000_000_000));
    Here { origin, one_kernel: true, booted, host: Host::new("h") }
}

/// A look's verdict on an entry that another boot of some kernel wrote, of this host and age.
fn verdict_on_another_boots(host: &str, modified: Stamp) -> Verdict {
    let judge_here = here(Origin { boot: 1, time: 1, pids: 1 });
    let entry = "v1.held.p.5.00000000000000000000000007.0.600000.512345.963d455590f24dec.00000001.00000001.none.h.x";
    let entry = Entry { host: Host::new(host), ..Entry::parse(entry).expect("an entry") };
    let facts = Facts {
        now: at(50),
        watched: Duration::ZERO,
        modified,
        life: None,
        file_clock: Some(modified),
    };
    judge(&entry, &judge_here, &facts)
}

#[test]
fn only_what_this_host_wrote_before_its_boot_is_dead_by_a_reboot() {
    let (before, since) = (Stamp(999_999_000_000_000), Stamp(1_000_001_000_000_000));

    assert_eq!(verdict_on_another_boots("h", before), Verdict::Dead(Evidence::EarlierBoot));
    // A client of an exported folder, whose entry a stepped clock makes look old.
    assert!(matches!(verdict_on_another_boots("client", before), Verdict::Live { .. }));
    assert!(matches!(verdict_on_another_boots("h", since), Verdict::Live { .. }));
}

#[test]
fn a_newcomer_who_finds_a_larger_number_than_its_own_goes_behind_it() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let wish = Wish {
        nonce: Nonce(8),
        timeout: Duration::from_secs(10),
        fenced: false,
        owner: Owner::Nobody,
        host: Host::new("h"),
        label: Label::new("").unwrap(),
    };
    let card = Ticket {
        order: 0,
        nonce: Nonce(8),
        stamp: Duration::ZERO,
        origin: here.origin,
        process: Process { pid: 1, start: 1 },
        host: Host::new("h"),
        label: Label::new("").unwrap(),
    };
    let first = Ticket { order: 1, nonce: Nonce(1), ..card.clone() };
    let faster = Ticket { order: u64::from(u32::MAX) * 1_000_000, nonce: Nonce(2), ..card.clone() };
    let mut queue = Queue::new(Acquire::new(wish, here, None), card, here, None);
    queue.start(at(2));
    let Step::Perform(Operation::Enter(early)) =
        queue.resume(at(2), Answer::Line(vec![first.clone()]))
    else {
        panic!("it enters a line that is there");
    };
    assert!(early < faster);

    // Between its listing and its ticket another one came, who cannot know of it.
    queue.resume(at(2), Answer::Done(None));
    let line = vec![first.clone(), early.clone(), faster.clone()];
    let step = queue.resume(at(2), Answer::Line(line));

    assert_eq!(step, Step::Perform(Operation::Leave(early, Word::Behind(first.clone()))));
    let Step::Perform(Operation::Enter(late)) = queue.resume(at(2), Answer::Done(None)) else {
        panic!("it enters anew");
    };
    assert!(late > faster);
    queue.resume(at(2), Answer::Done(None));
    let step = queue.resume(at(2), Answer::Line(vec![first, late, faster.clone()]));
    assert!(
        matches!(&step, Step::Perform(Operation::Sleep(Ear::Ticket(ahead), _)) if *ahead == faster),
        "{step:?}"
    );
}

/// A waiter that has come until so many seconds, and stands behind this ticket of an earlier boot.
fn behind_the_dead(until: u64) -> (Queue, Ticket) {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let (host, label) = (Host::new("h"), Label::new("").unwrap());
    let wish = Wish {
        nonce: Nonce(8),
        timeout: Duration::from_secs(10),
        fenced: false,
        owner: Owner::Nobody,
        host,
        label: label.clone(),
    };
    let card = Ticket {
        order: 0,
        nonce: Nonce(8),
        stamp: Duration::ZERO,
        origin: here.origin,
        process: Process { pid: 1, start: 1 },
        host,
        label,
    };
    let dead = Ticket {
        order: 1,
        nonce: Nonce(1),
        origin: Origin { boot: 2, time: 1, pids: 1 },
        ..card.clone()
    };
    let until = Some(Duration::from_secs(until));
    let mut queue = Queue::new(Acquire::new(wish, here, None), card, here, until);
    queue.start(at(2));
    let step = queue.resume(at(2), Answer::Line(vec![dead.clone()]));
    assert!(matches!(step, Step::Perform(Operation::Enter(_))), "{step:?}");
    (queue, dead)
}

#[test]
fn the_dead_ahead_are_removed_until_there_are_too_many_or_patience_is_over() {
    for (until, now, most) in [(60, 3, 15), (60, 61, 0)] {
        let (mut queue, dead) = behind_the_dead(until);
        let mut step = queue.resume(at(2), Answer::Done(None)); // it is in line
        let mut removed = 0;
        while step == Step::Perform(Operation::ListLine) {
            step = queue.resume(at(now), Answer::Line(vec![dead.clone()]));
            if matches!(step, Step::Perform(Operation::Expel(..))) {
                removed += 1;
                step = queue.resume(at(now), Answer::Failed(Fault::Denied { code: 1 }));
            }
        }

        assert_eq!(removed, most);
        let has_ended = matches!(step, Step::Perform(Operation::Leave(..)));
        assert_eq!(has_ended, now > until, "{step:?}");
        assert!(has_ended || step == Step::Perform(Operation::Look), "it tries at last: {step:?}");
    }
}

#[test]
fn who_is_put_out_of_line_again_and_again_waits_without_a_ticket_and_no_longer_than_its_patience() {
    for until in [60, 5] {
        let (mut queue, dead) = behind_the_dead(until);
        let living = Ticket { origin: Origin { boot: 1, time: 1, pids: 1 }, ..dead };
        let mut entered = 1;
        let mut now = 2;
        let step = loop {
            queue.resume(at(now), Answer::Done(None)); // -> list
            let step = queue.resume(at(now), Answer::Line(vec![living.clone()]));
            assert!(matches!(step, Step::Perform(Operation::Sleep(..))), "{step:?}");
            now += 1;
            let step = queue.resume(at(now), Answer::Woken(Wake::Expelled));
            if step != Step::Perform(Operation::ListLine) {
                break step;
            }
            queue.resume(at(now), Answer::Line(vec![living.clone()])); // -> enter
            entered += 1;
        };

        match until {
            60 => assert_eq!((entered, step), (4, Step::Perform(Operation::Look))),
            _ => assert!(matches!(step, Step::Perform(Operation::Leave(..))), "{step:?}"),
        }
    }
}
