//! Waiting: a waiter that does not take a free lock is passed over; and how a wait ends.

use std::time::Duration;

use lockbydir_protocol::*;

use crate::play::*;
use crate::queue::*;
use Operation::*;

/// Half of [`PASS_OVER_AFTER`], for which a free lock is left to the first waiter.
const HALF: Duration = Duration::from_millis(50);

/// A waiter behind another, woken by the clock, that looks at D.
fn looking() -> Play<Queue> {
    behind(&[first()]).answer(woken(Wake::Time)).asks(Look)
}

/// Asserts that the waiter sleeps on until this long after the beginning.
fn sleeps_on(play: Play<Queue>, until: Duration) -> Play<Queue> {
    play.asks(sleep(WakeSource::Ticket(first()), until))
}

fn free() -> [Answer; 4] {
    let far = Entry { origin: ELSEWHERE, stamp: Duration::ZERO, ..open(7) };
    let just = Entry { stamp: secs(BEGIN), ..open(7) };
    // Stamped by another clock, whatever time that shows.
    let ahead = Entry { stamp: secs(2 * BEGIN), ..open(7) };
    [absent(), seen(&[far]), seen(&[just]), seen(&[ahead])]
}

#[test]
fn a_free_lock_is_left_to_the_first_for_100_ms() {
    for answer in free() {
        let passing = sleeps_on(looking().answer(answer.clone()), PASS_OVER_AFTER)
            .after(HALF)
            .answer(woken(Wake::Time))
            .answer(answer.clone());
        let passing = sleeps_on(passing, HALF + PASS_OVER_AFTER)
            .after(PASS_OVER_AFTER - HALF)
            .answer(woken(Wake::Time))
            .asks(Look)
            .answer(answer)
            .asks(ListQueue);

        passing
            .answer(in_queue(&[first(), own()]))
            .asks(Expel(first(), Handoff::First))
            .answer(DONE)
            .asks(ListQueue)
            .answer(in_queue(&[own()]))
            .asks(Listen)
            .answer(DONE)
            .asks(Look);
    }
}

#[test]
fn in_a_long_queue_a_vacancy_is_looked_at_again_after_100_ms() {
    let ahead: Vec<_> = (1..=50).map(|at| ticket(own().order - at, 10)).collect();
    let tickets = in_queue(&[ahead.as_slice(), &[own()]].concat());
    let nearest = WakeSource::Ticket(ahead[0].clone());

    let look = entered(&ahead).answer(tickets).answer(woken(Wake::Time)).asks(Look);

    look.answer(absent()).asks(sleep(nearest, PASS_OVER_AFTER));
}

#[test]
fn after_the_first_is_passed_over_the_next_gets_the_full_time() {
    let passing = behind(&[first(), second()]).answer(woken(Wake::Time)).answer(absent());
    let passing =
        passing.after(PASS_OVER_AFTER).answer(woken(Wake::Time)).answer(absent()).asks(ListQueue);
    let next = passing
        .answer(in_queue(&[second(), first(), own()]))
        .asks(Expel(first(), Handoff::First))
        .answer(DONE)
        .answer(in_queue(&[second(), own()]))
        .asks(sleep(WakeSource::Ticket(second()), 2 * PASS_OVER_AFTER));

    next.after(HALF)
        .answer(woken(Wake::Time))
        .answer(absent())
        .asks(sleep(WakeSource::Ticket(second()), PASS_OVER_AFTER + HALF + PASS_OVER_AFTER));
}

#[test]
fn a_lock_long_free_by_its_own_stamp_is_passed_over_at_once() {
    let stamped = |ago| Entry { stamp: secs(BEGIN) - ago, ..open(7) };
    let expired = |ago| Entry { timeout: secs(10), stamp: secs(BEGIN - 10) - ago, ..held(7) };

    for entry in [stamped(PASS_OVER_AFTER), expired(PASS_OVER_AFTER)] {
        looking().answer(seen(&[entry])).asks(ListQueue);
    }
    for entry in [stamped(HALF), expired(HALF), expired(Duration::ZERO)] {
        sleeps_on(looking().answer(seen(&[entry])), PASS_OVER_AFTER);
    }
}

#[test]
fn a_lock_not_known_to_be_free_is_left_to_the_first() {
    let last = PASS_OVER_AFTER + millis(1);
    let expiry = Entry { timeout: secs(10), stamp: secs(BEGIN - 10) + last, ..held(7) };
    let symlink = Answer::Seen(Observation::Foreign(Foreign::Symlink));

    for answer in
        [seen(&[held(7)]), seen(&[expiry]), seen(&[remote(7)]), seen(&[]), symlink, failed(BROKEN)]
    {
        // It does not look more often than otherwise.
        let later =
            looking().answer(answer.clone()).after(PASS_OVER_AFTER).answer(woken(Wake::Time));
        sleeps_on(later.answer(answer), 2 * PASS_OVER_AFTER);
    }
}

