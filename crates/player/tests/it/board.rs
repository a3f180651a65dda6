//! Tests of the board: cards and lanes after each kind of event.

use lockbydir_player::{Board, Card, End, How, Kind, State, What, Why};

use crate::{acquired, board, event, joined, left, renewed, who};

pub(crate) fn card(board: &Board) -> &Card {
    board.cards().next().expect("a card")
}

/// Returns the spans of a contender: kind, from, to, end.
pub(crate) fn spans(board: &Board, id: &str) -> Vec<(Kind, f64, Option<f64>, Option<End>)> {
    let lanes = board.lanes("jobs");
    let lane = lanes.iter().find(|lane| lane.who.id == id).expect("a lane");
    lane.spans.iter().map(|span| (span.kind, span.from, span.to, span.end)).collect()
}

#[test]
fn a_waiter_is_in_the_queue_until_it_is_served() {
    let mut board = board([(1.0, joined("a")), (2.0, joined("b"))]);

    let queue: Vec<_> =
        card(&board).queue.iter().map(|place| (&*place.who.id, place.since)).collect();
    assert_eq!((card(&board).waiting, queue), (2, vec![("a", 1.0), ("b", 2.0)]));
    board.apply(&event(3.0, left("a", Why::Served)));
    board.apply(&event(3.0, acquired("a", 7, How::Free)));

    assert_eq!(card(&board).waiting, 1);
    assert_eq!(card(&board).queue[0].who.id, "b");
    assert_eq!(
        spans(&board, "a"),
        [(Kind::Waiting, 1.0, Some(3.0), Some(End::Served)), (Kind::Holding, 3.0, None, None)]
    );
}

#[test]
fn an_acquisition_ends_the_wait_before_its_leaving_is_seen() {
    let mut board = board([(1.0, joined("a")), (2.0, acquired("a", 7, How::Free))]);

    assert_eq!(card(&board).waiting, 0);
    board.apply(&event(2.0, left("a", Why::Served)));

    assert_eq!(spans(&board, "a").len(), 2);
    assert_eq!(spans(&board, "a")[1], (Kind::Holding, 2.0, None, None));
}

#[test]
fn giving_up_or_dying_leaves_the_queue() {
    let board = board([
        (1.0, joined("a")),
        (1.0, joined("b")),
        (4.0, left("a", Why::GaveUp)),
        (5.0, left("b", Why::Died)),
    ]);

    assert_eq!((card(&board).waiting, card(&board).state), (0, State::Free));
    assert_eq!(spans(&board, "a"), [(Kind::Waiting, 1.0, Some(4.0), Some(End::GaveUp))]);
    assert_eq!(spans(&board, "b"), [(Kind::Waiting, 1.0, Some(5.0), Some(End::Died))]);
}

#[test]
fn earlier_contenders_have_the_times_that_they_report() {
    let since = |id, since| lockbydir_player::Contender { since: Some(since), ..who(id) };
    let held = What::Acquired {
        by: since("a", 40.0),
        token: 7,
        timeout_s: 10.0,
        remaining_s: 4.0,
        how: How::Before,
    };
    let board = board([(100.0, held), (100.0, What::Joined { by: since("b", 70.0) })]);

    let card = card(&board);
    assert_eq!(
        (card.since, card.renewed_at, card.expires_at),
        (Some(40.0), Some(94.0), Some(104.0))
    );
    assert_eq!(card.queue[0].since, 70.0);
    assert_eq!(spans(&board, "a"), [(Kind::Holding, 40.0, None, None)]);
    assert_eq!(spans(&board, "b"), [(Kind::Waiting, 70.0, None, None)]);
    // When it was acquired was not observed.
    assert_eq!((card.holdings, card.a_second), (1, 0.0));
}

#[test]
fn nobody_waits_since_a_time_in_the_future() {
    let by = lockbydir_player::Contender { since: Some(900.0), ..who("a") };

    let board = board([(100.0, What::Joined { by })]);

    assert_eq!(card(&board).queue[0].since, 100.0);
}

#[test]
fn a_handoff_ends_one_holding_and_begins_another() {
    let board = board([
        (1.0, acquired("a", 7, How::Free)),
        (3.0, What::Released { by: who("a") }),
        (3.0, acquired("b", 8, How::HandedOver)),
    ]);

    assert_eq!(spans(&board, "a"), [(Kind::Holding, 1.0, Some(3.0), Some(End::Released))]);
    assert_eq!(spans(&board, "b"), [(Kind::Holding, 3.0, None, None)]);
    let card = card(&board);
    assert_eq!((card.token, card.how, card.since), (Some(8), Some(How::HandedOver), Some(3.0)));
    assert_eq!((card.holdings, card.a_second), (2, 0.4));
}

