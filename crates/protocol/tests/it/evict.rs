//! Breaking: ending a hold from outside.

use lockbydir_protocol::*;

use crate::play::*;
use Operation::{
    AskLiveness, AskRemovable, Look, ReadFileClock, RemoveDir, Rename, Reopen, Unlink, WakeFirst,
};

/// D's change time after it was emptied.
const EMPTIED: Stamp = Stamp(77);
/// How often the holder may change during a break; with the next change the break fails.
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

/// Answers that we may remove D: the break is about to unlink the entry.
fn unlinks(play: Play<Evict>) -> Play<Evict> {
    play.asks(AskRemovable).answer(Answer::Removable(true)).asks(Unlink(held(7)))
}

/// A break that is about to unlink a dead holder's entry.
fn unlinking() -> Play<Evict> {
    unlinks(look_at(evict(), &held(7), Liveness::Gone))
}

/// A break that has unlinked the entry and is about to remove the directory.
fn emptied() -> Play<Evict> {
    unlinking().answer(Answer::Done(Some(EMPTIED))).asks(RemoveDir(EMPTIED))
}

#[test]
fn a_dead_holders_lock_is_broken_and_the_first_waiter_woken() {
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
fn a_fenced_lock_is_opened_so_that_its_token_is_not_lost() {
    let fenced = Entry { fenced: true, ..held(7) };
    let open = fenced.next(State::Open, secs(BEGIN), &ORIGIN);

    for answer in [DONE, Answer::Done(Some(EMPTIED))] {
        let play = look_at(evict(), &fenced, Liveness::Gone);
        rings(play.asks(Rename(fenced.clone(), open.clone())).answer(answer))
            .ends(Eviction::Removed(Some(fenced.clone())));
    }
}

#[test]
fn a_lock_of_another_kernel_is_opened_with_our_clock_and_origin() {
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
fn a_fenced_lock_with_a_too_long_name_is_opened_with_a_shorter_host() {
    // Only a hostile entry has such a name: with start times of twenty digits.
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

    // The tenth renewal takes one digit more; a stamp with one digit less makes room for it.
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
    // Where that cannot be found out, the removal is tried.
    asks().answer(failed(BROKEN)).asks(Unlink(held(7)));
}

#[test]
fn a_free_lock_is_not_changed() {
    for play in [evict, by_force] {
        play().answer(absent()).ends(Eviction::WasFree);
        play().answer(seen(&[open(7)])).ends(Eviction::WasFree);
    }
}

#[test]
fn foreign_directories_are_reported_and_not_touched() {
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

/// Two processes that break at once may list the entries in different orders; together they must not
/// remove all of them.
#[test]
fn of_entries_with_equal_tokens_everybody_keeps_the_same_one() {
    let (short, long) = (Entry { timeout: secs(1), ..held(7) }, held(7));
    for all in [[short.clone(), long.clone()], [long, short.clone()]] {
        let torn = by_force().times(TORN + 1, |play| play.asks(Look).answer(seen(&all)));

        torn.asks(Unlink(short.clone()));
    }
}

/// A union of file systems may list one name twice: removing the copy would remove the entry.
#[test]
fn an_entry_that_is_listed_twice_is_not_its_own_surplus() {
    let (one, other) = (held(7), Entry { token: 1, ..held(9) });
    let torn = |all: &[Entry]| by_force().times(TORN + 1, |play| play.asks(Look).answer(seen(all)));

    torn(&[one.clone(), one.clone()]).ends(Eviction::Foreign(Foreign::TwoEntries));
    let thinned = torn(&[one.clone(), other.clone(), one.clone()]).asks(Unlink(other));
    thinned.answer(DONE).asks(Look).answer(seen(&[one])).asks(AskLiveness(OWNER));
}

/// Whatever the listings show, the break ends after a bounded number of operations.
#[test]
fn of_many_entries_three_are_removed_before_the_next_look() {
    let all = [1, 2, 3, 4, 5, 6].map(held);
    let torn = by_force().times(TORN + 1, |play| play.asks(Look).answer(seen(&all)));

    let thinned =
        [3, 2, 1].into_iter().fold(torn, |play, nonce| play.asks(Unlink(held(nonce))).answer(DONE));

    let again = thinned.times(TORN + 1, |play| play.asks(Look).answer(seen(&all[3..])));
    again.asks(Unlink(held(5)));
}

/// A break that is started again after an error has not seen the present entries yet.
#[test]
fn entries_that_were_surplus_at_an_earlier_try_are_not_removed() {
    let all = [7, 8, 9].map(held);
    let torn = by_force().times(TORN + 1, |play| play.asks(Look).answer(seen(&all)));
    let failed = torn.asks(Unlink(held(8))).answer(failed(DENIED)).ends(Eviction::Failed(DENIED));

    let again = failed.again().asks(Look).answer(seen(&[held(9)]));

    again.asks(AskLiveness(OWNER));
}

/// A union of file systems may show two entries, which block everybody.
#[test]
fn by_force_only_the_entry_with_the_largest_token_stays() {
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

    // The lock that stays may be free.
    let open = Entry { token: 9, ..open(8) };
    let freed = thinned().answer(DONE).asks(Look).answer(seen(std::slice::from_ref(&open)));
    rings(freed).ends(Eviction::Removed(Some(all[2].clone())));
    rings(thinned().answer(DONE).asks(Look).answer(absent()))
        .ends(Eviction::Removed(Some(all[2].clone())));
    torn().answer(failed(DENIED)).ends(Eviction::Failed(DENIED));
    // The attempts are bounded.
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
fn a_broken_lock_with_litter_is_left_open() {
    let litter = Listing { litter: Some(".DS_Store".into()), ..listing(&[]) };
    let open = held(7).next(State::Open, secs(BEGIN), &ORIGIN);
    let reopens = || {
        let look = emptied().answer(failed(Fault::Taken)).asks(Look);
        look.answer(found(litter.clone())).asks(Reopen(open.clone()))
    };

    rings(reopens().answer(DONE)).ends(Eviction::Removed(Some(held(7))));
    rings(reopens().answer(failed(Fault::Missing)))
        .ends(Eviction::Remains(Some(held(7)), Fault::Taken));
    // In a bare lock, which we did not empty, another may create an entry: so we do not.
    let bare = by_force().answer(found(litter.clone())).answer(failed(BROKEN));
    let look = bare.asks(RemoveDir(changed())).answer(failed(Fault::Taken)).asks(Look);
    rings(look.answer(found(litter))).ends(Eviction::Remains(None, Fault::Taken));
}

#[test]
fn a_bare_lock_is_broken_when_old_or_by_force() {
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
fn a_directory_that_somebody_else_removed_counts_as_removed() {
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
fn without_the_change_time_the_hold_is_ended_all_the_same() {
    rings(unlinking().answer(DONE)).ends(Eviction::Removed(Some(held(7))));
}

#[test]
fn a_holder_that_keeps_changing_is_judged_anew_eight_times() {
    let again = |fault| {
        move |play: Play<Evict>| {
            unlinks(look_at(play, &held(7), Liveness::Gone)).answer(failed(fault))
        }
    };

    for fault in [Fault::Missing, Fault::Taken] {
        evict().times(ROUNDS, again(fault)).asks(Look);
        evict().times(ROUNDS + 1, again(fault)).ends(Eviction::Failed(fault));
    }
    // The lock is another holder's by then, which is alive.
    look_at(unlinking().answer(failed(Fault::Missing)), &held(9), Liveness::Alive)
        .ends(Eviction::StillHeld(Some(held(9))));
}

#[test]
fn a_failure_is_reported() {
    for fault in [DENIED, BROKEN] {
        unlinking().answer(failed(fault)).ends(Eviction::Failed(fault));
    }
    evict().answer(failed(DENIED)).ends(Eviction::Failed(DENIED));
}

#[test]
fn without_a_file_clock_a_remote_holder_counts_as_alive() {
    evict()
        .answer(seen(&[remote(7)]))
        .asks(ReadFileClock)
        .answer(failed(BROKEN))
        .ends(Eviction::StillHeld(Some(remote(7))));
}

#[test]
fn a_break_can_be_started_again() {
    rings(emptied().answer(DONE))
        .ends(Eviction::Removed(Some(held(7))))
        .again()
        .asks(Look)
        .answer(absent())
        .ends(Eviction::WasFree);
}
