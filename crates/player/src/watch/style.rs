//! The look: tones as colours or, without colours, as plain characters. Marks also differ without
//! colours, and all of them exist on the text console of a machine without a desktop.

use jiff::tz::TimeZone;
use ratatui::style::{Color, Modifier, Style};

use crate::board::State;

/// The settings of the look, which do not depend on the board.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) has_colours: bool,
    pub(super) zone: TimeZone,
}

/// The meaning of a text, from which its colour follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Faint,
    Strong,
    Good,
    Held,
    Warning,
    Bad,
}

impl Look {
    /// Reads the look from the environment: `NO_COLOR` and the time zone.
    pub(super) fn of_environment() -> Look {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Look { has_colours: !is_plain, zone: TimeZone::system() }
    }

    pub(super) fn style(&self, tone: Tone) -> Style {
        let (colour, modifier) = match tone {
            Tone::Plain => (None, Modifier::empty()),
            Tone::Faint => (Some(Color::DarkGray), Modifier::empty()),
            Tone::Strong => (None, Modifier::BOLD),
            Tone::Good => (Some(Color::Green), Modifier::empty()),
            Tone::Held => (Some(Color::Cyan), Modifier::empty()),
            Tone::Warning => (Some(Color::Yellow), Modifier::empty()),
            Tone::Bad => (Some(Color::Red), Modifier::BOLD),
        };
        let style = Style::new().add_modifier(modifier);
        match colour.filter(|_| self.has_colours) {
            Some(colour) => style.fg(colour),
            None => style,
        }
    }
}

/// Returns the mark and word of a state, and its tone.
pub(super) fn state(state: State) -> (&'static str, Tone) {
    match state {
        State::Free => ("○ free", Tone::Good),
        State::Held => ("● held", Tone::Held),
        State::Expired => ("! expired", Tone::Bad),
        State::Dead => ("x dead", Tone::Bad),
        State::Bare => ("■ bare", Tone::Held),
        State::Foreign => ("?foreign", Tone::Bad),
    }
}
