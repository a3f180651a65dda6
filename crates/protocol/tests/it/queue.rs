//! Waiting: coming to the queue, standing in it, leaving it.

use std::time::Duration;

use lockbydir_protocol::*;

use crate::play::*;
use Operation::{
    AskLiveness, Enter, Expel, HasWaiters, Install, Leave, ListQueue, Listen, Look, Sleep, Stage,
};

/// How long whoever waits is patient, if nothing else is said.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

pub(crate) fn wish() -> AcquireRequest {
    AcquireRequest {
        nonce: Nonce(8),
        timeout: secs(20),
        fenced: false,
        owner: Owner::Nobody,
        host: Host::new("h"),
        label: Label::default(),
        names_child: false,
    }
}

pub(crate) fn queue_on(here: LocalContext, patience: Option<Duration>) -> Play<Queue> {
    let acquire = Acquire::new(wish(), here, None);
    let until = patience.map(|patience| secs(BEGIN) + patience);
    Play::of(Queue::new(acquire, ticket(0, 8), here, until)).asks(ListQueue)
}

pub(crate) fn queue() -> Play<Queue> {
    queue_on(here(), Some(PATIENCE))
}

/// Our ticket, taken at the beginning.
pub(crate) fn own() -> Ticket {
    ticket(micros(secs(WALL)), 8)
}

/// One who came two seconds before us, and one a second before.
pub(crate) fn first() -> Ticket {
    ticket(own().order - 2_000_000, 1)
}

pub(crate) fn second() -> Ticket {
    ticket(own().order - 1_000_000, 2)
}

pub(crate) fn in_queue(tickets: &[Ticket]) -> Answer {
    Answer::Queue(tickets.to_vec())
}

pub(crate) fn woken(wake: Wake) -> Answer {
    Answer::Woken(wake)
}

pub(crate) fn alive() -> Answer {
    Answer::Liveness(Liveness::Alive)
}

/// A try that finds the lock held until nine seconds after the beginning.
pub(crate) fn blocked(play: Play<Queue>) -> Play<Queue> {
    play.asks(Look).answer(seen(&[held(7)])).asks(AskLiveness(OWNER)).answer(alive())
}

pub(crate) fn blocker() -> Blocker {
    Blocker::Held { entry: held(7), until: secs(BEGIN + 9) }
}

/// Has taken a ticket among these and looks where it stands.
pub(crate) fn entered(among: &[Ticket]) -> Play<Queue> {
    queue().answer(in_queue(among)).asks(Enter(own())).answer(DONE).asks(ListQueue)
}

/// Sleeps behind another.
pub(crate) fn behind(among: &[Ticket]) -> Play<Queue> {
    let ahead = among.last().expect("somebody").clone();
    let all = [among, &[own()]].concat();
    entered(among).answer(in_queue(&all)).asks(sleep(WakeSource::Ticket(ahead), millis(100)))
}

/// Sleeps as the first, at the bell.
pub(crate) fn at_the_bell() -> Play<Queue> {
    let play = blocked(queue().answer(in_queue(&[])));
    let play =
        play.asks(ListQueue).answer(in_queue(&[])).asks(Enter(own())).answer(DONE).asks(ListQueue);
    blocked(play.answer(in_queue(&[own()])).asks(Listen).answer(DONE))
        .asks(sleep(WakeSource::Bell(OWNER), SECOND))
}

/// To sleep for this long from the beginning.
pub(crate) fn sleep(ear: WakeSource, time: Duration) -> Operation {
    Sleep(ear, secs(BEGIN) + time)
}

/// Its ticket is gone, and it was the first: nobody else is there.
pub(crate) fn empties(play: Play<Queue>) -> Play<Queue> {
    play.asks(Leave(own(), Handoff::First)).answer(DONE).asks(ListQueue)
}

