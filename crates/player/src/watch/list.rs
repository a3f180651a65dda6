//! All locks, one per row; locks in trouble come first.

use lockbydir::printable;
use ratatui::layout::Rect;

use super::paint::Paint;
use super::rows::{rows, waits_long};
use super::style::{Tone, state};
use super::view::View;
use super::words::{brief, longest_wait, rate, rest, short, unknown_holder};
use crate::board::{Board, Card};

/// The least width with room for rates.
const WIDE: u16 = 70;
/// The least width with room for bars.
const WIDER: u16 = 90;

/// The columns: where each begins, and how wide those are that are cut.
struct Columns {
    name: (u16, u16),
    state: u16,
    holder: (u16, u16),
    /// Where the bar begins, and its width.
    bar: Option<(u16, u16)>,
    left: u16,
    waiters: u16,
    longest: u16,
    rate: Option<u16>,
}

impl Columns {
    fn of(area: Rect) -> Columns {
        let bar = (area.width >= WIDER).then_some((area.width / 10).min(20));
        let is_wide = area.width >= WIDE;
        let fixed = 2 + 10 + 7 + 8 + 8 + bar.map_or(0, |bar| bar + 1) + if is_wide { 8 } else { 0 };
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
            state: next(10),
            holder: (next(holder), holder.saturating_sub(1)),
            bar: bar.map(|bar| (next(bar + 1), bar)),
            left: next(7),
            waiters: next(8),
            longest: next(8),
            rate: is_wide.then(|| next(8)),
        }
    }
}

/// Draws the title and the rows that fit.
pub(super) fn draw(paint: &mut Paint<'_>, area: Rect, view: &mut View, board: &Board) {
    let columns = Columns::of(area);
    let y = area.y;
    let mut title = |x: u16, width: u16, text: &str| paint.text((x, y), width, text, Tone::Faint);
    title(columns.name.0, columns.name.1, "NAME");
    title(columns.state, 9, "STATE");
    title(columns.holder.0, columns.holder.1, "HOLDER");
    if let Some((x, width)) = columns.bar {
        title(x, width, "TIME");
    }
    paint.right((columns.left, y), 6, "LEFT", Tone::Faint);
    paint.right((columns.waiters, y), 7, "WAITERS", Tone::Faint);
    paint.right((columns.longest, y), 7, "LONGEST", Tone::Faint);
    if let Some(x) = columns.rate {
        paint.right((x, y), 7, "TAKEN/S", Tone::Faint);
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
            true => "no locks yet: a lock appears here when it is taken",
            false => "no lock name contains that",
        };
        paint.text((area.x + 2, area.y + 2), area.width.saturating_sub(2), text, Tone::Faint);
    }
}

fn row(paint: &mut Paint<'_>, columns: &Columns, y: u16, card: &Card, now: f64) {
    let (word, tone) = state(card.state);
    paint.tail((columns.name.0, y), columns.name.1, &printable(&card.lock), Tone::Strong);
    paint.text((columns.state, y), 9, word, tone);
    let holder = unknown_holder(card).or_else(|| card.holder.as_ref().map(brief));
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
        paint.right((columns.waiters, y), 7, &card.waiting.to_string(), tone);
        paint.right((columns.longest, y), 7, &longest, tone);
    }
    if let Some(x) = columns.rate {
        paint.right((x, y), 7, &rate(card.a_second), Tone::Plain);
    }
}
