//! Waiters behind others: whom they watch, how often they look, and which tickets they remove.

use std::time::Duration;

use lockbydir_protocol::*;

use crate::play::*;
use crate::queue::*;
use Operation::*;

#[test]
fn in_a_longer_queue_a_waiter_behind_looks_less_often() {
    for (count, pause) in [(1, 100), (4, 100), (5, 120), (499, 10_000), (2000, 10_000)] {
        let ahead: Vec<_> =
            (1..=count).map(|at| ticket(own().order - 1 - at, u128::from(at) + 10)).collect();
        let tickets = in_queue(&[ahead.as_slice(), &[own()]].concat());
        let source = WakeSource::Ticket(ahead[0].clone());

        entered(&ahead).answer(tickets).asks(sleep(source, millis(pause)));
    }
}

/// A waiter that sleeps behind a waiter of another kernel, which cannot notify it; and the latter's ticket.
fn behind_remote() -> (Ticket, Play<Queue>) {
    let far = Ticket { origin: ELSEWHERE, ..first() };
    let placed = entered(std::slice::from_ref(&far)).answer(in_queue(&[far.clone(), own()]));
    (far, placed.asks(sleep(WakeSource::Nothing, millis(50))))
}

#[test]
fn behind_a_remote_waiter_it_looks_whether_that_is_gone() {
    let looks = || behind_remote().1.answer(woken(Wake::Time)).asks(ListQueue);

    blocked(looks().answer(in_queue(&[own()])).asks(Listen).answer(DONE))
        .asks(sleep(WakeSource::Bell(OWNER), SECOND));
    let third = in_queue(&[first(), second(), own()]);
    looks().answer(third).asks(sleep(WakeSource::Ticket(second()), millis(100)));
}

#[test]
fn behind_a_remote_waiter_it_looks_whether_the_lock_is_free() {
    let (far, _) = behind_remote();
    let looks = || behind_remote().1.answer(woken(Wake::Time)).asks(ListQueue);

    let still = looks().answer(in_queue(&[far, own()])).asks(Look);
    still.answer(seen(&[held(7)])).asks(sleep(WakeSource::Nothing, millis(50)));
    looks().answer(failed(DENIED)).asks(Look);
}

#[test]
fn only_the_second_waiter_looks_that_often_for_a_remote_one() {
    let [one, other] = [first(), second()].map(|ticket| Ticket { origin: ELSEWHERE, ..ticket });
    let all = in_queue(&[one.clone(), other.clone(), own()]);
    let sleeps =
        entered(&[one, other.clone()]).answer(all).asks(sleep(WakeSource::Nothing, millis(100)));

    // It does when it is second.
    let looks = sleeps.answer(woken(Wake::Time)).asks(ListQueue).answer(in_queue(&[other, own()]));
    looks.asks(Look).answer(seen(&[held(7)])).asks(sleep(WakeSource::Nothing, millis(50)));
}

#[test]
fn the_waiter_ahead_hands_its_place_off() {
    let receives =
        |handoff| behind(&[first(), second()]).answer(woken(Wake::HandoffReceived(handoff)));

    blocked(receives(Handoff::First).asks(Listen).answer(DONE))
        .asks(sleep(WakeSource::Bell(OWNER), SECOND));
    receives(Handoff::Behind(first())).asks(sleep(WakeSource::Ticket(first()), millis(100)));
    // A handoff that cannot be true causes a new listing.
    for ahead in [second(), own()] {
        receives(Handoff::Behind(ahead)).asks(ListQueue);
    }
    behind(&[first()]).answer(woken(Wake::PeerGone)).asks(ListQueue);
}

#[test]
fn a_waiter_that_left_without_a_handoff_is_not_waited_for() {
    let silent = || behind(&[first(), second()]).answer(woken(Wake::PeerGone)).asks(ListQueue);

    silent()
        .answer(in_queue(&[first(), own()]))
        .asks(sleep(WakeSource::Ticket(first()), millis(100)));
    silent().answer(in_queue(&[own()])).asks(Listen);
    silent().answer(failed(BROKEN)).asks(Listen);
    // The ticket ahead is still there and a second old, and nobody has it open.
    silent()
        .answer(in_queue(&[first(), second(), own()]))
        .asks(Expel(second(), Handoff::Behind(first())))
        .answer(DONE)
        .asks(ListQueue);
    behind(&[first()])
        .answer(woken(Wake::PeerGone))
        .answer(in_queue(&[first(), own()]))
        .asks(Expel(first(), Handoff::First));
}

#[test]
fn a_newcomer_is_given_time_to_open_its_ticket_unless_it_is_gone() {
    let young = || ticket(own().order - 999_999, 2);
    let silent = |ahead: Ticket| {
        let all = in_queue(&[ahead.clone(), own()]);
        entered(std::slice::from_ref(&ahead))
            .answer(all.clone())
            .answer(woken(Wake::PeerGone))
            .answer(all)
    };
    let nap = || sleep(WakeSource::Nothing, millis(5));
    let asked = || silent(young()).asks(AskLiveness(Owner::One(young().process)));

    asked().answer(Answer::Liveness(Liveness::Gone)).asks(Expel(young(), Handoff::First));
    asked().answer(alive()).asks(nap()).answer(woken(Wake::Time)).asks(ListQueue);
    asked().answer(failed(BROKEN)).asks(nap());
    // Where its PID means nothing to us.
    let other = Ticket { origin: Origin { pids: 2, ..ORIGIN }, ..young() };
    silent(other).asks(nap()).answer(woken(Wake::Time)).asks(ListQueue);
}