#[test]
fn a_lock_of_another_clock_is_free_when_unchanged_for_its_timeout() {
    // A remote holder has its own timeout; an empty directory has ours.
    let bare = |modified| found(Listing { modified, ..listing(&[]) });
    for (answer, other, timeout) in [
        (seen(&[remote(7)]), seen(&[remote(9)]), remote(7).timeout),
        (bare(Stamp(1)), bare(Stamp(2)), request().timeout),
    ] {
        let at = |time: Duration, answer: &Answer, before: Play<Queue>| {
            before.after(time).answer(woken(Wake::Time)).asks(Look).answer(answer.clone())
        };
        let watched = |first: &Answer| {
            let play = sleeps_on(looking().answer(first.clone()), PASS_OVER_AFTER);
            sleeps_on(at(timeout - millis(1), &answer, play), timeout - millis(1) + PASS_OVER_AFTER)
        };

        let free = sleeps_on(at(millis(1), &answer, watched(&answer)), timeout + PASS_OVER_AFTER);
        at(PASS_OVER_AFTER, &answer, free).asks(ListQueue);
        // Another lock is watched anew.
        let other = at(millis(1) + PASS_OVER_AFTER, &answer, watched(&other));
        sleeps_on(
            at(PASS_OVER_AFTER, &answer, sleeps_on(other, timeout + 2 * PASS_OVER_AFTER)),
            timeout + 3 * PASS_OVER_AFTER,
        );
    }
}

#[test]
fn another_vacancy_gets_the_full_time() {
    let [gone, far, _, _] = free();
    let look = sleeps_on(looking().answer(gone), PASS_OVER_AFTER)
        .after(PASS_OVER_AFTER)
        .answer(woken(Wake::Time));

    sleeps_on(look.answer(far), 2 * PASS_OVER_AFTER);
}

#[test]
fn a_lock_that_was_taken_meanwhile_is_not_vacant_since_before() {
    let later =
        looking().answer(absent()).after(HALF).answer(woken(Wake::Time)).answer(seen(&[held(7)]));
    let later = later.after(HALF).answer(woken(Wake::Time)).answer(absent());

    sleeps_on(later, 2 * PASS_OVER_AFTER);
}

#[test]
fn a_waiter_that_finds_itself_first_passes_nobody_over() {
    let passing = || {
        looking().answer(absent()).after(PASS_OVER_AFTER).answer(woken(Wake::Time)).answer(absent())
    };

    for answer in [
        in_queue(&[own()]),
        in_queue(&[]),
        failed(BROKEN),
        in_queue(&[own(), ticket(u64::MAX / 2, 3)]),
    ] {
        passing().asks(ListQueue).answer(answer).asks(Listen);
    }
}

#[test]
fn a_waiter_that_was_passed_over_goes_to_the_end() {
    let own_again = ticket(own().order + 1, 8);

    for play in [behind(&[first()]), at_the_bell()] {
        play.answer(woken(Wake::Expelled))
            .asks(ListQueue)
            .answer(in_queue(&[own()]))
            .asks(Enter(own_again.clone()));
    }
}

#[test]
fn a_waiter_that_is_always_passed_over_still_gives_up_in_time() {
    let over = behind(&[first()]).after(PATIENCE).answer(woken(Wake::Expelled));

    let leaves = over.asks(Leave(own(), Handoff::Behind(first()))).answer(failed(Fault::Missing));
    let leaves = leaves.asks(ListQueue).answer(in_queue(&[first()]));
    leaves.ends(Waited::Over(Blocker::Busy(Fault::Taken)));
}

#[test]
fn after_four_expulsions_a_waiter_waits_without_a_ticket() {
    let mut play = behind(&[first()]);
    for turn in 1..4 {
        let again = ticket(own().order + turn - 1, 8);
        let next = ticket(own().order + turn, 8);
        let all = in_queue(&[first(), again]);
        play = play
            .answer(woken(Wake::Expelled))
            .asks(ListQueue)
            .answer(all)
            .asks(Enter(next.clone()));
        play = play.answer(DONE).asks(ListQueue).answer(in_queue(&[first(), next]));
    }

    // The fifth pause: each is half as long again as the one before.
    let pause = Duration::from_nanos(5_062_500);
    blocked(play.answer(woken(Wake::Expelled))).asks(sleep(WakeSource::Nothing, pause));
}

#[test]
fn a_waiter_that_gives_up_passes_on_who_was_ahead() {
    behind(&[first()])
        .after(PATIENCE)
        .answer(woken(Wake::Time))
        .asks(Leave(own(), Handoff::Behind(first())))
        .answer(DONE)
        .asks(ListQueue)
        .answer(in_queue(&[first()]))
        .ends(Waited::Over(Blocker::Busy(Fault::Taken)));
    behind(&[first()])
        .answer(woken(Wake::Interrupted))
        .asks(Leave(own(), Handoff::Behind(first())))
        .answer(failed(Fault::Missing))
        .asks(ListQueue)
        .answer(in_queue(&[first()]))
        .ends(Waited::Interrupted);
    // Just before its end, patience is not over.
    behind(&[first()]).after(PATIENCE - millis(1)).answer(woken(Wake::Time)).asks(Look);
}

