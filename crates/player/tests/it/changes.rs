//! Tests of the changes that a board reports to remote viewers.

use std::collections::BTreeMap;

use lockbydir_player::{Board, Changes, Event, How, Kind, Span, What, Why};

use crate::{acquired, event, joined, left, who};

/// A viewer that knows a board by its changes alone.
#[derive(Default)]
struct Reader(BTreeMap<u64, (u64, Vec<Span>)>);

impl Reader {
    fn take(&mut self, changes: &Changes) {
        for lane in &changes.lanes {
            let (start, spans) =
                self.0.entry(lane.number).or_insert_with(|| (lane.start, Vec::new()));
            spans.truncate(usize::try_from(lane.start - *start).unwrap());
            spans.extend(lane.spans.iter().cloned());
        }
        for number in &changes.gone {
            self.0.remove(number);
        }
    }

    /// Checks that it knows each lane up to its end, though perhaps more of its past than the board
    /// still has.
    #[track_caller]
    fn knows(&self, board: &Board) {
        let all = board.all();
        assert_eq!(self.0.len(), all.lanes.len());
        for lane in &all.lanes {
            let (start, spans) = &self.0[&lane.number];
            let known = &spans[usize::try_from(lane.start - start).unwrap()..];
            assert!(known.iter().eq(&lane.spans), "{known:?}\n{:?}", lane.spans);
        }
    }
}

/// Returns a long history: two contenders take turns, a third waits in vain, and some holdings
/// expire and are renewed after all.
fn a_long_story() -> Vec<Event> {
    let mut events = Vec::new();
    for turn in 0..200_u32 {
        let at = f64::from(turn) * 10.0;
        let (one, two) = if turn % 2 == 0 { ("a", "b") } else { ("b", "a") };
        events.extend([
            event(at, acquired(one, turn.into(), How::Free)),
            event(at + 1.0, joined(two)),
            event(at + 2.0, joined("c")),
            event(at + 3.0, What::Renewed { by: who(one), times: Some(2), timeout_s: 10.0 }),
            event(at + 4.0, left("c", Why::GaveUp)),
        ]);
        if turn % 7 == 0 {
            let renewed = What::Renewed { by: who(one), times: None, timeout_s: 10.0 };
            events.extend([
                event(at + 5.0, What::Expired { by: who(one) }),
                event(at + 6.0, renewed),
            ]);
        }
        if turn % 5 == 0 {
            events.push(event(at + 8.0, What::Died { by: who(one) }));
        } else {
            events.push(event(at + 8.0, What::Released { by: who(one) }));
        }
    }
    events
}

#[test]
fn a_viewer_of_all_changes_knows_the_whole_board() {
    let mut board = Board::new(300.0);
    let mut reader = Reader::default();

    for (count, event) in a_long_story().iter().enumerate() {
        board.apply(event);
        board.tick(event.at);
        // Not after each event, like a viewer that draws less often than events happen.
        if count % 3 == 0 {
            reader.take(&board.changes());
            reader.knows(&board);
        }
    }
}

#[test]
fn a_change_has_only_the_changed_spans_of_a_lane() {
    let mut board = Board::new(1e6);
    for event in a_long_story() {
        board.apply(&event);
    }
    let before = board.changes();
    assert!(before.lanes.iter().all(|lane| lane.start == 0), "all is new");

    board.apply(&event(3000.0, joined("c")));
    let changes = board.changes();

    let [lane] = changes.lanes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(lane.spans.len(), 1);
    assert_eq!(lane.spans[0].kind, Kind::Waiting);
    assert_eq!(lane.start, 200, "after 200 waits in vain");
    assert!(board.changes().is_empty());
}

#[test]
fn after_forgetting_changes_only_later_ones_are_reported() {
    let mut board = Board::new(1e6);
    for event in a_long_story() {
        board.apply(&event);
    }

    board.forget_changes();
    board.apply(&event(3000.0, joined("c")));
    let changes = board.changes();

    let [lane] = changes.lanes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((lane.start, lane.spans.len()), (200, 1));
}

#[test]
fn ended_lanes_and_spans_are_limited() {
    let mut board = Board::new(1e9);

    for number in 0..3000_u32 {
        let (at, id) = (f64::from(number), format!("{number}"));
        board.apply(&event(at, acquired(&id, number.into(), How::Free)));
        board.apply(&event(at, joined("waits for ever")));
        board.apply(&event(at, left("waits for ever", Why::GaveUp)));
        board.apply(&event(at, What::Released { by: who(&id) }));
        board.tick(at);
    }
    board.apply(&event(3000.0, joined("waits for ever")));
    board.tick(3002.0);

    let lanes = board.lanes("jobs");
    let spans: usize = lanes.iter().map(|lane| lane.spans.len()).sum();
    assert_eq!((lanes.len(), spans), (1000, 2000 + 999));
    let last = lanes.iter().find(|lane| lane.who.id == "waits for ever").unwrap();
    assert!(last.spans.back().unwrap().to.is_none(), "an open span stays");
}