#[test]
fn an_unseen_release_ends_with_the_next_holding() {
    let board =
        board([(1.0, acquired("a", 7, How::Free)), (3.0, acquired("b", 8, How::HandedOver))]);

    assert_eq!(spans(&board, "a"), [(Kind::Holding, 1.0, Some(3.0), Some(End::Taken))]);
}

#[test]
fn a_released_lock_is_free_without_a_holder() {
    let board = board([(1.0, acquired("a", 7, How::Free)), (3.0, What::Released { by: who("a") })]);

    let card = card(&board);
    assert_eq!((card.state, &card.holder), (State::Free, &None));
    assert_eq!((card.since, card.renewed_at, card.expires_at), (None, None, None));
}

#[test]
fn a_renewal_moves_the_end_and_is_counted() {
    let board = board([(1.0, acquired("a", 7, How::Free)), (5.0, renewed("a", 2))]);

    let card = card(&board);
    assert_eq!((card.renewed_at, card.expires_at, card.since), (Some(5.0), Some(15.0), Some(1.0)));
    assert_eq!(board.lanes("jobs")[0].spans[0].renewals, 2);
}

#[test]
fn a_forgotten_lock_expires_and_is_taken_over() {
    let board = board([
        (1.0, acquired("a", 7, How::Free)),
        (2.0, joined("b")),
        (11.2, What::Expired { by: who("a") }),
        (11.5, acquired("b", 8, How::AfterExpiry)),
    ]);

    assert_eq!(
        spans(&board, "a"),
        [
            (Kind::Forgotten, 1.0, Some(11.0), Some(End::Expired)),
            (Kind::Expired, 11.0, Some(11.5), Some(End::Taken)),
        ]
    );
    let last = &board.lanes("jobs")[1].spans[1];
    assert_eq!((last.kind, last.how, last.token), (Kind::Holding, Some(How::AfterExpiry), Some(8)));
}

#[test]
fn a_holding_is_forgotten_only_since_its_last_renewal() {
    let board = board([
        (1.0, acquired("a", 7, How::Free)),
        (5.0, renewed("a", 1)),
        (15.1, What::Expired { by: who("a") }),
    ]);

    assert_eq!(card(&board).state, State::Expired);
    assert_eq!(
        spans(&board, "a"),
        [
            (Kind::Holding, 1.0, Some(5.0), None),
            (Kind::Forgotten, 5.0, Some(15.0), Some(End::Expired)),
            (Kind::Expired, 15.0, None, None),
        ]
    );
}

#[test]
fn a_late_renewal_holds_again() {
    let board = board([
        (1.0, acquired("a", 7, How::Free)),
        (11.2, What::Expired { by: who("a") }),
        (12.0, renewed("a", 1)),
    ]);

    assert_eq!(card(&board).state, State::Held);
    assert_eq!(
        spans(&board, "a")[1..],
        [(Kind::Expired, 11.0, Some(12.0), Some(End::Renewed)), (Kind::Holding, 12.0, None, None),]
    );
    assert_eq!(board.lanes("jobs")[0].spans[2].token, Some(7));
}

#[test]
fn a_dead_holders_lock_stays_until_it_is_broken() {
    let board = board([
        (1.0, acquired("a", 7, How::Free)),
        (4.0, What::Died { by: who("a") }),
        (6.0, What::Broken { by: who("a") }),
    ]);

    assert_eq!(card(&board).state, State::Free);
    assert_eq!(
        spans(&board, "a"),
        [
            (Kind::Holding, 1.0, Some(4.0), Some(End::Died)),
            (Kind::Dead, 4.0, Some(6.0), Some(End::Broken)),
        ]
    );
}

#[test]
fn the_holder_is_known_as_long_as_its_expired_lock_is_there() {
    let board = board([(1.0, acquired("a", 7, How::Free)), (11.1, What::Expired { by: who("a") })]);

    assert_eq!(card(&board).holder.as_ref().map(|by| &*by.id), Some("a"));
    assert_eq!(card(&board).expires_at, Some(11.0));
}

#[test]
fn missed_holdings_are_counted_and_the_rate_decays() {
    let mut board = board([(1.0, What::Missed { count: 9 }), (1.0, acquired("a", 7, How::Free))]);

    assert_eq!((card(&board).holdings, card(&board).missed, card(&board).a_second), (10, 9, 2.0));
    board.tick(7.0);

    assert_eq!((card(&board).holdings, card(&board).a_second), (10, 0.0));
}

