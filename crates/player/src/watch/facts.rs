//! The facts of one lock, in five rows: its name and state, its holder, since when, its time, and who waits.

use lockbydir::printable;
use ratatui::layout::Rect;

use super::paint::Paint;
use super::style::{Tone, state};
use super::words::{clock, how, lane_of, longest_wait, rate, rest, short, unknown_holder, whole};
use crate::board::{Card, State};

/// The width of the bar that shows the time left.
const BAR: u16 = 20;

/// Draws as many of the rows as fit.
pub(super) fn draw(paint: &mut Paint<'_>, area: Rect, card: &Card, now: f64) {
    let draw_row = [draw_title, draw_holder, draw_since, draw_time, draw_waiting];
    for (row, draw_row) in area.rows().zip(draw_row) {
        let row = Rect { x: row.x + 1, width: row.width.saturating_sub(2), ..row };
        draw_row(paint, row, card, now);
    }
}

fn draw_title(paint: &mut Paint<'_>, row: Rect, card: &Card, _now: f64) {
    let (word, tone) = state(card.state);
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
    let (name, gap) = (printable(&card.lock), ("  ", Tone::Plain));
    let pieces = [(&*name, Tone::Strong), gap, (word, tone), gap, (&holdings, Tone::Faint)];
    paint.pieces((row.x, row.y), row.width, &pieces);
}

/// What is foreign, or who holds or held the lock.
fn draw_holder(paint: &mut Paint<'_>, row: Rect, card: &Card, _now: f64) {
    let at = (row.x, row.y);
    match (card.state, &card.holder, unknown_holder(card)) {
        (State::Foreign, _, Some(why)) => {
            let stays = ": nobody can take the lock until that is gone";
            let pieces = [("foreign  ", Tone::Bad), (&*why, Tone::Plain), (stays, Tone::Faint)];
            paint.pieces(at, row.width, &pieces);
        }
        (_, Some(_), _) => draw_named_holder(paint, row, card),
        (_, None, unknown) => {
            let who = unknown.unwrap_or_else(|| "nobody".into());
            paint.pieces(at, row.width, &[("holder   ", Tone::Faint), (&who, Tone::Plain)]);
        }
    }
}

fn draw_named_holder(paint: &mut Paint<'_>, row: Rect, card: &Card) {
    let holder = card.holder.as_ref().map(whole).unwrap_or_default();
    let verb = match card.state {
        State::Held | State::Foreign => "holder   ",
        _ => "was      ",
    };
    paint.pieces((row.x, row.y), row.width, &[(verb, Tone::Faint), (&holder, Tone::Plain)]);
}

/// Since when the lock is held; of a foreign one, its holder, if it has one.
fn draw_since(paint: &mut Paint<'_>, row: Rect, card: &Card, now: f64) {
    if card.state == State::Foreign && card.holder.is_some() {
        return draw_named_holder(paint, row, card);
    }
    let since = card.since.map(|since| {
        let how = card.how.map_or("", how);
        format!("{} ({}), {how}", clock(since, false, paint.look), short(now - since))
    });
    let token = card.token.filter(|_| since.is_some()).map(|token| format!("; token {token}"));
    let (since, token) = (since.unwrap_or_else(|| "-".into()), token.unwrap_or_default());
    let pieces = [("since    ", Tone::Faint), (&*since, Tone::Plain), (&*token, Tone::Faint)];
    paint.pieces((row.x, row.y), row.width, &pieces);
}

fn draw_time(paint: &mut Paint<'_>, row: Rect, card: &Card, now: f64) {
    let x = paint.text((row.x, row.y), row.width, "time     ", Tone::Faint);
    let room = row.right().saturating_sub(x);
    let Some((left, share)) = rest(card, now).filter(|_| card.holder.is_some()) else {
        let (text, tone) = match card.state {
            State::Dead => {
                ("its process is gone: the next one takes the lock over at once", Tone::Bad)
            }
            _ => ("-", Tone::Plain),
        };
        paint.text((x, row.y), room, text, tone);
        return;
    };
    let tone = if share < 0.25 { Tone::Warning } else { Tone::Good };
    paint.bar((x, row.y), BAR.min(row.width), share, tone);
    let timeout = card.expires_at.zip(card.renewed_at).map_or(0.0, |(to, from)| to - from);
    let (text, tone) = match left < 0.0 {
        true => (format!("over for {}; it was {}", short(-left), short(timeout)), Tone::Bad),
        false => {
            let age = short(now - card.renewed_at.unwrap_or(now));
            (format!("{} left of {}; renewed {age} ago", short(left), short(timeout)), Tone::Plain)
        }
    };
    paint.text((x + BAR + 1, row.y), room.saturating_sub(BAR + 1), &text, tone);
}

fn draw_waiting(paint: &mut Paint<'_>, row: Rect, card: &Card, now: f64) {
    let waiting = match (card.queue.first(), longest_wait(card, now)) {
        (Some(first), Some(longest)) => {
            let who = lane_of(&first.who);
            format!("{} in the queue, the first for {}: {who}", card.waiting, short(longest))
        }
        _ => "nobody".into(),
    };
    let pieces = [("waiting  ", Tone::Faint), (&*waiting, Tone::Plain)];
    paint.pieces((row.x, row.y), row.width, &pieces);
}
