//! Faults in acquiring, judging, renewing and releasing.

use std::time::Duration;

use lockbydir_protocol::*;

use super::*;

#[test]
fn an_entry_staged_twice_gets_a_new_token_once_installed() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let request = |nonce| AcquireRequest {
        nonce: Nonce(nonce),
        timeout: Duration::from_secs(3600),
        fenced: false,
        shared: false,
        owner: Owner::Nobody,
        host: Host::new("h"),
        label: Label::new("").unwrap(),
        names_child: false,
    };
    // Another holder's entry, made by the machine itself.
    let mut other = Acquire::new(request(7), here, None);
    other.start(at(1));
    let Step::Perform(Operation::Stage(theirs)) =
        other.resume(at(1), Answer::Seen(Observation::Absent))
    else {
        panic!()
    };

    for losses in [0, 1] {
        let mut slow = Acquire::new(request(8), here, None);
        slow.start(at(2));
        let mut step = slow.resume(at(2), Answer::Seen(Observation::Absent));
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
            let cleared = slow.resume(at(2), Answer::Seen(Observation::Directory(listing)));
            assert!(matches!(cleared, Step::Perform(Operation::Unstage(_))));
            slow.resume(at(2), Answer::Done(None)); // -> look
            step = slow.resume(at(2), Answer::Seen(Observation::Absent));
        }
        let Step::Perform(Operation::Stage(staged)) = step else { panic!("{step:?}") };
        slow.resume(at(2), Answer::Done(None)); // -> install
        // A hundred seconds later: others have held and left meanwhile.
        let step = slow.resume(at(102), Answer::Done(None));
        assert!(
            matches!(step, Step::Perform(Operation::Rename(_, ref to)) if to.token > staged.token),
            "after {losses} losses: {step:?}"
        );
    }
}

/// Returns the verdict on an entry of another boot, with this host and change time.
fn verdict_on_another_boot(host: &str, modified: Stamp) -> Verdict {
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
fn a_reboot_makes_only_entries_of_this_host_dead() {
    let (before, since) = (Stamp(999_999_000_000_000), Stamp(1_000_001_000_000_000));

    assert_eq!(verdict_on_another_boot("h", before), Verdict::Dead(Evidence::EarlierBoot));
    // A client of an exported folder, whose entry looks old because our clock was set forward.
    assert!(matches!(verdict_on_another_boot("client", before), Verdict::Live { .. }));
    assert!(matches!(verdict_on_another_boot("h", since), Verdict::Live { .. }));
}

#[test]
fn a_release_before_a_fast_next_holder_is_no_loss() {
    let here = LocalContext { is_local: false, ..here(Origin { boot: 1, time: 1, pids: 1 }) };
    let mine = published(here, 7, at(1));
    let next = published(here, 8, at(2));
    let mut release = Release::new(mine, false, here);
    let step = release.start(at(2));
    assert!(matches!(step, Step::Perform(Operation::Rename(..))), "{step:?}");

    let step = release.resume(at(2), Answer::Done(None));
    assert_eq!(step, Step::Perform(Operation::Look));
    release.resume(at(2), holding(vec![next])); // -> wakes the first
    let step = release.resume(at(2), Answer::Done(None));

    assert_eq!(step, Step::Finished(Released::Left));
}

#[test]
fn a_release_whose_look_failed_is_no_loss_at_its_second_try() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let mine = Entry { fenced: false, ..published(here, 7, at(1)) };
    let mut release = Release::new(mine, false, here);
    release.start(at(2)); // -> asks for waiters
    release.resume(at(2), Answer::Somebody(false)); // -> asks whether D is removable
    let step = release.resume(at(2), Answer::Removable(true));
    assert!(matches!(step, Step::Perform(Operation::Unlink(_))), "{step:?}");
    let broken = Answer::Failed(Fault::Broken { code: 5 });
    release.resume(at(2), broken.clone()); // -> look
    let step = release.resume(at(2), broken);
    assert!(matches!(step, Step::Finished(Released::Failed(_))), "{step:?}");

    release.start(at(2)); // -> asks for waiters
    release.resume(at(2), Answer::Somebody(false)); // -> asks whether D is removable
    let step = release.resume(at(2), Answer::Removable(true));
    assert_eq!(step, Step::Perform(Operation::Look));
    let step = release.resume(at(2), holding(Vec::new()));
    let step = match step {
        // The listing may be torn, so the machine looks some more times.
        Step::Perform(Operation::Look) => (0..8)
            .map(|_| release.resume(at(2), holding(Vec::new())))
            .find(|step| *step != Step::Perform(Operation::Look))
            .expect("it believes at last"),
        step => step,
    };

    assert!(matches!(step, Step::Perform(Operation::RemoveDir(_))), "{step:?}");
}

