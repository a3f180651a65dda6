//! Breaking: ending a hold from outside.

use lockbydir_protocol::*;

use crate::play::*;
use Operation::{
    AskLiveness, AskRemovable, Look, ReadFileClock, RemoveDir, Rename, Reopen, Unlink, WakeFirst,
};

/// D's change time once it was emptied.
const EMPTIED: Stamp = Stamp(77);
/// How often the holder may change under our hands.
const ROUNDS: usize = 8;

fn evict() -> Play<Evict> {
    Play::of(Evict::new(here(), false, secs(20)))
}

fn by_force() -> Play<Evict> {
    Play::of(Evict::new(here(), true, secs(20)))
}

fn rings(play: Play<Evict>) -> Play<Evict> {
    play.asks(WakeFirst).answer(failed(Fault::Missing))
}

fn look_at(play: Play<Evict>, entry: &Entry, life: Liveness) -> Play<Evict> {
    play.asks(Look)
        .answer(seen(std::slice::from_ref(entry)))
        .asks(AskLiveness(OWNER))
        .answer(Answer::Liveness(life))
}

/// We may remove D, so the entry is about to be unlinked.
fn unlinks(play: Play<Evict>) -> Play<Evict> {
    play.asks(AskRemovable).answer(Answer::Removable(true)).asks(Unlink(held(7)))
}

/// A dead holder's entry is about to be unlinked.
fn unlinking() -> Play<Evict> {
    unlinks(look_at(evict(), &held(7), Liveness::Gone))
}

/// It is unlinked, and the directory about to be removed.
fn emptied() -> Play<Evict> {
    unlinking().answer(Answer::Done(Some(EMPTIED))).asks(RemoveDir(EMPTIED))
}

#[test]
fn a_dead_holders_lock_is_broken_and_the_queue_told() {
    rings(emptied().answer(DONE)).ends(Eviction::Removed(Some(held(7))));
}

#[test]
fn an_expired_lock_is_broken() {
    unlinks(look_at(evict().after(secs(9)), &held(7), Liveness::Alive));
}

#[test]
fn a_living_holders_lock_is_broken_by_force_alone() {
    look_at(evict(), &held(7), Liveness::Alive).ends(Eviction::StillHeld(Some(held(7))));
    unlinks(look_at(by_force(), &held(7), Liveness::Alive));
}

#[test]
fn a_fenced_lock_is_opened_so_that_its_number_is_not_lost() {
    let fenced = Entry { fenced: true, ..held(7) };
    let open = fenced.next(State::Open, secs(BEGIN), &ORIGIN);

    for answer in [DONE, Answer::Done(Some(EMPTIED))] {
        let play = look_at(evict(), &fenced, Liveness::Gone);
        rings(play.asks(Rename(fenced.clone(), open.clone())).answer(answer))
            .ends(Eviction::Removed(Some(fenced.clone())));
    }
}

#[test]
fn who_opens_the_lock_of_another_kernel_stamps_it_by_its_own_clock_and_says_so() {
    let theirs = Entry { fenced: true, ..remote(7) };
    let open = Entry { owner: Owner::Nobody, ..theirs.next(State::Open, secs(BEGIN), &ORIGIN) };
    assert_eq!((open.origin, open.host), (ORIGIN, theirs.host));

    let mut machine = Evict::new(shared(), true, secs(20));
    machine.start(now());
    let step = machine.resume(now(), seen(std::slice::from_ref(&theirs)));
    assert_eq!(step, Step::Perform(ReadFileClock));
    let step = machine.resume(now(), failed(BROKEN));
    assert_eq!(step, Step::Perform(Rename(theirs, open)));
}

