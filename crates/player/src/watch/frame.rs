//! A whole frame: title at the top, then all locks or one lock, messages, and keys; above all that,
//! a question or the help.

use lockbydir::printable;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::paint::{Paint, wrapped};
use super::rows::troubled;
use super::style::{Look, Tone};
use super::view::{Question, View};
use super::words::{clock, short};
use super::{lanes, list};
use crate::board::{Board, State};

/// The column where messages begin, counted from the left border of the frame; their times are to
/// the left of it.
const SAID: u16 = 12;
/// The smallest width and height that show anything useful.
const MIN_SIZE: (u16, u16) = (40, 8);

const HELP: [(&str, &str); 13] = [
    ("up down PgUp PgDn", "choose a lock; scroll its lanes"),
    ("Enter, Esc", "one lock alone; back to all"),
    ("/", "only those whose names have this"),
    ("+ -", "lanes: less time, more time"),
    ("left right", "lanes: earlier, later"),
    ("space End", "pause; back to live"),
    ("b", "break an expired or dead holder's lock"),
    ("B", "break the lock, whoever holds it"),
    ("q Ctrl-C", "quit"),
    ("Ctrl-Z Ctrl-L", "suspend; draw anew"),
    ("TIME LEFT", "from renewal to timeout"),
    ("WAITERS LONGEST", "how many wait; how long the first has waited"),
    ("TAKEN/S", "acquisitions per second"),
];

pub(super) fn draw(buffer: &mut Buffer, area: Rect, view: &mut View, board: &Board, look: &Look) {
    let mut paint = Paint { buffer, look };
    let (width, height) = MIN_SIZE;
    if area.width < width || area.height < height {
        let text = format!("{}x{} is too small; {width}x{height} will do", area.width, area.height);
        for (line, row) in wrapped(&text, area.width).iter().zip(area.rows()) {
            paint.text((row.x, row.y), row.width, line, Tone::Plain);
        }
        return;
    }
    let said = said(board, area);
    let said_height = u16::try_from(said.len()).map_or(0, |lines| lines + u16::from(lines > 0));
    let row = |y: u16| Rect { y, height: 1, ..area };
    header(&mut paint, row(area.y), view, board);
    let body = Rect { y: area.y + 1, height: area.height - 2 - said_height, ..area };
    match view.opened {
        Some(_) => lanes::draw(&mut paint, body, view, board),
        None => list::draw(&mut paint, body, view, board),
    }
    if !said.is_empty() {
        draw_said(&mut paint, Rect { y: body.bottom(), height: said_height, ..area }, &said);
    }
    if !view.is_still {
        footer(&mut paint, row(area.bottom() - 1), view);
    }
    if let Some(question) = view.question.clone() {
        ask(&mut paint, area, &question);
    } else if view.has_help {
        help(&mut paint, area);
    }
}

fn header(paint: &mut Paint<'_>, area: Rect, view: &View, board: &Board) {
    let time = match (view.is_over, view.window.is_paused()) {
        (true, is_paused) => {
            let paused = if is_paused { "paused; " } else { "" };
            format!("{paused}over at {}", clock(board.now(), false, paint.look))
        }
        (_, true) => "paused".into(),
        _ => clock(board.now(), false, paint.look),
    };
    let room = area.width.saturating_sub(u16::try_from(time.len()).unwrap_or(0) + 3);
    let (all, troubled) = (board.cards().count(), troubled(board));
    let title = printable(&view.title);
    let locks = format!("  {all} lock{}", if all == 1 { "" } else { "s" });
    let mut trouble = if troubled > 0 { format!(", {troubled} in trouble") } else { String::new() };
    if board.is_away() {
        trouble += ", etcd servers unreachable";
    }
    let filter = if view.filter.is_empty() && !view.is_typing {
        String::new()
    } else {
        format!("  /{}{}", printable(&view.filter), if view.is_typing { "_" } else { "" })
    };
    paint.pieces(
        (area.x + 1, area.y),
        room,
        &[
            (&title, Tone::Strong),
            (&locks, Tone::Faint),
            (&trouble, Tone::Bad),
            (&filter, Tone::Held),
        ],
    );
    paint.right((area.x, area.y), area.width - 1, &time, Tone::Faint);
}

