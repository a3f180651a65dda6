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

/// Somebody's entry, as the machine itself makes it.
fn published(here: Here, nonce: u128, now: Now) -> Entry {
    let wish = Wish {
        nonce: Nonce(nonce),
        timeout: Duration::from_secs(10),
        fenced: true,
        owner: Owner::Nobody,
        host: Host::new("h"),
        label: Label::new("").unwrap(),
    };
    let mut acquire = Acquire::new(wish, here, None);
    acquire.start(now);
    match acquire.resume(now, Answer::Seen(Sight::Absent)) {
        Step::Perform(Operation::Stage(entry)) => entry,
        step => panic!("{step:?}"),
    }
}

fn holding(entries: Vec<Entry>) -> Answer {
    let listing =
        Listing { entries, litter: None, modified: Stamp(0), stranger: None, foreign: None };
    Answer::Seen(Sight::Directory(listing))
}

#[test]
fn a_release_that_was_done_is_no_loss_though_the_next_one_was_faster_than_our_look() {
    let here = Here { one_kernel: false, ..here(Origin { boot: 1, time: 1, pids: 1 }) };
    let mine = published(here, 7, at(1));
    let next = published(here, 8, at(2));
    let mut release = Release::new(mine, false, here);
    let step = release.start(at(2));
    assert!(matches!(step, Step::Perform(Operation::Rename(..))), "{step:?}");

    let step = release.resume(at(2), Answer::Done(None));
    assert_eq!(step, Step::Perform(Operation::Look));
    release.resume(at(2), holding(vec![next])); // -> ring
    let step = release.resume(at(2), Answer::Done(None));

    assert_eq!(step, Step::Finished(Released::Left));
}

#[test]
fn a_release_whose_look_failed_is_no_loss_at_its_second_try() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let mine = Entry { fenced: false, ..published(here, 7, at(1)) };
    let mut release = Release::new(mine, false, here);
    release.start(at(2)); // -> knock
    let step = release.resume(at(2), Answer::Somebody(false));
    assert!(matches!(step, Step::Perform(Operation::Unlink(_))), "{step:?}");
    let broken = Answer::Failed(Fault::Broken { code: 5 });
    release.resume(at(2), broken.clone()); // -> look
    let step = release.resume(at(2), broken);
    assert!(matches!(step, Step::Finished(Released::Failed(_))), "{step:?}");

    release.start(at(2)); // -> knock
    let step = release.resume(at(2), Answer::Somebody(false));
    assert_eq!(step, Step::Perform(Operation::Look));
    let step = release.resume(at(2), holding(Vec::new()));
    let step = match step {
        // It may be a torn listing: the machine looks some times more.
        Step::Perform(Operation::Look) => (0..8)
            .map(|_| release.resume(at(2), holding(Vec::new())))
            .find(|step| *step != Step::Perform(Operation::Look))
            .expect("it believes at last"),
        step => step,
    };

    assert!(matches!(step, Step::Perform(Operation::RemoveDir(_))), "{step:?}");
}

/// A queue of this host behind one ticket of another, which nobody can hear: asleep at second 3.
fn behind_a_stranger(here: Here) -> Queue {
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
    let elsewhere = Origin { boot: 2, time: 1, pids: 1 };
    let first = Ticket { order: 1, nonce: Nonce(1), origin: elsewhere, ..card.clone() };
    let mut queue = Queue::new(Acquire::new(wish, here, None), card, here, None);
    queue.start(at(2));
    let Step::Perform(Operation::Enter(ours)) =
        queue.resume(at(2), Answer::Line(vec![first.clone()]))
    else {
        panic!("it enters a line that is there");
    };
    queue.resume(at(2), Answer::Done(None));
    let step = queue.resume(at(3), Answer::Line(vec![first, ours]));
    assert!(matches!(step, Step::Perform(Operation::Sleep(..))), "{step:?}");
    queue
}

/// Looks at the same thing each second until the first in line is passed over.
fn passes_over_at(queue: &mut Queue, seen: &Answer) -> u64 {
    for second in 4..100 {
        let step = queue.resume(at(second), Answer::Woken(Wake::Time));
        assert_eq!(step, Step::Perform(Operation::Look));
        match queue.resume(at(second), seen.clone()) {
            Step::Perform(Operation::ListLine) => return second,
            Step::Perform(Operation::Sleep(..)) => {}
            step => panic!("{step:?}"),
        }
    }
    panic!("the first in line is waited for without an end");
}

