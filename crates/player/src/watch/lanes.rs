//! One lock: its facts, and the lane of each contender over time.

use lockbydir::printable;
use ratatui::layout::Rect;
use ratatui::text::Span as Text;

use super::chart::{LEGEND, Stretch};
use super::paint::Paint;
use super::style::{Tone, state};
use super::view::View;
use super::window::HISTORY;
use super::words::{clock, how, lane_of, longest_wait, rate, rest, short, unknown_holder, whole};
use crate::board::{Board, Card, Lane, State};

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
    let facts = if is_high { FACTS } else { 1 };
    draw_facts(paint, Rect { height: facts, ..area }, card, board.now());
    let legend = u16::from(is_high);
    let height = area.height.saturating_sub(facts + legend);
    let chart = Rect { y: area.y + facts, height, ..area };
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

fn draw_facts(paint: &mut Paint<'_>, area: Rect, card: &Card, now: f64) {
    let width = area.width.saturating_sub(2);
    let (word, tone) = state(card.state);
    let name = printable(&card.lock);
    let mut rows = area.rows().map(|row| (row.x + 1, row.y));
    let mut next = |pieces: &[(&str, Tone)]| {
        if let Some(at) = rows.next() {
            paint.pieces(at, width, pieces);
        }
    };
    let unseen = match card.missed {
        0 => String::new(),
        missed => format!(", {missed} of them too fast to be seen"),
    };
    let plural = if card.holdings == 1 { "" } else { "s" };
    let a_second = match card.a_second {
        0.0 => String::new(),
        a_second => format!(", {} a second", rate(a_second)),
    };
    let holdings = format!("{} holding{plural}{unseen}{a_second}", card.holdings);
    let gap = ("  ", Tone::Plain);
    next(&[(&name, Tone::Strong), gap, (word, tone), gap, (&holdings, Tone::Faint)]);
    let verb = match card.state {
        State::Held | State::Foreign => "holder   ",
        _ => "was      ",
    };
    let holder = card.holder.as_ref().map(whole);
    match (card.state, &holder, unknown_holder(card)) {
        (State::Foreign, _, Some(why)) => {
            let stays = ": nobody can take the lock until that is gone";
            next(&[("foreign  ", Tone::Bad), (&why, Tone::Plain), (stays, Tone::Faint)]);
        }
        (_, Some(holder), _) => next(&[(verb, Tone::Faint), (holder, Tone::Plain)]),
        (_, None, why) => {
            let who = why.map_or_else(|| "nobody".into(), |why| format!("unknown: {why}"));
            next(&[("holder   ", Tone::Faint), (&who, Tone::Plain)]);
        }
    }
    let since = card.since.map(|since| {
        let how = card.how.map_or("", how);
        format!("{} ({}), {how}", clock(since, false, paint.look), short(now - since))
    });
    let token = card.token.map(|token| format!("; token {token}")).unwrap_or_default();
    let mut next = |pieces: &[(&str, Tone)]| {
        if let Some(at) = rows.next() {
            paint.pieces(at, width, pieces);
        }
    };
    match (since, &holder) {
        (_, Some(holder)) if card.state == State::Foreign => {
            next(&[(verb, Tone::Faint), (holder, Tone::Plain)]);
        }
        (Some(since), _) => {
            next(&[("since    ", Tone::Faint), (&since, Tone::Plain), (&token, Tone::Faint)])
        }
        (None, _) => next(&[("since    ", Tone::Faint), ("-", Tone::Plain)]),
    }
    let waiting = match (card.queue.first(), longest_wait(card, now)) {
        (Some(first), Some(longest)) => {
            let who = lane_of(&first.who);
            format!("{} in the queue, the first for {}: {who}", card.waiting, short(longest))
        }
        _ => "nobody".into(),
    };
    let time = rest(card, now).filter(|_| card.holder.is_some());
    let timeout = card.expires_at.zip(card.renewed_at).map_or(0.0, |(to, from)| to - from);
    if let Some((x, y)) = rows.next() {
        let x = paint.text((x, y), width, "time     ", Tone::Faint);
        match time {
            Some((left, share)) => {
                paint.bar(
                    (x, y),
                    20.min(width),
                    share,
                    if share < 0.25 { Tone::Warning } else { Tone::Good },
                );
                let age = short(now - card.renewed_at.unwrap_or(now));
                let text = match left < 0.0 {
                    true => format!("over for {}; it was {}", short(-left), short(timeout)),
                    false => {
                        format!("{} left of {}; renewed {age} ago", short(left), short(timeout))
                    }
                };
                let tone = if left < 0.0 { Tone::Bad } else { Tone::Plain };
                paint.text((x + 21, y), area.right().saturating_sub(x + 22), &text, tone);
            }
            None if card.state == State::Dead => {
                let text = "its process is gone: the next one takes the lock over at once";
                paint.text((x, y), area.right().saturating_sub(x + 1), text, Tone::Bad);
            }
            None => drop(paint.text((x, y), width, "-", Tone::Plain)),
        }
    }
    if let Some(at) = rows.next() {
        paint.pieces(at, width, &[("waiting  ", Tone::Faint), (&*waiting, Tone::Plain)]);
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
