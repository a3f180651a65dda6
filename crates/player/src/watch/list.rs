//! All locks, one a row; those that are in trouble come first.

use lockbydir::printable;
use ratatui::layout::Rect;

use super::paint::Paint;
use super::style::{Tone, state};
use super::view::View;
use super::words::{brief, longest_wait, odd, rate, rest, short};
use crate::board::{Board, Card, State};

/// Who waits longer than this waits long, in seconds.
const LONG: f64 = 10.0;
/// As wide as this there is room for bars and rates.
const WIDE: u16 = 70;

/// How bad is it? What is worst comes first.
fn trouble(card: &Card, now: f64) -> u8 {
    match card.state {
        State::Expired | State::Dead | State::Foreign => 0,
        _ if waits_long(card, now) => 1,
        _ => 2,
    }
}

fn waits_long(card: &Card, now: f64) -> bool {
    longest_wait(card, now).is_some_and(|longest| longest > LONG)
}

/// So many locks are in trouble.
pub(super) fn troubled(board: &Board) -> usize {
    board.cards().filter(|card| trouble(card, board.now()) < 2).count()
}

/// The locks that are shown, in their order.
pub(super) fn rows<'a>(board: &'a Board, filter: &str) -> Vec<&'a Card> {
    let filter = filter.to_lowercase();
    let is_shown = |card: &&Card| card.lock.to_lowercase().contains(&filter);
    let mut rows: Vec<&Card> = board.cards().filter(is_shown).collect();
    rows.sort_by_key(|card| trouble(card, board.now()));
    rows
}

/// Where the columns are.
struct Columns {
    name: (u16, u16),
    state: u16,
    holder: (u16, u16),
    /// Where it is, and how wide.
    bar: Option<(u16, u16)>,
    left: u16,
    line: u16,
    rate: Option<u16>,
}

impl Columns {
    fn of(area: Rect) -> Columns {
        let is_wide = area.width >= WIDE;
        let bar = if is_wide { (area.width / 10).min(20) } else { 0 };
        let fixed = 2 + 9 + 7 + 10 + if is_wide { bar + 1 + 6 } else { 0 };
        let open = area.width.saturating_sub(fixed);
        let name = (open * 2 / 5).max(8).min(open);
        let holder = open - name;
        let mut x = area.x + 2;
        let mut next = |width: u16| {
            let here = x;
            x += width;
            here
        };
        Columns {
            name: (next(name), name.saturating_sub(1)),
            state: next(9),
            holder: (next(holder), holder.saturating_sub(1)),
            bar: is_wide.then(|| (next(bar + 1), bar)),
            left: next(7),
            line: next(10),
            rate: is_wide.then(|| next(6)),
        }
    }
}

/// Draws the rows that have room; tells how many have.
pub(super) fn draw(paint: &mut Paint<'_>, area: Rect, view: &mut View, board: &Board) {
    let columns = Columns::of(area);
    let y = area.y;
    let mut title = |x: u16, width: u16, text: &str| paint.text((x, y), width, text, Tone::Faint);
    title(columns.name.0, columns.name.1, "NAME");
    title(columns.state, 8, "STATE");
    title(columns.holder.0, columns.holder.1, "HOLDER");
    if let Some((x, width)) = columns.bar {
        title(x, width, "TIME");
    }
    paint.right((columns.left, y), 6, "LEFT", Tone::Faint);
    paint.right((columns.line, y), 9, "WAITING", Tone::Faint);
    if let Some(x) = columns.rate {
        paint.right((x, y), 5, "PER S", Tone::Faint);
    }

    let rows = rows(board, &view.filter);
    let page = usize::from(area.height.saturating_sub(1));
    let chosen = view.chosen_among(&rows, page);
    for (nth, card) in rows.iter().enumerate().skip(view.top).take(page) {
        let y = area.y + 1 + u16::try_from(nth - view.top).unwrap_or(0);
        row(paint, &columns, y, card, board.now());
        if Some(nth) == chosen && !view.is_still {
            paint.text((area.x, y), 1, "►", Tone::Plain);
            paint.choose(Rect { y, height: 1, ..area });
        }
    }
    if rows.is_empty() {
        let text = match view.filter.is_empty() {
            true => "no locks yet: they appear here as soon as somebody takes one",
            false => "no lock has a name with that in it",
        };
        paint.text((area.x + 2, area.y + 2), area.width.saturating_sub(2), text, Tone::Faint);
    }
}

fn row(paint: &mut Paint<'_>, columns: &Columns, y: u16, card: &Card, now: f64) {
    let (word, tone) = state(card.state);
    paint.tail((columns.name.0, y), columns.name.1, &printable(&card.lock), Tone::Strong);
    paint.text((columns.state, y), 8, word, tone);
    let holder = odd(card).or_else(|| card.holder.as_ref().map(brief));
    if let Some(holder) = holder {
        paint.text((columns.holder.0, y), columns.holder.1, &holder, Tone::Plain);
    }
    if let Some((left, share)) = rest(card, now).filter(|_| card.holder.is_some()) {
        let is_over = left < 0.0;
        let tone = if share < 0.25 { Tone::Warning } else { Tone::Good };
        if let Some((x, width)) = columns.bar {
            paint.bar((x, y), width, share, tone);
        }
        let (text, tone) = match is_over {
            true => (format!("-{}", short(-left)), Tone::Bad),
            false => (short(left), tone),
        };
        paint.right((columns.left, y), 6, &text, tone);
    }
    if card.waiting > 0 {
        let longest = longest_wait(card, now).map(short).unwrap_or_default();
        let tone = if waits_long(card, now) { Tone::Warning } else { Tone::Plain };
        paint.right((columns.line, y), 9, &format!("{} {longest:>5}", card.waiting), tone);
    }
    if let Some(x) = columns.rate {
        paint.right((x, y), 5, &rate(card.a_second), Tone::Plain);
    }
}