#[test]
fn a_fenced_lock_whose_next_name_would_be_too_long_is_opened_with_a_shorter_host() {
    // Only a hostile one is: with start times of twenty digits.
    let process = |pid| Process { pid, start: u64::MAX };
    let entry = Entry {
        fenced: true,
        token: MAX_TOKEN,
        renewals: 9,
        timeout: MAX_TIMEOUT,
        stamp: millis(99_999_999_999_999),
        owner: Owner::Two(process(400_000_000), process(20_000_000)),
        host: Host::new("aaaaaaaaaaaaaaaa"),
        label: Label::default(),
        ..held(7)
    };
    assert_eq!(Entry::parse(&entry.to_string()), Some(entry.clone()));
    assert_eq!(entry.to_string().len(), MAX_NAME);

    // The tenth renewal takes a digit more; a stamp of one digit less makes room for it.
    let late = Now { boot: entry.stamp, ..now() };
    let soon = Now { boot: entry.stamp / 10, ..now() };
    let shorter = Host::new("aaaaaaaaaaaaaaa");
    for (now, host) in [(late, shorter), (soon, entry.host)] {
        let mut machine = Evict::new(here(), true, secs(20));
        machine.start(now);
        let mut step = machine.resume(now, seen(std::slice::from_ref(&entry)));
        if let Step::Perform(AskLiveness(_)) = step {
            step = machine.resume(now, Answer::Liveness(Liveness::Alive));
        }
        if step == Step::Perform(ReadFileClock) {
            step = machine.resume(now, failed(BROKEN));
        }
        let open = Entry { host, ..entry.next(State::Open, now.boot, &ORIGIN) };
        assert_eq!(open.to_string().len(), MAX_NAME);
        assert_eq!(step, Step::Perform(Rename(entry.clone(), open)));
    }
}

#[test]
fn a_directory_that_we_may_not_remove_is_opened_and_not_emptied() {
    let asks = || look_at(by_force(), &held(7), Liveness::Alive).asks(AskRemovable);
    let opened = held(7).next(State::Open, now().boot, &ORIGIN);

    let opens = asks().answer(Answer::Removable(false)).asks(Rename(held(7), opened));
    rings(opens.answer(DONE)).ends(Eviction::Removed(Some(held(7))));
    // Where nobody can tell, it is tried.
    asks().answer(failed(BROKEN)).asks(Unlink(held(7)));
}

#[test]
fn what_is_free_is_not_changed() {
    for play in [evict, by_force] {
        play().answer(absent()).ends(Eviction::WasFree);
        play().answer(seen(&[open(7)])).ends(Eviction::WasFree);
    }
}

#[test]
fn foreign_things_and_other_users_are_reported_and_nothing_is_touched() {
    let dead = Answer::Liveness(Liveness::Gone);

    for play in [evict, by_force] {
        play()
            .answer(Answer::Seen(Observation::Foreign(Foreign::Symlink)))
            .ends(Eviction::Foreign(Foreign::Symlink));
        play()
            .answer(found(cluttered(&[held(7)])))
            .ends(Eviction::Foreign(Foreign::Holds("thing".into())));
        play()
            .answer(found(strange(&[held(7)])))
            .answer(dead.clone())
            .ends(Eviction::Stranger(1000));
    }
    let two = |mut listing: Listing| {
        listing.entries = vec![held(7), held(9)];
        move |play: Play<Evict>| play.asks(Look).answer(found(listing.clone()))
    };
    let foreign = || Eviction::Foreign(Foreign::TwoEntries);
    evict().times(TORN + 1, two(listing(&[]))).ends(foreign());
    by_force().times(TORN + 1, two(strange(&[]))).ends(Eviction::Stranger(1000));
    let holds = Eviction::Foreign(Foreign::Holds("thing".into()));
    by_force().times(TORN + 1, two(cluttered(&[]))).ends(holds);
}

/// Two who break at once may see them in different orders, and must not remove both.
#[test]
fn of_entries_with_one_number_the_same_one_stays_for_everybody() {
    let (short, long) = (Entry { timeout: secs(1), ..held(7) }, held(7));
    for all in [[short.clone(), long.clone()], [long, short.clone()]] {
        let torn = by_force().times(TORN + 1, |play| play.asks(Look).answer(seen(&all)));

        torn.asks(Unlink(short.clone()));
    }
}