#[test]
fn where_nobody_waits_one_tries_at_once_and_needs_no_ticket() {
    let at = now();
    let machine = &mut Acquire::new(wish(), here(), None);
    machine.start(at);
    let Step::Perform(Stage(entry)) = machine.resume(at, absent()) else { panic!() };

    for answer in [in_queue(&[]), failed(DENIED)] {
        queue()
            .answer(answer)
            .asks(Look)
            .answer(absent())
            .asks(Stage(entry.clone()))
            .answer(DONE)
            .asks(Install(entry.clone()))
            .answer(DONE)
            .ends(Waited::Ended(Acquisition::Got(entry.clone(), AcquiredFrom::Free)));
    }
}

#[test]
fn where_somebody_waits_one_goes_behind() {
    behind(&[first(), second()]);
    // Whatever the wall clock says.
    let future = ticket(own().order + 5, 1);
    let last = ticket(own().order + 6, 8);
    queue().answer(in_queue(&[future])).asks(Enter(last));
}

#[test]
fn patience_zero_is_one_try_and_none_where_a_waiter_or_a_holder_lives() {
    let come =
        || queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[first()])).asks(HasWaiters);

    blocked(come().answer(Answer::Somebody(true))).ends(Waited::Over(blocker()));
    blocked(come().answer(Answer::Somebody(false))).ends(Waited::Over(blocker()));
    blocked(queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[])))
        .ends(Waited::Over(blocker()));
}

#[test]
fn a_try_gives_the_first_in_queue_its_moment_and_passes_it_over() {
    let moment = millis(100);
    let come = |seen: Answer| {
        let play = queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[first(), second()]));
        play.asks(HasWaiters).answer(Answer::Somebody(true)).asks(Look).answer(seen)
    };
    let dead =
        |play: Play<Queue>| play.asks(AskLiveness(OWNER)).answer(Answer::Liveness(Liveness::Gone));
    let waits =
        |play: Play<Queue>, until| play.asks(sleep(WakeSource::Nothing, until)).after(moment);
    let passes = |play: Play<Queue>, who: Ticket, left: &[Ticket]| {
        play.asks(Expel(who, Handoff::First)).answer(DONE).asks(ListQueue).answer(in_queue(left))
    };
    let fresh = Entry { stamp: secs(BEGIN), ..open(7) };

    // Who lives takes it in that time.
    waits(come(seen(std::slice::from_ref(&fresh))), moment)
        .answer(woken(Wake::Time))
        .asks(Look)
        .answer(seen(&[held(9)]))
        .asks(AskLiveness(OWNER))
        .answer(alive())
        .ends(Waited::Over(Blocker::Held { entry: held(9), until: secs(BEGIN + 9) }));
    // Who does not is passed over, one after the other, each after a moment.
    let again = waits(come(seen(std::slice::from_ref(&fresh))), moment)
        .answer(woken(Wake::Time))
        .asks(Look);
    let listed = again
        .answer(seen(std::slice::from_ref(&fresh)))
        .asks(ListQueue)
        .answer(in_queue(&[second(), first()]));
    let again = waits(passes(listed, first(), &[second()]), millis(200));
    let listed =
        again.answer(woken(Wake::Time)).asks(Look).answer(seen(std::slice::from_ref(&fresh)));
    let last = passes(listed.asks(ListQueue).answer(in_queue(&[second()])), second(), &[]);
    last.asks(Look).answer(seen(std::slice::from_ref(&fresh)));

    // However long it is free: the first in the queue may be that only since now.
    waits(come(seen(&[open(7)])), moment);
    waits(dead(come(seen(&[held(7)]))), moment);
    waits(come(absent()), moment);
    // A ticket that cannot be removed does not keep it from trying; an interrupt ends it.
    let stuck =
        waits(come(seen(&[open(7)])), moment).answer(woken(Wake::Time)).answer(seen(&[open(7)]));
    stuck.answer(in_queue(&[first()])).answer(failed(DENIED)).asks(Look);
    waits(come(absent()), moment).answer(woken(Wake::Interrupted)).ends(Waited::Interrupted);
}