#[test]
fn a_busy_lock_has_the_reported_rate_until_it_is_calm() {
    let mut board =
        board([(1.0, acquired("a", 7, How::Free)), (2.0, What::Busy { a_second: 9000 })]);

    board.tick(20.0);
    assert!(card(&board).is_busy);
    assert_eq!(card(&board).a_second, 9000.0);
    board.apply(&event(21.0, What::Calm));
    board.tick(21.0);

    assert!(!card(&board).is_busy);
    assert_eq!(card(&board).a_second, 0.0);
}

#[test]
fn twenty_waiters_are_named_and_all_are_counted() {
    let mut board = board((0..1000).map(|nth| (f64::from(nth), joined(&format!("w{nth}")))));
    assert_eq!((card(&board).waiting, card(&board).queue.len()), (1000, 20));

    board.apply(&event(1000.0, left("w3", Why::GaveUp)));

    let card = card(&board);
    let named: Vec<_> = card.queue.iter().map(|place| &*place.who.id).collect();
    assert_eq!((card.waiting, named[3], named[19]), (999, "w4", "w20"));
}

#[test]
fn ended_lanes_are_dropped_and_open_ones_never() {
    let mut board = board([
        (1.0, acquired("a", 7, How::Free)),
        (2.0, joined("b")),
        (3.0, left("b", Why::GaveUp)),
        (4.0, joined("c")),
    ]);
    let gone = board.lanes("jobs")[1].number;
    board.changes();

    board.tick(302.0);
    assert_eq!(board.lanes("jobs").len(), 3);
    board.tick(303.1);

    let left: Vec<_> = board.lanes("jobs").iter().map(|lane| lane.who.id.clone()).collect();
    assert_eq!(left, ["a", "c"]);
    assert_eq!(board.changes().gone, [gone]);
    board.tick(90_000.0);
    assert_eq!(board.lanes("jobs").len(), 2);
}

#[test]
fn changes_has_what_changed_and_all_has_everything() {
    let mut board = board([(1.0, acquired("a", 7, How::Free)), (1.0, joined("b"))]);
    let lanes = |changes: &lockbydir_player::Changes| {
        changes.lanes.iter().map(|lane| lane.who.id.clone()).collect::<Vec<_>>()
    };

    let first = board.changes();
    assert_eq!((first.cards.len(), lanes(&first)), (1, vec!["a".into(), "b".into()]));
    assert!(board.changes().is_empty());
    board.apply(&event(2.0, left("b", Why::GaveUp)));
    board.apply(&event(2.0, What::Said { text: "b has had enough".into() }));

    let then = board.changes();
    assert_eq!((then.cards.len(), lanes(&then)), (1, vec!["b".to_owned()]));
    assert_eq!(then.said, [(2.0, "b has had enough".into())]);
    let all = board.all();
    assert_eq!((all.cards.len(), all.lanes.len(), all.said.len(), all.now), (1, 2, 1, 2.0));
    assert!(board.changes().is_empty());
}

#[test]
fn servers_are_away_until_each_of_them_answers() {
    let mut board = board([(1.0, acquired("a", 7, How::Free))]);
    let gone =
        |servers: &str| What::Unreachable { servers: servers.into(), why: "no answer".into() };
    let back = |servers: &str| What::Reachable { servers: servers.into() };
    board.changes();

    let mut reports = Vec::new();
    for what in [gone("one"), gone("two"), back("one"), back("two")] {
        board.apply(&event(2.0, what));
        assert_eq!(board.all().is_away, board.is_away());
        let changes = board.changes();
        assert!(!changes.is_empty() && changes.cards.is_empty());
        reports.push((changes.is_away, changes.said[0].1.clone()));
    }

    let reports: Vec<_> = reports.iter().map(|(is_away, said)| (*is_away, said.as_str())).collect();
    let expected = [(true, "no answer"), (true, "no answer"), (true, "one answers again")];
    assert_eq!(reports[..3], expected);
    assert_eq!(reports[3], (false, "two answers again"));
    assert_eq!(board.cards().count(), 1, "they are no locks");
}

#[test]
fn forgotten_changes_are_not_reported() {
    let mut board = board([(1.0, joined("a")), (2.0, left("a", Why::GaveUp)), (3.0, joined("b"))]);
    board.apply(&event(3.0, What::Said { text: "now".into() }));
    board.tick(303.0);

    board.forget_changes();

    assert!(board.changes().is_empty());
    assert_eq!((board.all().lanes.len(), board.all().said.len()), (1, 1));
}

