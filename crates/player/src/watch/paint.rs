//! Drawing on a buffer: text that is cut to its width, bars, boxes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::Span;

use super::style::{Look, Tone};

/// A buffer to draw on, and the look of what is drawn.
pub(super) struct Paint<'a> {
    pub(super) buffer: &'a mut Buffer,
    pub(super) look: &'a Look,
}

impl Paint<'_> {
    /// Writes text, cut to `width` with `…` at its end. Returns the column after it.
    pub(super) fn text(&mut self, (x, y): (u16, u16), width: u16, text: &str, tone: Tone) -> u16 {
        if width == 0 || !self.buffer.area.contains((x, y).into()) {
            return x;
        }
        let style = self.look.style(tone);
        let is_cut = Span::raw(text).width() > usize::from(width);
        let room = usize::from(if is_cut { width - 1 } else { width });
        let (mut end, _) = self.buffer.set_stringn(x, y, text, room, style);
        if is_cut {
            (end, _) = self.buffer.set_stringn(end, y, "…", 1, style);
        }
        end
    }

    /// Writes text whose end matters most, cut to `width` with `…` at its beginning.
    pub(super) fn tail(&mut self, at: (u16, u16), width: u16, text: &str, tone: Tone) {
        let fits = |text: &str| Span::raw(text).width() <= usize::from(width);
        let mut cut = text.to_owned();
        let mut rest = text.chars();
        while !fits(&cut) && rest.next().is_some() {
            cut = format!("…{}", rest.as_str());
        }
        self.text(at, width, &cut, tone);
    }

    /// Writes text that is aligned to the right.
    pub(super) fn right(&mut self, (x, y): (u16, u16), width: u16, text: &str, tone: Tone) {
        let wide = u16::try_from(Span::raw(text).width()).unwrap_or(width).min(width);
        self.text((x + width - wide, y), wide, text, tone);
    }

    /// Writes pieces of text after each other, cut to `width` together.
    pub(super) fn pieces(
        &mut self,
        (x, y): (u16, u16),
        width: u16,
        pieces: &[(&str, Tone)],
    ) -> u16 {
        let end = x + width;
        pieces
            .iter()
            .fold(x, |x, (text, tone)| self.text((x, y), end.saturating_sub(x), text, *tone))
    }

    /// Draws a bar of which `share` is full.
    pub(super) fn bar(&mut self, (x, y): (u16, u16), width: u16, share: f64, tone: Tone) {
        let halves = (share * f64::from(width) * 2.0).round() as u16;
        let (full, half) = (halves / 2, halves % 2);
        let text = "█".repeat(full.into()) + if half > 0 { "▌" } else { "" };
        let rest = "░".repeat(usize::from(width - full - half));
        let x = self.text((x, y), width, &text, tone);
        self.text((x, y), width, &rest, Tone::Faint);
    }

    /// Draws a horizontal line.
    pub(super) fn rule(&mut self, area: Rect) {
        let line = "─".repeat(area.width.into());
        self.text((area.x, area.y), area.width, &line, Tone::Faint);
    }

    /// Marks a row as chosen.
    pub(super) fn choose(&mut self, area: Rect) {
        let style = self.look.style(Tone::Plain).add_modifier(Modifier::REVERSED);
        self.buffer.set_style(area, style);
    }

    /// Draws an empty box with a frame and a title; returns the area within.
    pub(super) fn framed(&mut self, area: Rect, title: &str) -> Rect {
        for y in area.y..area.bottom() {
            let (left, fill, right) = match y {
                y if y == area.y => ("┌", "─", "┐"),
                y if y + 1 == area.bottom() => ("└", "─", "┘"),
                _ => ("│", " ", "│"),
            };
            let line = left.to_owned() + &fill.repeat(usize::from(area.width) - 2) + right;
            self.text((area.x, y), area.width, &line, Tone::Plain);
            let row = Rect { y, height: 1, ..area };
            self.buffer.set_style(row, ratatui::style::Style::reset());
        }
        self.text((area.x + 2, area.y), area.width - 4, title, Tone::Strong);
        Rect { x: area.x + 2, y: area.y + 1, width: area.width - 4, height: area.height - 2 }
    }
}

/// Breaks text into lines of this width.
pub(super) fn wrapped(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(1));
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if !line.is_empty() && Span::raw(&**line).width() + 1 + Span::raw(word).width() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
