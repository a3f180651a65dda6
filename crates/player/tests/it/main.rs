//! Tests of the board that follows from events, and of what is shown of it.

#![allow(missing_docs, reason = "test names are sentences")]

mod board;
mod board_past;
mod changes;
mod frames;
mod serve;
mod terminal;

use lockbydir_player::{Board, Contender, Event, How, What, Why};

/// Returns a contender with this id.
pub(crate) fn who(id: &str) -> Contender {
    Contender {
        id: id.into(),
        host: "web1".into(),
        pid: Some(4242),
        command: Some("backup.sh".into()),
        label: None,
        since: None,
    }
}

pub(crate) fn event(at: f64, what: What) -> Event {
    Event { at, lock: "jobs".into(), what }
}

/// Returns a board to which these events were applied in order.
pub(crate) fn board(events: impl IntoIterator<Item = (f64, What)>) -> Board {
    let mut board = Board::new(300.0);
    for (at, what) in events {
        board.apply(&event(at, what));
        board.tick(at);
    }
    board
}

pub(crate) fn joined(id: &str) -> What {
    What::Joined { by: who(id) }
}

pub(crate) fn left(id: &str, why: Why) -> What {
    What::Left { by: who(id), why, ago_s: 0.0 }
}

/// Returns an acquisition with a timeout of ten seconds.
pub(crate) fn acquired(id: &str, token: u64, how: How) -> What {
    What::Acquired { by: who(id), token, timeout_s: 10.0, remaining_s: 10.0, how }
}

pub(crate) fn renewed(id: &str, times: u32) -> What {
    What::Renewed { by: who(id), times: Some(times), timeout_s: 10.0 }
}
