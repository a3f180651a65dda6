//! Waiting: entering the queue, waiting in it, and leaving it.

use std::time::Duration;

use lockbydir_protocol::*;

use crate::play::*;
use Operation::{
    AskLiveness, Enter, Expel, HasWaiters, Install, Leave, ListQueue, Listen, Look, Sleep, Stage,
};

/// The patience of the waiter, unless a test sets another.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

pub(crate) fn request() -> AcquireRequest {
    AcquireRequest {
        nonce: Nonce(8),
        timeout: secs(20),
        fenced: false,
        shared: false,
        owner: Owner::Nobody,
        host: Host::new("h"),
        label: Label::default(),
        names_child: false,
    }
}

pub(crate) fn queue_on(here: LocalContext, patience: Option<Duration>) -> Play<Queue> {
    let acquire = Acquire::new(request(), here, None);
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

/// The ticket of a waiter that came two seconds before us.
pub(crate) fn first() -> Ticket {
    ticket(own().order - 2_000_000, 1)
}

/// The ticket of a waiter that came a second before us.
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

/// Plays a try that finds the lock held until nine seconds after the beginning.
pub(crate) fn blocked(play: Play<Queue>) -> Play<Queue> {
    play.asks(Look).answer(seen(&[held(7)])).asks(AskLiveness(OWNER)).answer(alive())
}

pub(crate) fn blocker() -> Blocker {
    Blocker::Held { entry: held(7), until: secs(BEGIN + 9) }
}

/// A waiter that has taken a ticket behind these and lists the queue to find its place.
pub(crate) fn entered(among: &[Ticket]) -> Play<Queue> {
    queue().answer(in_queue(among)).asks(Enter(own())).answer(DONE).asks(ListQueue)
}

/// A waiter that sleeps behind another.
pub(crate) fn behind(among: &[Ticket]) -> Play<Queue> {
    let ahead = among.last().expect("somebody").clone();
    let all = [among, &[own()]].concat();
    entered(among).answer(in_queue(&all)).asks(sleep(WakeSource::Ticket(ahead), millis(100)))
}

/// A first waiter that sleeps at the bell.
pub(crate) fn at_the_bell() -> Play<Queue> {
    let play = blocked(queue().answer(in_queue(&[])));
    let play = play.asks(Enter(own())).answer(DONE).asks(ListQueue);
    blocked(play.answer(in_queue(&[own()])).asks(Listen).answer(DONE))
        .asks(sleep(WakeSource::Bell(OWNER), SECOND))
}

/// The operation to sleep until this long after the beginning.
pub(crate) fn sleep(source: WakeSource, time: Duration) -> Operation {
    Sleep(source, secs(BEGIN) + time)
}

/// The waiter was first and removes its ticket; then it lists the queue.
pub(crate) fn empties(play: Play<Queue>) -> Play<Queue> {
    play.asks(Leave(own(), Handoff::First)).answer(DONE).asks(ListQueue)
}

#[test]
fn where_nobody_waits_the_first_try_needs_no_ticket() {
    let at = now();
    let machine = &mut Acquire::new(request(), here(), None);
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
fn where_somebody_waits_a_newcomer_goes_behind() {
    behind(&[first(), second()]);
    // Whatever time the wall clock shows.
    let future = ticket(own().order + 5, 1);
    let last = ticket(own().order + 6, 8);
    queue().answer(in_queue(&[future])).asks(Enter(last));
}

#[test]
fn patience_zero_is_one_try_that_fails_on_a_living_holder() {
    let arrives =
        || queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[first()])).asks(HasWaiters);

    blocked(arrives().answer(Answer::Somebody(true))).ends(Waited::Over(blocker()));
    blocked(arrives().answer(Answer::Somebody(false))).ends(Waited::Over(blocker()));
    blocked(queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[])))
        .ends(Waited::Over(blocker()));
}