/// A union of file systems may list one name twice. To remove the copy would remove the entry.
#[test]
fn an_entry_that_is_listed_twice_is_not_its_own_surplus() {
    let (one, other) = (held(7), Entry { token: 1, ..held(9) });
    let torn = |all: &[Entry]| by_force().times(TORN + 1, |play| play.asks(Look).answer(seen(all)));

    torn(&[one.clone(), one.clone()]).ends(Eviction::Foreign(Foreign::TwoEntries));
    let thinned = torn(&[one.clone(), other.clone(), one.clone()]).asks(Unlink(other));
    thinned.answer(DONE).asks(Look).answer(seen(&[one])).asks(AskLiveness(OWNER));
}

/// Whatever it is shown, it ends after a bounded number of operations.
#[test]
fn of_many_entries_a_few_are_removed_before_the_next_look() {
    let all = [1, 2, 3, 4, 5, 6].map(held);
    let torn = by_force().times(TORN + 1, |play| play.asks(Look).answer(seen(&all)));

    let thinned =
        [3, 2, 1].into_iter().fold(torn, |play, nonce| play.asks(Unlink(held(nonce))).answer(DONE));

    let again = thinned.times(TORN + 1, |play| play.asks(Look).answer(seen(&all[3..])));
    again.asks(Unlink(held(5)));
}

/// Begun again after an error, it has not seen what is there now.
#[test]
fn what_was_surplus_at_an_earlier_try_is_not_removed_at_the_next() {
    let all = [7, 8, 9].map(held);
    let torn = by_force().times(TORN + 1, |play| play.asks(Look).answer(seen(&all)));
    let failed = torn.asks(Unlink(held(8))).answer(failed(DENIED)).ends(Eviction::Failed(DENIED));

    let again = failed.again().asks(Look).answer(seen(&[held(9)]));

    again.asks(AskLiveness(OWNER));
}

/// A union of file systems may show two, which block everybody.
#[test]
fn of_several_entries_all_but_the_one_with_the_largest_number_are_removed_by_force() {
    let numbered = |nonce, token| Entry { token, ..held(nonce) };
    let all = [numbered(7, 5), numbered(8, 9), numbered(9, 2)];
    let torn = || by_force().times(TORN + 1, |play| play.asks(Look).answer(seen(&all)));
    let thinned = || {
        let first = torn().asks(Unlink(all[0].clone())).answer(Answer::Done(Some(EMPTIED)));
        first.asks(Unlink(all[2].clone()))
    };
    let last = || look_at(thinned().answer(failed(Fault::Missing)), &all[1], Liveness::Alive);
    let may = last().asks(AskRemovable).answer(Answer::Removable(true));
    let emptied = may.asks(Unlink(all[1].clone())).answer(Answer::Done(Some(EMPTIED)));
    rings(emptied.asks(RemoveDir(EMPTIED)).answer(DONE))
        .ends(Eviction::Removed(Some(all[1].clone())));

    // What stays may be free.
    let open = Entry { token: 9, ..open(8) };
    let freed = thinned().answer(DONE).asks(Look).answer(seen(std::slice::from_ref(&open)));
    rings(freed).ends(Eviction::Removed(Some(all[2].clone())));
    rings(thinned().answer(DONE).asks(Look).answer(absent()))
        .ends(Eviction::Removed(Some(all[2].clone())));
    torn().answer(failed(DENIED)).ends(Eviction::Failed(DENIED));
    // It may not be mended for ever.
    let mut play = torn();
    for _ in 1..ROUNDS {
        play = play.answer(DONE).asks(Unlink(all[2].clone())).answer(DONE);
        play = play.times(TORN + 1, |play| play.asks(Look).answer(seen(&all)));
    }
    play.answer(DONE)
        .answer(DONE)
        .times(TORN + 1, |play| play.asks(Look).answer(seen(&all)))
        .ends(Eviction::Foreign(Foreign::TwoEntries));
}