#[test]
fn who_waits_behind_a_dead_one_of_another_host_passes_it_over_when_the_lock_has_lapsed() {
    let here = Here { one_kernel: false, ..here(Origin { boot: 1, time: 1, pids: 1 }) };
    let elsewhere = Here { origin: Origin { boot: 2, time: 1, pids: 1 }, ..here };
    let mut queue = behind_a_stranger(here);

    let second = passes_over_at(&mut queue, &holding(vec![published(elsewhere, 9, at(1))]));

    // Its timeout is ten seconds, counted from the first look at it, at 4; and a moment.
    assert_eq!(second, 15);
}

#[test]
fn who_waits_behind_a_dead_one_of_another_host_passes_it_over_when_a_bare_lock_is_old() {
    let here = Here { one_kernel: false, ..here(Origin { boot: 1, time: 1, pids: 1 }) };
    let mut queue = behind_a_stranger(here);

    let second = passes_over_at(&mut queue, &holding(Vec::new()));

    assert_eq!(second, 15);
}

/// Runs a machine to its end, against a world that always answers the same.
fn ends<M: Machine>(machine: &mut M, answer: impl Fn(&Operation) -> Answer) -> M::Outcome {
    let mut step = machine.start(at(2));
    for _ in 0..200 {
        match step {
            Step::Finished(outcome) => return outcome,
            Step::Perform(operation) => step = machine.resume(at(2), answer(&operation)),
        }
    }
    panic!("it goes on without an end");
}

#[test]
fn a_server_that_says_done_and_does_nothing_holds_up_no_verb_for_ever() {
    let here = Here { one_kernel: false, ..here(Origin { boot: 1, time: 1, pids: 1 }) };
    let mine = published(here, 7, at(1));
    let open = Entry { state: State::Open, ..mine.clone() };
    let deaf = |seen: Answer| {
        move |operation: &Operation| match operation {
            Operation::Look => seen.clone(),
            Operation::Knock => Answer::Somebody(false),
            Operation::ReadFileClock => Answer::FileClock(Stamp(1 << 60)),
            _ => Answer::Done(None),
        }
    };
    let wish = Wish {
        nonce: Nonce(8),
        timeout: Duration::from_secs(10),
        fenced: false,
        owner: Owner::Nobody,
        host: Host::new("h"),
        label: Label::new("").unwrap(),
    };
    let busy = Acquisition::Blocked(Blocker::Busy(Fault::Taken));

    let mut renew = Renew::new(mine.clone(), Terms::default(), here);
    let renewed = ends(&mut renew, deaf(holding(vec![mine.clone()])));
    assert_eq!(renewed, Renewal::Failed(Fault::Taken));
    let mut release = Release::new(mine.clone(), true, here);
    let released = ends(&mut release, deaf(holding(vec![mine])));
    assert_eq!(released, Released::Failed(Fault::Taken));
    let mut take = Acquire::new(wish.clone(), here, None);
    assert_eq!(ends(&mut take, deaf(holding(vec![open]))), busy);
    let mut install = Acquire::new(wish.clone(), here, None);
    assert_eq!(ends(&mut install, deaf(Answer::Seen(Sight::Absent))), busy);
    let mut remove_bare = Acquire::new(wish, here, None);
    assert_eq!(ends(&mut remove_bare, deaf(holding(Vec::new()))), busy);
}

#[test]
fn an_emptied_directory_that_cannot_be_looked_at_holds_up_no_verb_for_ever() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let mine = Entry { fenced: false, ..published(here, 7, at(1)) };
    let stale = |operation: &Operation| match operation {
        Operation::Unlink(_) => Answer::Done(Some(Stamp(0))),
        Operation::Knock => Answer::Somebody(false),
        _ => Answer::Failed(Fault::Taken),
    };

    let mut release = Release::new(mine.clone(), false, here);
    assert_eq!(ends(&mut release, stale), Released::Remains(Fault::Taken, None));

    let emptied = std::cell::Cell::new(false);
    let mut evict = Evict::new(here, true, Duration::from_secs(1));
    let evicted = ends(&mut evict, |operation| match operation {
        Operation::Look if !emptied.get() => holding(vec![mine.clone()]),
        operation => {
            emptied.set(emptied.get() || matches!(operation, Operation::Unlink(_)));
            stale(operation)
        }
    });
    assert_eq!(evicted, Eviction::Remains(Some(mine), Fault::Taken));
}

fn wish_of(nonce: u128) -> Wish {
    Wish {
        nonce: Nonce(nonce),
        timeout: Duration::from_secs(10),
        fenced: false,
        owner: Owner::Nobody,
        host: Host::new("h"),
        label: Label::new("").unwrap(),
    }
}

