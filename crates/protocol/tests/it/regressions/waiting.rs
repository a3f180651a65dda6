//! Faults in the queue.

use std::time::Duration;

use lockbydir_protocol::*;

use super::*;

#[test]
fn a_newcomer_goes_behind_a_larger_order_than_its_own() {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let request = request_of(8);
    let own_ticket = ticket_of(8, here);
    let first = Ticket { order: 1, nonce: Nonce(1), ..own_ticket.clone() };
    let faster =
        Ticket { order: u64::from(u32::MAX) * 1_000_000, nonce: Nonce(2), ..own_ticket.clone() };
    let mut queue = Queue::new(Acquire::new(request, here, None), own_ticket, here, None);
    queue.start(at(2));
    let Step::Perform(Operation::Enter(early)) =
        queue.resume(at(2), Answer::Queue(vec![first.clone()]))
    else {
        panic!("it enters the queue");
    };
    assert!(early < faster);

    // Between its listing and its ticket another waiter came, which cannot know of it.
    queue.resume(at(2), Answer::Done(None));
    let tickets = vec![first.clone(), early.clone(), faster.clone()];
    let step = queue.resume(at(2), Answer::Queue(tickets));

    assert_eq!(step, Step::Perform(Operation::Leave(early, Handoff::Behind(first.clone()))));
    let Step::Perform(Operation::Enter(late)) = queue.resume(at(2), Answer::Done(None)) else {
        panic!("it enters anew");
    };
    assert!(late > faster);
    queue.resume(at(2), Answer::Done(None));
    let step = queue.resume(at(2), Answer::Queue(vec![first, late, faster.clone()]));
    assert!(
        matches!(&step, Step::Perform(Operation::Sleep(WakeSource::Ticket(ahead), _)) if *ahead == faster),
        "{step:?}"
    );
}

/// Returns a waiter of this host behind a ticket of another host, which cannot notify it, asleep at
/// second 3; and the queue.
fn behind_remote(here: LocalContext) -> (Queue, Vec<Ticket>) {
    let request = request_of(8);
    let own_ticket = ticket_of(8, here);
    let elsewhere = Origin { boot: 2, time: 1, pids: 1 };
    let first = Ticket { order: 1, nonce: Nonce(1), origin: elsewhere, ..own_ticket.clone() };
    let mut queue = Queue::new(Acquire::new(request, here, None), own_ticket, here, None);
    queue.start(at(2));
    let Step::Perform(Operation::Enter(ours)) =
        queue.resume(at(2), Answer::Queue(vec![first.clone()]))
    else {
        panic!("it enters the queue");
    };
    queue.resume(at(2), Answer::Done(None));
    let tickets = vec![first, ours];
    let step = queue.resume(at(3), Answer::Queue(tickets.clone()));
    assert!(matches!(step, Step::Perform(Operation::Sleep(..))), "{step:?}");
    (queue, tickets)
}

/// Wakes the waiter each second and answers each look with `seen`, until it passes the first waiter
/// over; returns the second in which it does.
fn passes_over_at((mut queue, tickets): (Queue, Vec<Ticket>), seen: &Answer) -> u64 {
    for second in 4..100 {
        let step = queue.resume(at(second), Answer::Woken(Wake::Time));
        assert_eq!(step, Step::Perform(Operation::ListQueue));
        let step = queue.resume(at(second), Answer::Queue(tickets.clone()));
        assert_eq!(step, Step::Perform(Operation::Look));
        match queue.resume(at(second), seen.clone()) {
            Step::Perform(Operation::ListQueue) => return second,
            Step::Perform(Operation::Sleep(..)) => {}
            step => panic!("{step:?}"),
        }
    }
    panic!("the first waiter is never passed over");
}

#[test]
fn a_dead_remote_waiter_is_passed_over_when_the_lock_has_expired() {
    let here = LocalContext { is_local: false, ..here(Origin { boot: 1, time: 1, pids: 1 }) };
    let elsewhere = LocalContext { origin: Origin { boot: 2, time: 1, pids: 1 }, ..here };
    let waiting = behind_remote(here);

    let second = passes_over_at(waiting, &holding(vec![published(elsewhere, 9, at(1))]));

    // Its timeout is ten seconds, counted from the first look at it, at 4; then the first waiter has
    // its 0.1 s.
    assert_eq!(second, 15);
}

#[test]
fn a_dead_remote_waiter_is_passed_over_when_a_bare_lock_is_old() {
    let here = LocalContext { is_local: false, ..here(Origin { boot: 1, time: 1, pids: 1 }) };
    let waiting = behind_remote(here);

    let second = passes_over_at(waiting, &holding(Vec::new()));

    assert_eq!(second, 15);
}

/// Returns a waiter with patience until this second, which enters behind a ticket of an earlier boot;
/// and that ticket.
fn behind_the_dead(until: u64) -> (Queue, Ticket) {
    let here = here(Origin { boot: 1, time: 1, pids: 1 });
    let (request, own_ticket) = (request_of(8), ticket_of(8, here));
    let dead = Ticket {
        order: 1,
        nonce: Nonce(1),
        origin: Origin { boot: 2, time: 1, pids: 1 },
        ..own_ticket.clone()
    };
    let until = Some(Duration::from_secs(until));
    let mut queue = Queue::new(Acquire::new(request, here, None), own_ticket, here, until);
    queue.start(at(2));
    let step = queue.resume(at(2), Answer::Queue(vec![dead.clone()]));
    assert!(matches!(step, Step::Perform(Operation::Enter(_))), "{step:?}");
    (queue, dead)
}

#[test]
fn dead_tickets_ahead_are_removed_up_to_a_limit_or_patience() {
    let (done, denied) = (Answer::Done(None), Answer::Failed(Fault::Denied { code: 1 }));
    for (until, now, answer, most) in [(60, 3, &done, 15), (60, 3, &denied, 1), (60, 61, &done, 0)]
    {
        let (mut queue, dead) = behind_the_dead(until);
        let mut step = queue.resume(at(2), Answer::Done(None)); // it is in the queue
        let mut removed = 0;
        while step == Step::Perform(Operation::ListQueue) {
            step = queue.resume(at(now), Answer::Queue(vec![dead.clone()]));
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
fn an_expelled_waiter_waits_without_a_ticket_within_its_patience() {
    for until in [60, 5] {
        let (mut queue, dead) = behind_the_dead(until);
        let living = Ticket { origin: Origin { boot: 1, time: 1, pids: 1 }, ..dead };
        let mut entered = 1;
        let mut now = 2;
        let step = loop {
            queue.resume(at(now), Answer::Done(None)); // -> list
            let step = queue.resume(at(now), Answer::Queue(vec![living.clone()]));
            assert!(matches!(step, Step::Perform(Operation::Sleep(..))), "{step:?}");
            now += 1;
            let step = queue.resume(at(now), Answer::Woken(Wake::Expelled));
            if step != Step::Perform(Operation::ListQueue) {
                break step;
            }
            queue.resume(at(now), Answer::Queue(vec![living.clone()])); // -> enter
            entered += 1;
        };

        match until {
            60 => assert_eq!((entered, step), (4, Step::Perform(Operation::Look))),
            _ => assert!(matches!(step, Step::Perform(Operation::Leave(..))), "{step:?}"),
        }
    }
}