#[test]
fn a_try_passes_over_so_many_and_no_more() {
    let mut play = queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[first(), second()]));
    play = play.answer(Answer::Somebody(true)).asks(Look).answer(seen(&[open(7)]));
    for nth in 1..=4 {
        play = play.asks(sleep(WakeSource::Nothing, nth * millis(100))).after(millis(100));
        play = play.answer(woken(Wake::Time)).asks(Look).answer(seen(&[open(7)]));
        play = play.asks(ListQueue).answer(in_queue(&[first()]));
        play = play.asks(Expel(first(), Handoff::First)).answer(DONE).answer(in_queue(&[first()]));
    }

    play.ends(Waited::Over(Blocker::Busy(Fault::Taken)));
}

/// It may have been told just now that it is first, or have found it out.
#[test]
fn a_try_passes_over_nobody_who_became_the_first_while_it_paused() {
    let come = queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[first(), second()]));
    let pauses = come.answer(Answer::Somebody(true)).answer(seen(&[open(7)]));
    let pauses = pauses.asks(sleep(WakeSource::Nothing, millis(100))).after(millis(100));

    let looks = pauses.answer(woken(Wake::Time)).answer(seen(&[open(7)]));
    let pauses = looks.asks(ListQueue).answer(in_queue(&[second()]));

    let pauses = pauses.asks(sleep(WakeSource::Nothing, millis(200))).after(millis(100));
    let looks = pauses.answer(woken(Wake::Time)).answer(seen(&[open(7)]));
    looks.answer(in_queue(&[second()])).asks(Expel(second(), Handoff::First));
}

/// Else it would pause again and again beside a lock that changes hands.
#[test]
fn a_try_ends_when_the_lock_changed_hands_while_it_paused() {
    let fresh = |nonce| Entry { stamp: secs(BEGIN) + millis(60), ..open(nonce) };
    let just = Entry { stamp: secs(BEGIN), ..open(7) };
    let expired =
        Entry { stamp: secs(BEGIN - 10), timeout: secs(10), owner: Owner::Nobody, ..held(7) };

    for before in [absent(), seen(&[just]), seen(&[expired])] {
        let come = queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[first(), second()]));
        let pauses = come.answer(Answer::Somebody(true)).answer(before);
        let looks = pauses.asks(sleep(WakeSource::Nothing, millis(100))).after(millis(100));
        let ends = looks.answer(woken(Wake::Time)).asks(Look).answer(seen(&[fresh(9)]));

        ends.ends(Waited::Over(Blocker::Busy(Fault::Taken)));
    }
}

#[test]
fn a_bare_lock_that_changes_hands_is_looked_at_more_often() {
    let bare = |wall: u64| found(Listing { modified: stamp(secs(wall)), ..listing(&[]) });
    let fresh = || Answer::FileClock(stamp(secs(WALL)));
    let tries = |play: Play<Queue>, at: u64| {
        play.asks(Look).answer(bare(at)).asks(Operation::ReadFileClock).answer(fresh())
    };
    let first = tries(queue().answer(in_queue(&[])), WALL).answer(in_queue(&[])).answer(DONE);
    let mut play = tries(first.answer(in_queue(&[own()])).asks(Listen).answer(DONE), WALL);
    for pause in [1_000, 1_500] {
        let until = Duration::from_micros(pause);
        play = tries(
            play.asks(sleep(WakeSource::Bell(Owner::Nobody), until)).answer(woken(Wake::Time)),
            WALL,
        );
    }

    tries(play.answer(woken(Wake::Time)), WALL - 1)
        .asks(sleep(WakeSource::Bell(Owner::Nobody), millis(1)));
}

#[test]
fn what_ends_a_try_ends_the_wait() {
    let foreign = Observation::Foreign(Foreign::Symlink);

    queue()
        .answer(in_queue(&[]))
        .answer(Answer::Seen(foreign))
        .ends(Waited::Ended(Acquisition::Foreign(Foreign::Symlink)));
}