#[test]
fn a_server_that_falsely_answers_done_blocks_no_verb_for_ever() {
    let here = LocalContext { is_local: false, ..here(Origin { boot: 1, time: 1, pids: 1 }) };
    let mine = published(here, 7, at(1));
    let open = Entry { state: State::Open, ..mine.clone() };
    let ineffective = |seen: Answer| {
        move |operation: &Operation| match operation {
            Operation::Look => seen.clone(),
            Operation::HasWaiters => Answer::Somebody(false),
            Operation::ReadFileClock => Answer::FileClock(Stamp(1 << 60)),
            _ => Answer::Done(None),
        }
    };
    let request = request_of(8);
    let busy = Acquisition::Blocked(Blocker::Busy(Fault::Taken));

    let mut renew = Renew::new(mine.clone(), RenewRequest::default(), here);
    let renewed = ends(&mut renew, ineffective(holding(vec![mine.clone()])));
    assert_eq!(renewed, Renewal::Failed(Fault::Taken));
    let mut release = Release::new(mine.clone(), true, here);
    let released = ends(&mut release, ineffective(holding(vec![mine])));
    assert_eq!(released, Released::Failed(Fault::Taken));
    let mut take = Acquire::new(request.clone(), here, None);
    assert_eq!(ends(&mut take, ineffective(holding(vec![open]))), busy);
    let mut install = Acquire::new(request.clone(), here, None);
    assert_eq!(ends(&mut install, ineffective(Answer::Seen(Observation::Absent))), busy);
    let mut remove_bare = Acquire::new(request, here, None);
    assert_eq!(ends(&mut remove_bare, ineffective(holding(Vec::new()))), busy);
}

#[test]
fn an_emptied_directory_without_a_look_blocks_no_verb_for_ever() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let mine = Entry { fenced: false, ..published(here, 7, at(1)) };
    let stale = |operation: &Operation| match operation {
        Operation::Unlink(_) => Answer::Done(Some(Stamp(0))),
        Operation::HasWaiters => Answer::Somebody(false),
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

#[test]
fn a_try_that_lost_four_races_and_then_installs_gets_the_lock() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let theirs = published(here, 7, at(1));
    let mut acquire = Acquire::new(request_of(8), here, None);
    acquire.start(at(2));
    let mut step = acquire.resume(at(2), Answer::Seen(Observation::Absent));
    for _ in 0..4 {
        assert!(matches!(step, Step::Perform(Operation::Stage(_))), "{step:?}");
        acquire.resume(at(2), Answer::Done(None)); // -> install
        acquire.resume(at(2), Answer::Failed(Fault::Taken)); // -> look
        acquire.resume(at(2), holding(vec![theirs.clone()])); // -> unstage
        acquire.resume(at(2), Answer::Done(None)); // -> look: they have left again
        step = acquire.resume(at(2), Answer::Seen(Observation::Absent));
    }
    assert!(matches!(step, Step::Perform(Operation::Stage(_))), "{step:?}");
    acquire.resume(at(2), Answer::Done(None)); // -> install

    // A second later by the wall clock the token is raised.
    let step = acquire.resume(at(3), Answer::Done(None));
    assert!(matches!(step, Step::Perform(Operation::Rename(..))), "{step:?}");
    let step = acquire.resume(at(3), Answer::Done(None));

    assert!(matches!(step, Step::Finished(Acquisition::Got(..))), "{step:?}");
}

#[test]
fn a_try_that_is_always_too_slow_releases_the_lock() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let mut acquire = Acquire::new(request_of(8), here, None);
    acquire.start(at(2));
    acquire.resume(at(2), Answer::Seen(Observation::Absent)); // -> stage
    acquire.resume(at(2), Answer::Done(None)); // -> install
    let mut second = 2;
    let mut mine = None;

    let step = loop {
        // Each call takes more than half of the timeout.
        second += 6;
        match acquire.resume(at(second), Answer::Done(None)) {
            Step::Perform(Operation::Rename(_, to)) => mine = Some(to),
            step => break step,
        }
        assert!(second < 60, "it does not end");
    };

    assert_eq!(step, Step::Perform(Operation::HasWaiters));
    acquire.resume(at(second), Answer::Somebody(false)); // -> asks whether D is removable
    let step = acquire.resume(at(second), Answer::Removable(true));
    assert_eq!(step, Step::Perform(Operation::Unlink(mine.expect("a name"))));
    let step = acquire.resume(at(second), Answer::Done(Some(Stamp(5))));
    assert_eq!(step, Step::Perform(Operation::RemoveDir(Stamp(5))));
    acquire.resume(at(second), Answer::Done(None)); // -> wakes the first
    let step = acquire.resume(at(second), Answer::Failed(Fault::Missing));
    assert_eq!(step, Step::Finished(Acquisition::Blocked(Blocker::Busy(Fault::Taken))));
}

#[test]
fn an_install_found_later_by_its_own_process_gets_a_new_token() {
    let here = LocalContext { is_local: false, ..here(Origin { boot: 1, time: 1, pids: 1 }) };
    let mut acquire = Acquire::new(request_of(8), here, None);
    acquire.start(at(2));
    let Step::Perform(Operation::Stage(staged)) =
        acquire.resume(at(2), Answer::Seen(Observation::Absent))
    else {
        panic!("nothing is in the way");
    };
    acquire.resume(at(2), Answer::Done(None)); // -> install
    // Seconds later others may have held and left.
    acquire.resume(at(20), Answer::Done(None)); // -> look
    acquire.resume(at(20), Answer::Failed(Fault::Taken)); // -> unstage
    acquire.resume(at(20), Answer::Failed(Fault::Taken)); // the try is over

    // The next try finds its own entry, expired, and its rename fails.
    acquire.start(at(20)); // -> look
    let step = acquire.resume(at(20), holding(vec![staged.clone()]));
    assert!(matches!(step, Step::Perform(Operation::Rename(..))), "{step:?}");
    acquire.resume(at(20), Answer::Failed(Fault::Taken)); // -> look
    let step = acquire.resume(at(20), holding(vec![staged.clone()]));

    let Step::Perform(Operation::Rename(_, to)) = step else { panic!("{step:?}") };
    assert!(to.token > staged.token + 1_000_000, "{} after {}", to.token, staged.token);
}
