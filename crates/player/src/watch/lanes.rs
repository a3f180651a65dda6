//! One lock: what is known of it, and each contender's lane over time.

use lockbydir::printable;
use ratatui::layout::Rect;
use ratatui::text::Span as Text;

use super::HISTORY;
use super::chart::{LEGEND, Stretch};
use super::paint::Paint;
use super::style::{Tone, state};
use super::view::View;
use super::words::{clock, how, lane_of, longest_wait, odd, rate, rest, short, whole};
use crate::board::{Board, Card, Lane, State};

/// So many rows the facts have.
const FACTS: u16 = 5;
/// As high as this there is room for the facts and the legend.
const HIGH: u16 = 14;

pub(super) fn draw(paint: &mut Paint<'_>, area: Rect, view: &mut View, board: &Board) {
    let Some(card) = board.cards().find(|card| Some(&card.lock) == view.opened.as_ref()) else {
        let text = "nothing is known of this lock yet";
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
    match (card.state, &holder, odd(card)) {
        (State::Foreign, _, Some(why)) => {
            let stays = ": nobody can take the lock until that is gone";
            next(&[("foreign  ", Tone::Bad), (&why, Tone::Plain), (stays, Tone::Faint)]);
        }
        (_, Some(holder), _) => next(&[(verb, Tone::Faint), (holder, Tone::Plain)]),
        (_, None, odd) => {
            let who = odd.map_or_else(|| "nobody".into(), |odd| format!("not known: {odd}"));
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
    let line = match (card.line.first(), longest_wait(card, now)) {
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
        paint.pieces(at, width, &[("waiting  ", Tone::Faint), (&*line, Tone::Plain)]);
    }
}

/// The lanes in their order. As long as all have room they stay where they are; else who holds and
/// who waits comes first, and then who was there last.
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

/// Which time is where, or that only what lasts is still known of it.
fn draw_times(paint: &mut Paint<'_>, (x, y): (u16, u16), stretch: &Stretch, now: f64) {
    if stretch.to() < now - HISTORY {
        let text = format!("what ended then is forgotten: {} are kept", short(HISTORY));
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

/// The window of time that is shown.
#[derive(Debug)]
pub(super) struct Window {
    /// Where in [`STEPS`].
    zoom: usize,
    /// Its right end, unless that is now.
    end: Option<f64>,
    top: usize,
    page: usize,
    /// How wide the widest name was up to now.
    names: u16,
    /// How long it was when it was drawn last, in seconds.
    long: f64,
}

/// Seconds a character.
const STEPS: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

impl Default for Window {
    fn default() -> Window {
        Window { zoom: 5, end: None, top: 0, page: 1, names: 0, long: 1.0 }
    }
}

impl Window {
    fn stretch(&mut self, now: f64, width: u16) -> Stretch {
        let step = STEPS[self.zoom];
        self.long = step * f64::from(width);
        // So that it moves by whole characters.
        let end = (self.end.unwrap_or(now) / step).ceil() * step;
        Stretch { from: end - self.long, step, width }
    }

    fn scrolled(&mut self, lanes: usize, page: usize) -> usize {
        self.page = page;
        self.top = self.top.min(lanes.saturating_sub(page));
        self.top
    }

    /// Room for names, which only grows: else the lanes would jump.
    fn names_as_wide_as(&mut self, widest: usize) -> u16 {
        self.names = self.names.max(u16::try_from(widest).unwrap_or(u16::MAX));
        self.names
    }

    pub(super) fn is_paused(&self) -> bool {
        self.end.is_some()
    }

    /// Seconds a character.
    pub(super) fn step(&self) -> f64 {
        STEPS[self.zoom]
    }

    /// Stands still, or goes on.
    pub(super) fn pause(&mut self, now: f64) {
        self.end = if self.is_paused() { None } else { Some(now) };
    }

    pub(super) fn live(&mut self) {
        self.end = None;
    }

    /// By so many quarters of it, later or earlier.
    pub(super) fn shift(&mut self, quarters: f64, now: f64) {
        let end = self.end.unwrap_or(now) + quarters * self.long / 4.0;
        self.end = (end < now).then_some(end);
    }

    /// More is seen of less time, or less of more.
    pub(super) fn zoom(&mut self, is_in: bool) {
        self.zoom = match is_in {
            true => self.zoom.saturating_sub(1),
            false => (self.zoom + 1).min(STEPS.len() - 1),
        };
    }

    pub(super) fn scroll(&mut self, rows: isize) {
        self.top = self.top.saturating_add_signed(rows);
    }

    pub(super) fn page(&self) -> isize {
        isize::try_from(self.page).unwrap_or(isize::MAX)
    }
}