#[test]
fn the_first_listens_to_the_bell_before_it_tries_and_sleeps_to_its_end() {
    let play = at_the_bell();
    assert_eq!(play.machine().ticket(), Some(&own()));
    assert_eq!(play.machine().blocker(), Some(&blocker()));

    // Whatever wakes it, it tries.
    for wake in [
        Wake::Time,
        Wake::Notified,
        Wake::Ended,
        Wake::PeerGone,
        Wake::HandoffReceived(Handoff::First),
    ] {
        at_the_bell().answer(woken(wake)).asks(Look);
    }
    at_the_bell().answer(DONE).asks(Look);
}

#[test]
fn the_first_sleeps_no_longer_than_to_the_holders_expiry_and_its_own_patience() {
    let again = |time| blocked(at_the_bell().after(time).answer(woken(Wake::Time)));
    let bell = WakeSource::Bell(OWNER);
    again(secs(7)).asks(sleep(bell.clone(), secs(8)));
    again(millis(8_500)).asks(sleep(bell.clone(), secs(9)));
    // Never shorter than a millisecond.
    let late = Duration::from_micros(8_999_500);
    again(late).asks(sleep(bell, late + millis(1)));

    let hasty = queue_on(here(), Some(millis(300))).answer(in_queue(&[first()])).answer(DONE);
    let bell = hasty.answer(in_queue(&[own()])).answer(DONE);
    blocked(bell).asks(sleep(WakeSource::Bell(OWNER), millis(300)));

    let endless = queue_on(here(), None).answer(in_queue(&[first()])).answer(DONE);
    blocked(endless.answer(in_queue(&[own()])).answer(DONE))
        .asks(sleep(WakeSource::Bell(OWNER), SECOND));
}

#[test]
fn the_first_hears_only_what_it_can_hear() {
    let any_start = Owner::One(Process { start: 0, ..OWNER.processes().next().unwrap() });
    for (origin, owner, pause) in [
        (Origin { time: 2, ..ORIGIN }, any_start, SECOND),
        (Origin { pids: 2, ..ORIGIN }, Owner::Nobody, SECOND),
        (ELSEWHERE, Owner::Nobody, millis(50)),
    ] {
        let entry = Entry { origin, ..held(7) };
        let play =
            entered(&[first()]).answer(in_queue(&[own()])).answer(DONE).answer(seen(&[entry]));
        let asks = origin.is_same_pids(&ORIGIN);
        let play = if asks { play.answer(alive()) } else { play };
        let clock = !origin.is_same_clock(&ORIGIN);
        let play = if clock { play.answer(failed(BROKEN)) } else { play };

        play.asks(sleep(WakeSource::Bell(owner), pause));
    }
}

#[test]
fn the_first_looks_ever_less_often_where_nothing_tells_when_it_is_free() {
    let bare = |play: Play<Queue>| play.asks(Look).answer(seen(&[])).answer(failed(BROKEN));
    let mut play = bare(entered(&[first()]).answer(in_queue(&[own()])).answer(DONE));
    let mut pause = millis(1);

    for _ in 0..20 {
        play = bare(
            play.asks(sleep(WakeSource::Bell(Owner::Nobody), pause)).answer(woken(Wake::Time)),
        );
        pause = (pause * 3 / 2).min(millis(50));
    }
    assert_eq!(pause, millis(50));
}