#[test]
fn a_try_gives_the_first_waiter_time_and_then_passes_it_over() {
    let full_time = millis(100);
    let arrives = |seen: Answer| {
        let play = queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[first(), second()]));
        play.asks(HasWaiters).answer(Answer::Somebody(true)).asks(Look).answer(seen)
    };
    let dead =
        |play: Play<Queue>| play.asks(AskLiveness(OWNER)).answer(Answer::Liveness(Liveness::Gone));
    let waits =
        |play: Play<Queue>, until| play.asks(sleep(WakeSource::Nothing, until)).after(full_time);
    let passes = |play: Play<Queue>, who: Ticket, left: &[Ticket]| {
        play.asks(Expel(who, Handoff::First)).answer(DONE).asks(ListQueue).answer(in_queue(left))
    };
    let fresh = Entry { stamp: secs(BEGIN), ..open(7) };

    // A living first waiter takes the lock in that time.
    waits(arrives(seen(std::slice::from_ref(&fresh))), full_time)
        .answer(woken(Wake::Time))
        .asks(Look)
        .answer(seen(&[held(9)]))
        .asks(AskLiveness(OWNER))
        .answer(alive())
        .ends(Waited::Over(Blocker::Held { entry: held(9), until: secs(BEGIN + 9) }));
    // Others are passed over, one after the other, each after the full time.
    let again = waits(arrives(seen(std::slice::from_ref(&fresh))), full_time)
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

    // However long the lock is free: the first waiter may be the first only since now.
    waits(arrives(seen(&[open(7)])), full_time);
    waits(dead(arrives(seen(&[held(7)]))), full_time);
    waits(arrives(absent()), full_time);
    // A ticket that cannot be removed does not prevent the try; an interrupt ends it.
    let stuck = waits(arrives(seen(&[open(7)])), full_time)
        .answer(woken(Wake::Time))
        .answer(seen(&[open(7)]));
    stuck.answer(in_queue(&[first()])).answer(failed(DENIED)).asks(Look);
    waits(arrives(absent()), full_time).answer(woken(Wake::Interrupted)).ends(Waited::Interrupted);
}

#[test]
fn a_try_passes_over_four_waiters_at_most() {
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

/// The waiter may have learned only just now that it is first.
#[test]
fn a_try_does_not_pass_over_a_waiter_that_just_became_first() {
    let arrives = queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[first(), second()]));
    let pauses = arrives.answer(Answer::Somebody(true)).answer(seen(&[open(7)]));
    let pauses = pauses.asks(sleep(WakeSource::Nothing, millis(100))).after(millis(100));

    let looks = pauses.answer(woken(Wake::Time)).answer(seen(&[open(7)]));
    let pauses = looks.asks(ListQueue).answer(in_queue(&[second()]));

    let pauses = pauses.asks(sleep(WakeSource::Nothing, millis(200))).after(millis(100));
    let looks = pauses.answer(woken(Wake::Time)).answer(seen(&[open(7)]));
    looks.answer(in_queue(&[second()])).asks(Expel(second(), Handoff::First));
}

/// Otherwise a try would pause again and again beside a lock that changes hands.
#[test]
fn a_try_ends_when_the_lock_changed_hands_while_it_paused() {
    let fresh = |nonce| Entry { stamp: secs(BEGIN) + millis(60), ..open(nonce) };
    let just = Entry { stamp: secs(BEGIN), ..open(7) };
    let expired =
        Entry { stamp: secs(BEGIN - 10), timeout: secs(10), owner: Owner::Nobody, ..held(7) };

    for before in [absent(), seen(&[just]), seen(&[expired])] {
        let arrives = queue_on(here(), Some(Duration::ZERO)).answer(in_queue(&[first(), second()]));
        let pauses = arrives.answer(Answer::Somebody(true)).answer(before);
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
    let first = tries(queue().answer(in_queue(&[])), WALL).answer(DONE);
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
fn an_outcome_that_ends_a_try_ends_the_wait() {
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

    // It tries, whatever wakes it.
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
fn the_first_sleeps_until_the_expiry_or_its_patience_at_most() {
    let again = |time| blocked(at_the_bell().after(time).answer(woken(Wake::Time)));
    let bell = WakeSource::Bell(OWNER);
    again(secs(7)).asks(sleep(bell.clone(), secs(8)));
    again(millis(8_500)).asks(sleep(bell.clone(), secs(9)));
    // It never sleeps for less than a millisecond.
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
fn the_first_listens_only_to_processes_that_it_can_see() {
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
fn the_first_looks_less_and_less_often_at_a_bare_lock() {
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
fn a_poll_interval_sets_how_often_a_waiter_looks() {
    for (asked, poll_interval) in [(millis(5), millis(5)), (Duration::ZERO, millis(1))] {
        let acquire = Acquire::new(request(), here(), None);
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
    let acquire = Acquire::new(request(), here(), None);
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
fn where_there_can_be_no_queue_a_waiter_polls() {
    let play = || blocked(queue().answer(in_queue(&[]))).asks(Enter(own()));
    let waits = blocked(play().answer(failed(FULL)).asks(Look).after(Duration::ZERO));
    let waits = waits.asks(sleep(WakeSource::Nothing, millis(1)));
    assert_eq!(waits.machine().ticket(), None);
    blocked(waits.answer(woken(Wake::Time)))
        .asks(sleep(WakeSource::Nothing, Duration::from_micros(1500)));

    let unlisted =
        blocked(queue().answer(failed(DENIED))).asks(Enter(own())).answer(failed(DENIED));
    blocked(unlisted).asks(sleep(WakeSource::Nothing, millis(1)));

    let bare = play().answer(failed(FULL)).answer(seen(&[])).answer(failed(BROKEN));
    bare.asks(sleep(WakeSource::Nothing, millis(1)));
}