#[test]
fn a_nap_ends_with_patience_and_with_whatever_ends_a_wait() {
    let young = ticket(own().order - 1, 2);
    let all = in_queue(&[young.clone(), own()]);
    let nap = |patience| {
        queue_on(here(), Some(patience))
            .answer(in_queue(std::slice::from_ref(&young)))
            .answer(DONE)
            .answer(all.clone())
            .answer(woken(Wake::PeerGone))
            .answer(all.clone())
            .answer(alive())
    };
    let leave = || Leave(own(), Handoff::Behind(young.clone()));

    let short = nap(millis(3)).asks(sleep(WakeSource::Nothing, millis(3)));
    short.after(millis(3)).answer(woken(Wake::Time)).asks(leave());
    nap(PATIENCE).answer(woken(Wake::Interrupted)).asks(leave());
    nap(PATIENCE)
        .answer(woken(Wake::Expelled))
        .asks(ListQueue)
        .answer(in_queue(&[]))
        .asks(Enter(own()));
    nap(PATIENCE).answer(DONE).asks(ListQueue);
}

#[test]
fn a_ticket_from_before_our_kernels_boot_is_removed() {
    let old = Ticket { origin: ELSEWHERE, ..ticket(micros(secs(WALL - BEGIN)) - 1, 1) };
    let stands = |here, ahead: &Ticket| {
        queue_on(here, Some(PATIENCE))
            .answer(in_queue(std::slice::from_ref(ahead)))
            .answer(DONE)
            .answer(in_queue(&[ahead.clone(), own()]))
    };

    stands(here(), &old).asks(Expel(old.clone(), Handoff::First));
    // Not on a shared file system, nor a ticket of this very boot, nor a later one.
    let rest = |source| match source {
        WakeSource::Nothing => sleep(source, millis(50)),
        source => sleep(source, millis(100)),
    };
    stands(shared(), &old).asks(rest(WakeSource::Nothing));
    let same = Ticket { origin: ORIGIN, ..old.clone() };
    stands(here(), &same).asks(rest(WakeSource::Ticket(same.clone())));
    let later = Ticket { order: old.order + 1, ..old };
    stands(here(), &later).asks(rest(WakeSource::Nothing));
}

#[test]
fn a_ticket_that_cannot_be_removed_keeps_nobody_from_waiting() {
    let old = Ticket { origin: ELSEWHERE, ..ticket(1, 1) };
    let stands = in_queue(&[old.clone(), own()]);
    // The removal is answered "done" again and again, or refused once.
    for (answer, often) in [(DONE, 15), (failed(DENIED), 1)] {
        let tries = |play: Play<Queue>| {
            play.asks(ListQueue)
                .answer(stands.clone())
                .asks(Expel(old.clone(), Handoff::First))
                .answer(answer.clone())
        };
        let stays = entered(std::slice::from_ref(&old)).times(often, tries);
        let stays = if often > 1 { stays.answer(stands.clone()) } else { stays };
        let waits = blocked(stays).asks(sleep(WakeSource::Nothing, millis(1)));
        waits.answer(woken(Wake::Time)).asks(Look).answer(seen(&[open(7)]));
    }
}

#[test]
fn a_ticket_that_others_have_removed_does_not_block() {
    let old = Ticket { origin: ELSEWHERE, ..ticket(1, 1) };
    let removing = entered(std::slice::from_ref(&old)).answer(in_queue(&[old.clone(), own()]));
    let removing = removing.asks(Expel(old, Handoff::First));

    removing.answer(failed(Fault::Missing)).asks(ListQueue).answer(in_queue(&[own()])).asks(Listen);
}

#[test]
fn removed_dead_tickets_are_counted_between_sleeps() {
    let old = Ticket { origin: ELSEWHERE, ..ticket(1, 1) };
    let all = in_queue(&[old.clone(), own()]);
    let tries = |play: Play<Queue>| {
        play.asks(ListQueue)
            .answer(all.clone())
            .asks(Expel(old.clone(), Handoff::First))
            .answer(DONE)
    };
    let sleeps = entered(std::slice::from_ref(&old)).times(15, tries);
    let sleeps =
        sleeps.answer(in_queue(&[first(), own()])).answer(woken(Wake::PeerGone)).asks(ListQueue);

    sleeps
        .answer(all.clone())
        .asks(Expel(old.clone(), Handoff::First))
        .answer(DONE)
        .times(14, tries);
}

#[test]
fn a_queue_full_of_dead_tickets_does_not_outlast_patience() {
    let old = Ticket { origin: ELSEWHERE, ..ticket(1, 1) };
    let all = in_queue(&[old.clone(), own()]);
    let removing = entered(std::slice::from_ref(&old)).answer(all.clone());
    let removing = removing.asks(Expel(old.clone(), Handoff::First)).after(PATIENCE);

    let gives_up =
        removing.answer(DONE).answer(all.clone()).asks(Leave(own(), Handoff::Behind(old)));
    let gives_up = gives_up.answer(DONE).asks(ListQueue).answer(all);
    gives_up.ends(Waited::Over(Blocker::Busy(Fault::Taken)));
}

#[test]
fn another_users_lock_is_waited_for_without_a_queue() {
    let other_users = || Answer::Seen(Observation::Directory(strange(&[])));
    let arrives = |patience| {
        queue_on(here(), patience).answer(in_queue(&[])).asks(Look).answer(other_users())
    };

    arrives(Some(Duration::ZERO)).ends(Waited::Over(Blocker::Stranger(1000)));
    let waits = arrives(None).asks(sleep(WakeSource::Nothing, millis(1))).answer(woken(Wake::Time));
    let again = waits
        .asks(Look)
        .answer(other_users())
        .asks(sleep(WakeSource::Nothing, Duration::from_micros(1500)));
    blocked(again.answer(woken(Wake::Time))).asks(Enter(own()));
}