#[test]
fn who_wants_to_look_more_often_does() {
    for (asked, poll_interval) in [(millis(5), millis(5)), (Duration::ZERO, millis(1))] {
        let acquire = Acquire::new(wish(), here(), None);
        let queue = Queue::new(acquire, ticket(0, 8), here(), None).poll_interval(asked);
        let placed = Play::of(queue).asks(ListQueue).answer(in_queue(&[first()])).answer(DONE);
        let far = Entry { origin: ELSEWHERE, ..held(7) };
        let look = |play: Play<Queue>| {
            play.asks(Look).answer(seen(std::slice::from_ref(&far))).answer(failed(BROKEN))
        };

        look(placed.answer(in_queue(&[own()])).answer(DONE))
            .asks(sleep(WakeSource::Bell(Owner::Nobody), poll_interval));
    }
    let bare = |play: Play<Queue>| play.asks(Look).answer(seen(&[])).answer(failed(BROKEN));
    let acquire = Acquire::new(wish(), here(), None);
    let queue = Queue::new(acquire, ticket(0, 8), here(), None).poll_interval(millis(2));
    let placed = Play::of(queue).asks(ListQueue).answer(in_queue(&[first()])).answer(DONE);
    let mut play = bare(placed.answer(in_queue(&[own()])).answer(DONE));
    for pause in [millis(1), Duration::from_micros(1500), millis(2), millis(2)] {
        play = bare(
            play.asks(sleep(WakeSource::Bell(Owner::Nobody), pause)).answer(woken(Wake::Time)),
        );
    }
}

#[test]
fn where_no_queue_can_be_had_one_waits_without_a_ticket_and_looks_now_and_then() {
    let play = || {
        blocked(queue().answer(in_queue(&[])))
            .asks(ListQueue)
            .answer(in_queue(&[]))
            .asks(Enter(own()))
    };
    let waits = blocked(play().answer(failed(FULL)).asks(Look).after(Duration::ZERO));
    let waits = waits.asks(sleep(WakeSource::Nothing, millis(1)));
    assert_eq!(waits.machine().ticket(), None);
    blocked(waits.answer(woken(Wake::Time)))
        .asks(sleep(WakeSource::Nothing, Duration::from_micros(1500)));

    let unlisted = blocked(queue().answer(in_queue(&[]))).asks(ListQueue).answer(failed(DENIED));
    blocked(unlisted).asks(sleep(WakeSource::Nothing, millis(1)));

    let bare = play().answer(failed(FULL)).answer(seen(&[])).answer(failed(BROKEN));
    bare.asks(sleep(WakeSource::Nothing, millis(1)));
}

#[test]
fn who_is_not_first_sleeps_on_the_one_ahead_and_looks_the_less_often_the_longer_the_queue() {
    for (count, pause) in [(1, 100), (4, 100), (5, 120), (499, 10_000), (2000, 10_000)] {
        let ahead: Vec<_> =
            (1..=count).map(|at| ticket(own().order - 1 - at, u128::from(at) + 10)).collect();
        let tickets = in_queue(&[ahead.as_slice(), &[own()]].concat());
        let ear = WakeSource::Ticket(ahead[0].clone());

        entered(&ahead).answer(tickets).asks(sleep(ear, millis(pause)));
    }
}

/// Sleeps behind one of another kernel, which says nothing to us.
fn behind_one_elsewhere() -> (Ticket, Play<Queue>) {
    let far = Ticket { origin: ELSEWHERE, ..first() };
    let placed = entered(std::slice::from_ref(&far)).answer(in_queue(&[far.clone(), own()]));
    (far, placed.asks(sleep(WakeSource::Nothing, millis(50))))
}

#[test]
fn who_is_behind_one_elsewhere_looks_whether_it_is_gone() {
    let looks = || behind_one_elsewhere().1.answer(woken(Wake::Time)).asks(ListQueue);

    blocked(looks().answer(in_queue(&[own()])).asks(Listen).answer(DONE))
        .asks(sleep(WakeSource::Bell(OWNER), SECOND));
    let third = in_queue(&[first(), second(), own()]);
    looks().answer(third).asks(sleep(WakeSource::Ticket(second()), millis(100)));
}

