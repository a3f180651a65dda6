//! Which locks are in the list, and in which order: those in trouble come first.

use super::words::longest_wait;
use crate::board::{Board, Card, State};

/// A wait of more than this many seconds counts as long.
const LONG: f64 = 10.0;
/// Returns the rank of a lock in the list: the worst is 0.
fn trouble(card: &Card, now: f64) -> u8 {
    match card.state {
        State::Expired | State::Dead | State::Foreign => 0,
        _ if waits_long(card, now) => 1,
        _ => 2,
    }
}

pub(super) fn waits_long(card: &Card, now: f64) -> bool {
    longest_wait(card, now).is_some_and(|longest| longest > LONG)
}

/// Returns the number of locks in trouble.
pub(super) fn troubled(board: &Board) -> usize {
    board.cards().filter(|card| trouble(card, board.now()) < 2).count()
}

/// Returns the locks that match the filter, in order.
pub(super) fn rows<'a>(board: &'a Board, filter: &str) -> Vec<&'a Card> {
    let filter = filter.to_lowercase();
    let is_shown = |card: &&Card| card.lock.to_lowercase().contains(&filter);
    let mut rows: Vec<&Card> = board.cards().filter(is_shown).collect();
    rows.sort_by_key(|card| trouble(card, board.now()));
    rows
}