#[test]
fn a_try_that_lost_four_races_and_then_installs_gets_the_lock() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let theirs = published(here, 7, at(1));
    let mut acquire = Acquire::new(wish_of(8), here, None);
    acquire.start(at(2));
    let mut step = acquire.resume(at(2), Answer::Seen(Sight::Absent));
    for _ in 0..4 {
        assert!(matches!(step, Step::Perform(Operation::Stage(_))), "{step:?}");
        acquire.resume(at(2), Answer::Done(None)); // -> install
        acquire.resume(at(2), Answer::Failed(Fault::Taken)); // -> look
        acquire.resume(at(2), holding(vec![theirs.clone()])); // -> unstage
        acquire.resume(at(2), Answer::Done(None)); // -> look: they have left again
        step = acquire.resume(at(2), Answer::Seen(Sight::Absent));
    }
    assert!(matches!(step, Step::Perform(Operation::Stage(_))), "{step:?}");
    acquire.resume(at(2), Answer::Done(None)); // -> install

    // A second later by the wall clock its number is raised.
    let step = acquire.resume(at(3), Answer::Done(None));
    assert!(matches!(step, Step::Perform(Operation::Rename(..))), "{step:?}");
    let step = acquire.resume(at(3), Answer::Done(None));

    assert!(matches!(step, Step::Finished(Acquisition::Got(..))), "{step:?}");
}

#[test]
fn a_try_that_is_too_slow_each_time_gives_the_lock_back() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let mut acquire = Acquire::new(wish_of(8), here, None);
    acquire.start(at(2));
    acquire.resume(at(2), Answer::Seen(Sight::Absent)); // -> stage
    acquire.resume(at(2), Answer::Done(None)); // -> install
    let mut second = 2;
    let mut mine = None;

    let step = loop {
        // Each call takes longer than half of the timeout.
        second += 6;
        match acquire.resume(at(second), Answer::Done(None)) {
            Step::Perform(Operation::Rename(_, to)) => mine = Some(to),
            step => break step,
        }
        assert!(second < 60, "it goes on without an end");
    };

    assert_eq!(step, Step::Perform(Operation::Knock));
    let step = acquire.resume(at(second), Answer::Somebody(false));
    assert_eq!(step, Step::Perform(Operation::Unlink(mine.expect("a name"))));
    let step = acquire.resume(at(second), Answer::Done(Some(Stamp(5))));
    assert_eq!(step, Step::Perform(Operation::RemoveDir(Stamp(5))));
    acquire.resume(at(second), Answer::Done(None)); // -> ring
    let step = acquire.resume(at(second), Answer::Failed(Fault::Missing));
    assert_eq!(step, Step::Finished(Acquisition::Blocked(Blocker::Busy(Fault::Taken))));
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
    let (done, denied) = (Answer::Done(None), Answer::Failed(Fault::Denied { code: 1 }));
    for (until, now, answer, most) in [(60, 3, &done, 15), (60, 3, &denied, 1), (60, 61, &done, 0)]
    {
        let (mut queue, dead) = behind_the_dead(until);
        let mut step = queue.resume(at(2), Answer::Done(None)); // it is in line
        let mut removed = 0;
        while step == Step::Perform(Operation::ListLine) {
            step = queue.resume(at(now), Answer::Line(vec![dead.clone()]));
            if matches!(step, Step::Perform(Operation::Expel(..))) {
                removed += 1;
                step = queue.resume(at(now), answer.clone());
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

#[test]
fn an_install_that_could_not_be_seen_is_numbered_anew_when_its_maker_takes_it_over() {
    let here = Here { one_kernel: false, ..here(Origin { boot: 1, time: 1, pids: 1 }) };
    let mut acquire = Acquire::new(wish_of(8), here, None);
    acquire.start(at(2));
    let Step::Perform(Operation::Stage(staged)) =
        acquire.resume(at(2), Answer::Seen(Sight::Absent))
    else {
        panic!("nothing is in the way");
    };
    acquire.resume(at(2), Answer::Done(None)); // -> install
    // Seconds later, others may have held and left.
    acquire.resume(at(20), Answer::Done(None)); // -> look
    acquire.resume(at(20), Answer::Failed(Fault::Taken)); // -> unstage
    acquire.resume(at(20), Answer::Failed(Fault::Taken)); // the try is over

    // The next try finds its own entry, lapsed, and its rename fails.
    acquire.start(at(20)); // -> look
    let step = acquire.resume(at(20), holding(vec![staged.clone()]));
    assert!(matches!(step, Step::Perform(Operation::Rename(..))), "{step:?}");
    acquire.resume(at(20), Answer::Failed(Fault::Taken)); // -> look
    let step = acquire.resume(at(20), holding(vec![staged.clone()]));

    let Step::Perform(Operation::Rename(_, to)) = step else { panic!("{step:?}") };
    assert!(to.token > staged.token + 1_000_000, "{} after {}", to.token, staged.token);
}