/// The waiter ahead gave up at the same moment, and left to us the lock that was opened for it.
#[test]
fn the_last_to_give_up_leaves_nothing_behind() {
    let left = behind(&[first()])
        .after(PATIENCE)
        .answer(woken(Wake::Time))
        .asks(Leave(own(), Handoff::Behind(first())))
        .answer(DONE);

    left.asks(ListQueue)
        .answer(in_queue(&[]))
        .asks(CloseQueue)
        .answer(DONE)
        .asks(Look)
        .answer(seen(&[open(7)]))
        .asks(HasWaiters)
        .nobody_waits()
        .asks(Unlink(open(7)));
}

#[test]
fn a_waiter_with_the_lock_leaves_the_queue() {
    let rung = at_the_bell().answer(woken(Wake::Notified)).answer(seen(&[open(7)]));
    let taken = Entry {
        renewals: 0,
        token: own().order,
        nonce: Nonce(8),
        timeout: secs(20),
        stamp: secs(BEGIN),
        owner: Owner::Nobody,
        label: Label::default(),
        ..held(8)
    };

    rung.asks(Rename(open(7), taken.clone()))
        .answer(DONE)
        .asks(Leave(own(), Handoff::First))
        .answer(DONE)
        .ends(Waited::Ended(Acquisition::Got(taken, AcquiredFrom::HandedOver(open(7)))));
}

/// A first waiter that has given up, and lists the queue to see whether anybody else waits.
fn last() -> Play<Queue> {
    let over = blocked_for_good(at_the_bell().after(PATIENCE).answer(woken(Wake::Time)));
    empties(over)
}

/// Patience is over: asserts that the last try found the lock held.
fn blocked_for_good(play: Play<Queue>) -> Play<Queue> {
    assert_eq!(play.machine().blocker(), Some(&blocker()));
    play
}

#[test]
fn the_last_to_leave_removes_the_queue() {
    let over = Waited::Over(blocker());

    last().answer(in_queue(&[first()])).ends(over.clone());
    last().answer(failed(BROKEN)).ends(over.clone());
    for answer in [DONE, failed(Fault::Taken)] {
        let closed = last().answer(in_queue(&[])).asks(CloseQueue).answer(answer).asks(Look);
        closed.answer(absent()).ends(over.clone());
    }
}

#[test]
fn the_last_to_leave_removes_a_lock_that_was_opened_for_it() {
    let closed = || last().answer(in_queue(&[])).answer(DONE).asks(Look);
    let over = Waited::Over(blocker());

    closed()
        .answer(seen(&[open(7)]))
        .asks(HasWaiters)
        .nobody_waits()
        .asks(Unlink(open(7)))
        .answer(Answer::Done(Some(Stamp(1))))
        .asks(RemoveDir(Stamp(1)))
        .answer(DONE)
        .asks(WakeFirst)
        .answer(DONE)
        .ends(over.clone());

    let fenced = Entry { fenced: true, ..open(7) };
    for listing in [
        listing(&[]),
        listing(&[held(7)]),
        listing(&[fenced]),
        cluttered(&[open(7)]),
        strange(&[open(7)]),
    ] {
        closed().answer(found(listing)).ends(over.clone());
    }
    closed().answer(Answer::Seen(Observation::Foreign(Foreign::Symlink))).ends(over.clone());
    closed().answer(failed(BROKEN)).ends(over);
}

#[test]
fn a_newcomer_goes_behind_larger_orders_seven_times_at_most() {
    let mut play = entered(&[first()]);
    let mut own = own();
    for turn in 0..7 {
        let faster = ticket(own.order + 1, 100 + turn);
        let handoff = Handoff::Behind(first());
        let old = own.clone();
        own.order = faster.order + 1;
        play = play
            .answer(in_queue(&[first(), old.clone(), faster]))
            .asks(Leave(old, handoff))
            .answer(DONE)
            .asks(Enter(own.clone()))
            .answer(DONE)
            .asks(ListQueue);
    }

    let faster = ticket(own.order + 1, 200);
    play.answer(in_queue(&[first(), own, faster]))
        .asks(sleep(WakeSource::Ticket(first()), millis(100)));
}

#[test]
fn a_first_newcomer_hands_off_when_it_goes_behind_a_larger_order() {
    let faster = ticket(own().order + 1, 9);

    entered(&[first()])
        .answer(in_queue(&[own(), faster.clone()]))
        .asks(Leave(own(), Handoff::First))
        .answer(failed(Fault::Missing))
        .asks(Enter(ticket(faster.order + 1, 8)));
}
