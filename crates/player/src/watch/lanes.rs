//! One lock: its facts, and the lane of each contender over time.

use ratatui::layout::Rect;
use ratatui::text::Span as Text;

use super::chart::{LEGEND, Stretch};
use super::facts;
use super::paint::Paint;
use super::style::Tone;
use super::view::View;
use super::window::HISTORY;
use super::words::{clock, lane_of, short};
use crate::board::{Board, Card, Lane};

/// The number of rows of the facts.
const FACTS: u16 = 5;
/// The least height with room for all facts and the legend.
const HIGH: u16 = 14;

pub(super) fn draw(paint: &mut Paint<'_>, area: Rect, view: &mut View, board: &Board) {
    let Some(card) = board.cards().find(|card| Some(&card.lock) == view.opened.as_ref()) else {
        let text = "no events of this lock yet";
        paint.text((area.x + 1, area.y), area.width.saturating_sub(1), text, Tone::Faint);
        return;
    };
    let is_high = area.height >= HIGH;
    let rows = if is_high { FACTS } else { 1 };
    facts::draw(paint, Rect { height: rows, ..area }, card, board.now());
    let legend = u16::from(is_high);
    let height = area.height.saturating_sub(rows + legend);
    let chart = Rect { y: area.y + rows, height, ..area };
    draw_chart(paint, chart, view, board, card);
    if is_high {
        let y = area.bottom() - 1;
        let mut x = area.x + 1;
        for (mark, word, tone) in LEGEND {
            let pieces = [(&*format!("{mark} "), tone), (word, Tone::Faint), ("  ", Tone::Faint)];
            x = paint.pieces((x, y), area.right().saturating_sub(x), &pieces);
        }
    }
}

/// Returns the lanes in the order in which they are shown. While all fit they keep their places;
/// otherwise the holder is first, then the waiters, then the most recent ones.
fn ordered<'a>(board: &'a Board, card: &Card, page: usize) -> Vec<&'a Lane> {
    let mut lanes = board.lanes(&card.lock);
    if lanes.len() > page {
        let holder = card.holder.as_ref().map(|by| &by.id);
        let key = |lane: &Lane| match lane.spans.back() {
            _ if Some(&lane.who.id) == holder => (0, 0.0),
            Some(span) if span.to.is_none() => (1, span.from),
            last => (2, -last.and_then(|span| span.to).unwrap_or(0.0)),
        };
        lanes.sort_by(|one, two| {
            let (one, two) = (key(one), key(two));
            one.0.cmp(&two.0).then(one.1.total_cmp(&two.1))
        });
    }
    lanes
}

fn draw_chart(paint: &mut Paint<'_>, area: Rect, view: &mut View, board: &Board, card: &Card) {
    if area.height < 2 || area.width < 20 {
        return;
    }
    let page = usize::from(area.height - 1);
    let lanes = ordered(board, card, page);
    let top = view.window.scrolled(lanes.len(), page);
    let seen = lanes.iter().skip(top).take(page);
    let widest = seen.map(|lane| Text::raw(lane_of(&lane.who)).width()).max().unwrap_or(0);
    let names = view.window.names_as_wide_as(widest).clamp(8, area.width / 3);
    let x = area.x + 1 + names + 1;
    let stretch = view.window.stretch(board.now(), area.right().saturating_sub(x + 1));

    let first = (top + 1).min(lanes.len());
    let last = (top + page).min(lanes.len());
    let title = match lanes.len() > page {
        true => format!("{first}-{last} of {}", lanes.len()),
        false => "WHO".into(),
    };
    paint.text((area.x + 1, area.y), names, &title, Tone::Faint);
    draw_times(paint, (x, area.y), &stretch, board.now());
    for (lane, row) in lanes.iter().skip(top).zip(area.rows().skip(1)) {
        paint.text((row.x + 1, row.y), names, &lane_of(&lane.who), Tone::Plain);
        for (x, mark) in (x..).zip(stretch.marks(lane, board.now())) {
            let (sign, tone) = mark.sign();
            paint.text((x, row.y), 1, sign, tone);
        }
    }
}

/// Writes the times of day above the lanes, or, for times before the kept history, that only what
/// still lasts is known.
fn draw_times(paint: &mut Paint<'_>, (x, y): (u16, u16), stretch: &Stretch, now: f64) {
    if stretch.to() < now - HISTORY {
        let text = format!("older events are dropped: {} are kept", short(HISTORY));
        paint.text((x, y), stretch.width, &text, Tone::Warning);
        return;
    }
    for (at, moment) in stretch.ticks() {
        let has_tenths = stretch.tick() < 1.0;
        let text = format!("|{}", clock(moment, has_tenths, paint.look));
        let room = stretch.width.saturating_sub(at);
        if usize::from(room) >= text.len() {
            paint.text((x + at, y), room, &text, Tone::Faint);
        }
    }
}