#[test]
fn who_is_behind_one_elsewhere_that_is_still_there_looks_whether_the_lock_is_free() {
    let (far, _) = behind_one_elsewhere();
    let looks = || behind_one_elsewhere().1.answer(woken(Wake::Time)).asks(ListQueue);

    let still = looks().answer(in_queue(&[far, own()])).asks(Look);
    still.answer(seen(&[held(7)])).asks(sleep(WakeSource::Nothing, millis(50)));
    looks().answer(failed(DENIED)).asks(Look);
}

#[test]
fn only_the_second_in_queue_looks_so_often_for_one_elsewhere() {
    let [one, other] = [first(), second()].map(|ticket| Ticket { origin: ELSEWHERE, ..ticket });
    let all = in_queue(&[one.clone(), other.clone(), own()]);
    let sleeps =
        entered(&[one, other.clone()]).answer(all).asks(sleep(WakeSource::Nothing, millis(100)));

    // Once it is the second.
    let looks = sleeps.answer(woken(Wake::Time)).asks(ListQueue).answer(in_queue(&[other, own()]));
    looks.asks(Look).answer(seen(&[held(7)])).asks(sleep(WakeSource::Nothing, millis(50)));
}

#[test]
fn the_one_ahead_says_who_is_next() {
    let told = |word| behind(&[first(), second()]).answer(woken(Wake::HandoffReceived(word)));

    blocked(told(Handoff::First).asks(Listen).answer(DONE))
        .asks(sleep(WakeSource::Bell(OWNER), SECOND));
    told(Handoff::Behind(first())).asks(sleep(WakeSource::Ticket(first()), millis(100)));
    // What cannot be true is looked up.
    for ahead in [second(), own()] {
        told(Handoff::Behind(ahead)).asks(ListQueue);
    }
    behind(&[first()]).answer(woken(Wake::PeerGone)).asks(ListQueue);
}

#[test]
fn who_left_without_a_word_is_not_waited_for() {
    let silent = || behind(&[first(), second()]).answer(woken(Wake::PeerGone)).asks(ListQueue);

    silent()
        .answer(in_queue(&[first(), own()]))
        .asks(sleep(WakeSource::Ticket(first()), millis(100)));
    silent().answer(in_queue(&[own()])).asks(Listen);
    silent().answer(failed(BROKEN)).asks(Listen);
    // Its ticket is still there and a second old: nobody has it open.
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
    // Where its PID says nothing.
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
    // Not on a file system that others write to, nor if it is of this very boot, nor a later one.
    let rest = |ear| match ear {
        WakeSource::Nothing => sleep(ear, millis(50)),
        ear => sleep(ear, millis(100)),
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
    // Said to be done again and again, or refused once.
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
fn a_ticket_that_others_have_removed_meanwhile_is_out_of_the_way() {
    let old = Ticket { origin: ELSEWHERE, ..ticket(1, 1) };
    let removing = entered(std::slice::from_ref(&old)).answer(in_queue(&[old.clone(), own()]));
    let removing = removing.asks(Expel(old, Handoff::First));

    removing.answer(failed(Fault::Missing)).asks(ListQueue).answer(in_queue(&[own()])).asks(Listen);
}

#[test]
fn the_dead_are_counted_from_one_sleep_to_the_next() {
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
fn a_queue_full_of_the_dead_does_not_outlast_patience() {
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
fn another_users_lock_is_waited_for_without_a_queue_and_then_one_queues_as_ever() {
    let strangers = || Answer::Seen(Observation::Directory(strange(&[])));
    let come =
        |patience| queue_on(here(), patience).answer(in_queue(&[])).asks(Look).answer(strangers());

    come(Some(Duration::ZERO)).ends(Waited::Over(Blocker::Stranger(1000)));
    let waits = come(None).asks(sleep(WakeSource::Nothing, millis(1))).answer(woken(Wake::Time));
    let again = waits
        .asks(Look)
        .answer(strangers())
        .asks(sleep(WakeSource::Nothing, Duration::from_micros(1500)));
    blocked(again.answer(woken(Wake::Time))).asks(ListQueue);
}