#[test]
fn locks_are_independent() {
    let mut board = board([(1.0, acquired("a", 7, How::Free))]);
    let elsewhere = |what| lockbydir_player::Event { at: 2.0, lock: "other".into(), what };

    board.apply(&elsewhere(acquired("a", 8, How::Free)));
    board.apply(&elsewhere(What::Released { by: who("a") }));

    let states: Vec<_> = board.cards().map(|card| (&*card.lock, card.state)).collect();
    assert_eq!(states, [("jobs", State::Held), ("other", State::Free)]);
}

#[test]
fn a_second_join_does_not_count() {
    let mut board = board([(1.0, joined("a")), (2.0, joined("a"))]);
    assert_eq!(card(&board).waiting, 1);

    board.apply(&event(3.0, left("a", Why::GaveUp)));

    assert_eq!(card(&board).waiting, 0);
    assert_eq!(spans(&board, "a"), [(Kind::Waiting, 1.0, Some(3.0), Some(End::GaveUp))]);
}

/// Returns how long this thread has had a processor.
#[cfg(target_os = "linux")]
fn used() -> std::time::Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    std::time::Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_locks_with_a_thousand_waiters_each_are_fast() {
    let before = used();
    let mut board = Board::new(300.0);
    for nth in 0..100_000_u32 {
        let (lock, at) = (format!("lock{}", nth % 100), f64::from(nth) / 1e4);
        let what = joined(&format!("w{nth}"));
        board.apply(&lockbydir_player::Event { at, lock, what });
    }

    assert_eq!(board.cards().map(|card| card.waiting).sum::<usize>(), 100_000);
    // It takes 1 s, unoptimized; if each event walked through the whole queue, minutes.
    let took = used() - before;
    assert!(took.as_secs() < 30, "{took:?}");
}

#[test]
fn a_card_names_the_first_waiters_of_a_long_queue() {
    let mut board = Board::new(300.0);
    let names = |board: &Board| -> Vec<String> {
        let card = board.cards().next().unwrap();
        card.queue.iter().map(|place| place.who.id.clone()).collect()
    };
    for number in 0..50_u32 {
        board.apply(&event(f64::from(number), joined(&format!("{number}"))));
    }

    let first: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(names(&board), first);
    assert_eq!(board.cards().next().unwrap().waiting, 50);

    // Waiters leave from the middle of those who are named, from behind and from before; one comes
    // back.
    for gone in ["5", "30", "0"] {
        board.apply(&event(60.0, left(gone, Why::GaveUp)));
    }
    board.apply(&event(61.0, acquired("1", 1, How::Free)));
    board.apply(&event(62.0, joined("5")));

    let then = [2, 3, 4].into_iter().chain(6..=22).map(|number| number.to_string());
    assert_eq!(names(&board), then.collect::<Vec<_>>());
    assert_eq!(board.cards().next().unwrap().waiting, 47);
    for number in 2..50 {
        board.apply(&event(70.0, left(&number.to_string(), Why::Served)));
    }
    assert_eq!(names(&board), Vec::<String>::new());
    assert_eq!(board.cards().next().unwrap().waiting, 0);
}

#[test]
fn the_last_thousand_quiet_locks_are_kept() {
    let mut board = Board::new(10.0);
    let mut happens = |at: f64, lock: u32, what| {
        board.apply(&lockbydir_player::Event { at, lock: format!("{lock:04}"), what });
    };
    happens(0.0, 0, acquired("a", 1, How::Free));
    for lock in 1..=1500 {
        happens(f64::from(lock), lock, acquired("a", 1, How::Free));
        happens(f64::from(lock), lock, What::Released { by: who("a") });
    }

    board.tick(2000.0);

    let names: Vec<_> = board.cards().map(|card| card.lock.clone()).collect();
    let expected = std::iter::once(0).chain(501..=1500).map(|lock| format!("{lock:04}"));
    assert_eq!(names, expected.collect::<Vec<_>>());
    let forgotten = board.changes().forgotten;
    assert_eq!((forgotten.len(), forgotten[0].as_str()), (500, "0001"));
}

#[test]
fn bare_and_foreign_locks_have_no_holder_until_cleared_or_taken() {
    let mut board = board([(1.0, What::Bare)]);
    assert_eq!((card(&board).state, card(&board).holder.is_some()), (State::Bare, false));

    board.apply(&event(2.0, What::Foreign { why: "it holds `note`".into() }));
    assert_eq!(card(&board).state, State::Foreign);
    assert_eq!(card(&board).note.as_deref(), Some("it holds `note`"));
    board.apply(&event(3.0, What::Cleared));
    assert_eq!((card(&board).state, card(&board).note.is_some()), (State::Free, false));
    board.apply(&event(4.0, acquired("a", 7, How::Free)));
    board.apply(&event(4.1, What::Cleared));

    assert_eq!(card(&board).state, State::Held);
}