fn footer(paint: &mut Paint<'_>, area: Rect, view: &View) {
    let at = (area.x + 1, area.y);
    let width = area.width - 2;
    if let Some(message) = &view.message {
        paint.text(at, width, &printable(message), Tone::Strong);
        return;
    }
    let zoom = format!("1 column = {}", short(view.window.step()));
    let keys: &[(&str, &str)] = if view.is_typing {
        &[("Enter", "keep"), ("Esc", "show all")]
    } else if view.opened.is_some() {
        let pause = if view.window.is_paused() { "resume" } else { "pause" };
        &[
            ("Esc", "all"),
            ("space", pause),
            ("←→", "time"),
            ("+-", &zoom),
            ("b", "break"),
            ("h", "help"),
            ("q", "quit"),
        ]
    } else {
        &[
            ("↑↓", "choose"),
            ("Enter", "open"),
            ("/", "filter"),
            ("b", "break"),
            ("h", "help"),
            ("q", "quit"),
        ]
    };
    let keys = keys.iter().filter(|(key, _)| view.can_break || *key != "b");
    let mut x = at.0;
    for (key, word) in keys {
        let pieces =
            [(*key, Tone::Strong), (" ", Tone::Plain), (*word, Tone::Faint), ("  ", Tone::Plain)];
        x = paint.pieces((x, at.1), area.right().saturating_sub(x), &pieces);
    }
}

/// Returns the last messages as lines, the newest first; only the first line of each message has
/// its time. They have a third of the height at most, and no more than they need.
fn said(board: &Board, area: Rect) -> Vec<(Option<f64>, String)> {
    let newest = board.said().iter().rev();
    let lines = newest.flat_map(|(at, text)| {
        let lines = wrapped(&printable(text), area.width.saturating_sub(SAID));
        let times = std::iter::once(Some(*at)).chain(std::iter::repeat(None));
        let lines: Vec<_> = times.zip(lines).collect();
        lines.into_iter().rev()
    });
    lines.take(usize::from(area.height / 3).saturating_sub(1)).collect()
}

fn draw_said(paint: &mut Paint<'_>, area: Rect, lines: &[(Option<f64>, String)]) {
    paint.rule(area);
    let rows: Vec<Rect> = area.rows().skip(1).collect();
    for (row, (at, line)) in rows.into_iter().rev().zip(lines) {
        if let Some(at) = at {
            paint.text((row.x + 1, row.y), 8, &clock(*at, false, paint.look), Tone::Faint);
        }
        paint.text((row.x + SAID - 1, row.y), row.width.saturating_sub(SAID), line, Tone::Plain);
    }
}

/// Returns a centered area of this size.
fn middle(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    let (x, y) = ((area.width - width) / 2, (area.height - height) / 2);
    Rect { x: area.x + x, y: area.y + y, width, height }
}

fn ask(paint: &mut Paint<'_>, area: Rect, question: &Question) {
    let Question { lock, holder, state, by_force, .. } = question;
    let text = match state {
        State::Held => format!(
            "{holder} holds it and lives: until its next renewal fails, two may believe that they hold it."
        ),
        State::Bare if *by_force => {
            "A plain mkdir lock: its holder is unknown, and may still be at work.".into()
        }
        State::Bare => "A plain mkdir lock: broken if it is old; its holder is unknown.".into(),
        _ => format!("{holder} held it, and let it expire or died. Its work may be half done."),
    };
    let width = area.width.min(66);
    let mut lines = wrapped(&text, width - 4);
    lines.truncate(usize::from(area.height.saturating_sub(4)));
    let height = u16::try_from(lines.len()).unwrap_or(1) + 4;
    let is_forced = *by_force && matches!(state, State::Held | State::Bare);
    let title = format!(" Break {}{}? ", printable(lock), if is_forced { " by force" } else { "" });
    let within = paint.framed(middle(area, width, height), &title);
    for (line, row) in lines.iter().zip(within.rows()) {
        paint.text((row.x, row.y), row.width, line, Tone::Plain);
    }
    let keys = [
        ("y", Tone::Strong),
        (" break it   ", Tone::Plain),
        ("n", Tone::Strong),
        (" leave it", Tone::Plain),
    ];
    paint.pieces((within.x, within.bottom() - 1), within.width, &keys);
}

fn help(paint: &mut Paint<'_>, area: Rect) {
    let height = u16::try_from(HELP.len()).unwrap_or(1) + 2;
    let within = paint.framed(middle(area, 68, height), " Keys ");
    for ((key, word), row) in HELP.iter().zip(within.rows()) {
        paint.text((row.x, row.y), 18, key, Tone::Strong);
        paint.text((row.x + 19, row.y), row.width.saturating_sub(19), word, Tone::Plain);
    }
}
