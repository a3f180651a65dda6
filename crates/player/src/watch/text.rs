//! A frame as text, with colours for terminals or without.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

/// Returns its lines, without trailing blanks.
pub(super) fn lines(buffer: &Buffer, has_colours: bool) -> String {
    let mut text = String::new();
    for y in buffer.area.y..buffer.area.bottom() {
        let (mut line, mut style, mut covered) = (String::new(), Style::reset(), 0);
        let mut solid = 0;
        for x in buffer.area.x..buffer.area.right() {
            let cell = &buffer[(x, y)];
            // The cells that a wide character covers after its first one hold no character.
            if covered > 0 {
                covered -= 1;
                continue;
            }
            covered = Span::raw(cell.symbol()).width().saturating_sub(1);
            if has_colours && cell.style() != style {
                style = cell.style();
                line.push_str(&code(style));
            }
            line.push_str(cell.symbol());
            if cell.symbol() != " " {
                solid = line.len();
            }
        }
        line.truncate(solid);
        text.push_str(&line);
        text.push_str(if has_colours { "\u{1b}[0m\n" } else { "\n" });
    }
    let end = text.trim_end_matches(['\n', ' ']).len();
    text.truncate(end);
    text + "\n"
}

fn code(style: Style) -> String {
    let colour = match style.fg {
        Some(Color::Red) => ";31",
        Some(Color::Green) => ";32",
        Some(Color::Yellow) => ";33",
        Some(Color::Cyan) => ";36",
        Some(Color::DarkGray) => ";90",
        _ => "",
    };
    let has = |modifier| style.add_modifier.contains(modifier);
    let bold = if has(Modifier::BOLD) { ";1" } else { "" };
    let reversed = if has(Modifier::REVERSED) { ";7" } else { "" };
    format!("\u{1b}[0{colour}{bold}{reversed}m")
}
