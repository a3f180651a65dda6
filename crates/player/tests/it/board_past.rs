//! Tests of the board: what happened before anybody looked, and what ends it.

use lockbydir_player::{End, How, Kind, State, What, Why};

use crate::board::{card, spans};
use crate::{acquired, board, event, joined, renewed, who};

#[test]
fn an_expiry_before_the_observation_is_dated_by_its_timeout() {
    let by = lockbydir_player::Contender { since: Some(40.0), ..who("a") };
    // Renewed at 60, for ten seconds; observed since 100.
    let held = What::Acquired {
        by: by.clone(),
        token: 7,
        timeout_s: 10.0,
        remaining_s: -30.0,
        how: How::Before,
    };

    let board = board([(100.0, held), (100.0, What::Expired { by })]);

    let seen = spans(&board, "a");
    let kinds: Vec<_> = seen.iter().map(|(kind, from, to, _)| (*kind, *from, *to)).collect();
    assert_eq!(
        kinds,
        [
            (Kind::Holding, 40.0, Some(60.0)),
            (Kind::Forgotten, 60.0, Some(70.0)),
            (Kind::Expired, 70.0, None)
        ]
    );
}

#[test]
fn an_expiry_seen_late_is_dated_by_its_timeout() {
    let board = board([(1.0, acquired("a", 7, How::Free)), (11.2, What::Expired { by: who("a") })]);

    assert_eq!(spans(&board, "a").last().unwrap(), &(Kind::Expired, 11.0, None, None));
}

#[test]
fn a_death_before_the_observation_has_no_known_time() {
    let by = lockbydir_player::Contender { since: Some(40.0), ..who("a") };
    let held = What::Acquired {
        by: by.clone(),
        token: 7,
        timeout_s: 50.0,
        remaining_s: 10.0,
        how: How::Before,
    };

    let board = board([(100.0, held), (100.0, What::Died { by })]);

    let known =
        [(Kind::Holding, 40.0, Some(60.0), Some(End::Died)), (Kind::Dead, 100.0, None, None)];
    assert_eq!(spans(&board, "a"), known);
    assert_eq!(card(&board).expires_at, None, "nobody waits for the timeout");
}

#[test]
fn a_wait_ends_when_the_waiter_gave_up() {
    let left = What::Left { by: who("a"), why: Why::GaveUp, ago_s: 1.5 };
    let board = board([(1.0, joined("a")), (4.0, left)]);

    assert_eq!(spans(&board, "a"), [(Kind::Waiting, 1.0, Some(2.5), Some(End::GaveUp))]);
}

#[test]
fn a_foreign_lock_stays_foreign_until_cleared() {
    let foreign = What::Foreign { why: "it holds `note`".into() };
    let mut board = board([(1.0, acquired("a", 7, How::Free)), (2.0, foreign)]);

    board.apply(&event(3.0, renewed("a", 1)));
    assert_eq!(card(&board).state, State::Foreign);
    assert_eq!(card(&board).holder.as_ref().map(|by| &*by.id), Some("a"));
    board.apply(&event(4.0, What::Cleared));
    assert_eq!((card(&board).state, &card(&board).note), (State::Held, &None));
    board.apply(&event(5.0, What::Foreign { why: "it holds `note`".into() }));
    board.apply(&event(6.0, What::Released { by: who("a") }));
    assert_eq!((card(&board).state, card(&board).holder.is_none()), (State::Foreign, true));
    board.apply(&event(7.0, What::Cleared));
    assert_eq!(card(&board).state, State::Free);
}
