//! A lane as a row of characters: the history of one contender.

use crate::board::{End, Kind, Lane};

use super::style::Tone;

/// The marks and their meanings.
pub(super) const LEGEND: [(char, &str, Tone); 8] = [
    ('░', "waits", Tone::Faint),
    ('█', "holds", Tone::Good),
    ('▒', "forgotten", Tone::Warning),
    ('!', "expired", Tone::Bad),
    ('x', "dead", Tone::Bad),
    ('○', "gave up", Tone::Warning),
    ('X', "died", Tone::Bad),
    ('◌', "gone", Tone::Warning),
];

/// One character of a lane. Where several marks apply, the greatest is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    #[default]
    Nothing,
    Waits,
    /// It held the lock for less than half of that time.
    HoldsBriefly,
    Holds,
    Forgotten,
    Dead,
    Expired,
    GaveUp,
    Gone,
    Died,
}

impl Mark {
    pub(super) fn sign(self) -> (&'static str, Tone) {
        match self {
            Mark::Nothing => (" ", Tone::Plain),
            Mark::Waits => ("░", Tone::Faint),
            Mark::HoldsBriefly => ("▌", Tone::Good),
            Mark::Holds => ("█", Tone::Good),
            Mark::Forgotten => ("▒", Tone::Warning),
            Mark::Dead => ("x", Tone::Bad),
            Mark::Expired => ("!", Tone::Bad),
            Mark::GaveUp => ("○", Tone::Warning),
            Mark::Gone => ("◌", Tone::Warning),
            Mark::Died => ("X", Tone::Bad),
        }
    }
}

/// A period of time, drawn in `width` characters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) from: f64,
    /// Seconds per character.
    pub(super) step: f64,
    pub(super) width: u16,
}

impl Stretch {
    pub(super) fn to(&self) -> f64 {
        self.from + self.step * f64::from(self.width)
    }

    /// Returns the position of a moment in characters; it may be before the first or after the
    /// last.
    fn at(&self, moment: f64) -> f64 {
        (moment - self.from) / self.step
    }

    /// Returns the marks of a lane in this period. An open span lasts until `now`.
    pub(super) fn marks(&self, lane: &Lane, now: f64) -> Vec<Mark> {
        let mut marks = vec![Mark::Nothing; self.width.into()];
        let mut held = vec![0.0; self.width.into()];
        for span in &lane.spans {
            let end = span.to.unwrap_or(now);
            if end < self.from || span.from >= self.to() {
                continue;
            }
            let (from, to) = (self.at(span.from), self.at(end.max(span.from)));
            let first = from.max(0.0) as usize;
            let last = (to.ceil() as usize).saturating_sub(1).max(first);
            for at in first..=last.min(marks.len() - 1) {
                let mark = match span.kind {
                    Kind::Waiting => Mark::Waits,
                    Kind::Holding => {
                        held[at] += to.min(at as f64 + 1.0) - from.max(at as f64);
                        if held[at] < 0.5 { Mark::HoldsBriefly } else { Mark::Holds }
                    }
                    Kind::Forgotten => Mark::Forgotten,
                    Kind::Expired => Mark::Expired,
                    Kind::Dead => Mark::Dead,
                };
                marks[at] = marks[at].max(mark);
            }
            let ended = match span.end {
                Some(End::GaveUp) => Mark::GaveUp,
                Some(End::Gone) => Mark::Gone,
                Some(End::Died) if span.kind == Kind::Waiting => Mark::Died,
                _ => continue,
            };
            if let Some(mark) = marks.get_mut(last) {
                *mark = (*mark).max(ended);
            }
        }
        marks
    }

    /// Returns where times of day are written, and which: `(character, moment)`.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (u16, f64)> {
        let apart = self.tick();
        let first = (self.from / apart).ceil();
        let ticks = (0..u16::MAX).map(move |nth| (first + f64::from(nth)) * apart);
        let to = self.to();
        ticks.take_while(move |at| *at < to).map(|at| (self.at(at).round() as u16, at))
    }

    /// Returns the seconds between two times of day that are written.
    pub(super) fn tick(&self) -> f64 {
        const ROUND: [f64; 18] = [
            0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0,
            1800.0, 3600.0, 7200.0, 14400.0,
        ];
        let room = self.step * 12.0;
        ROUND.into_iter().find(|apart| *apart >= room).unwrap_or(28800.0)
    }
}