#[test]
fn a_broken_lock_that_litter_keeps_from_vanishing_is_left_open() {
    let litter = Listing { litter: Some(".DS_Store".into()), ..listing(&[]) };
    let open = held(7).next(State::Open, secs(BEGIN), &ORIGIN);
    let reopens = || {
        let look = emptied().answer(failed(Fault::Taken)).asks(Look);
        look.answer(found(litter.clone())).asks(Reopen(open.clone()))
    };

    rings(reopens().answer(DONE)).ends(Eviction::Removed(Some(held(7))));
    rings(reopens().answer(failed(Fault::Missing)))
        .ends(Eviction::Remains(Some(held(7)), Fault::Taken));
    // Nobody knows of a bare one whether another puts something in.
    let bare = by_force().answer(found(litter.clone())).answer(failed(BROKEN));
    let look = bare.asks(RemoveDir(changed())).answer(failed(Fault::Taken)).asks(Look);
    rings(look.answer(found(litter))).ends(Eviction::Remains(None, Fault::Taken));
}

#[test]
fn a_bare_lock_is_broken_when_it_is_older_than_our_timeout_or_by_force() {
    let clock = |nanos| Answer::FileClock(Stamp(changed().0 + nanos));
    let look = |play: Play<Evict>| play.answer(seen(&[])).asks(ReadFileClock);

    look(evict()).answer(clock(20_000_000_000)).ends(Eviction::StillHeld(None));
    look(evict()).answer(failed(BROKEN)).ends(Eviction::StillHeld(None));
    let old = look(evict()).answer(clock(20_000_000_001)).asks(RemoveDir(changed()));
    rings(old.answer(DONE)).ends(Eviction::Removed(None));
    look(by_force()).answer(clock(0)).asks(RemoveDir(changed()));
    look(by_force()).answer(failed(BROKEN)).asks(RemoveDir(changed()));
}

#[test]
fn a_directory_that_somebody_else_removed_is_no_concern_of_ours() {
    rings(emptied().answer(failed(Fault::Missing))).ends(Eviction::Removed(Some(held(7))));
}

#[test]
fn a_directory_that_was_changed_since_is_looked_at() {
    let look = || emptied().answer(failed(Fault::Taken)).asks(Look);
    let remains = |fault| Eviction::Remains(Some(held(7)), fault);

    rings(look().answer(seen(&[held(9)]))).ends(Eviction::Removed(Some(held(7))));
    rings(look().answer(absent())).ends(Eviction::Removed(Some(held(7))));
    rings(look().answer(seen(&[]))).ends(remains(Fault::Taken));
    for fault in [DENIED, Fault::Taken] {
        rings(look().answer(failed(fault))).ends(remains(fault));
    }
    rings(emptied().answer(failed(DENIED))).ends(remains(DENIED));
}

#[test]
fn where_the_change_time_cannot_be_read_the_hold_is_ended_all_the_same() {
    rings(unlinking().answer(DONE)).ends(Eviction::Removed(Some(held(7))));
}

#[test]
fn a_holder_that_changes_under_our_hands_is_judged_anew_eight_times() {
    let again = |fault| {
        move |play: Play<Evict>| {
            unlinks(look_at(play, &held(7), Liveness::Gone)).answer(failed(fault))
        }
    };

    for fault in [Fault::Missing, Fault::Taken] {
        evict().times(ROUNDS, again(fault)).asks(Look);
        evict().times(ROUNDS + 1, again(fault)).ends(Eviction::Failed(fault));
    }
    // It is another's by then, who lives.
    look_at(unlinking().answer(failed(Fault::Missing)), &held(9), Liveness::Alive)
        .ends(Eviction::StillHeld(Some(held(9))));
}

#[test]
fn what_fails_is_reported() {
    for fault in [DENIED, BROKEN] {
        unlinking().answer(failed(fault)).ends(Eviction::Failed(fault));
    }
    evict().answer(failed(DENIED)).ends(Eviction::Failed(DENIED));
}

#[test]
fn where_the_file_systems_clock_cannot_be_read_a_holder_elsewhere_lives() {
    evict()
        .answer(seen(&[remote(7)]))
        .asks(ReadFileClock)
        .answer(failed(BROKEN))
        .ends(Eviction::StillHeld(Some(remote(7))));
}

#[test]
fn breaking_can_begin_anew() {
    rings(emptied().answer(DONE))
        .ends(Eviction::Removed(Some(held(7))))
        .again()
        .asks(Look)
        .answer(absent())
        .ends(Eviction::WasFree);
}
