//! What lockbydir costs: see `benches/cost.rs`. Here is the arithmetic of a comparison, and how
//! it is printed; nothing is measured here.

use std::fmt;

/// The median of some measured times (0 of none).
#[must_use]
pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// What a ratio should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// This, or less.
    AtMost(f64),
    /// Less than this.
    Below(f64),
    /// This, or more.
    AtLeast(f64),
}

impl Aim {
    /// Does the ratio, unrounded, meet it?
    #[must_use]
    pub fn is_met(self, ratio: f64) -> bool {
        match self {
            Aim::AtMost(most) => ratio <= most,
            Aim::Below(bound) => ratio < bound,
            Aim::AtLeast(least) => ratio >= least,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Aim::AtMost(most) => write!(f, "at most {most:.2}"),
            Aim::Below(bound) => write!(f, "below {bound:.2}"),
            Aim::AtLeast(least) => write!(f, "at least {least:.2}"),
        }
    }
}

/// One time as a multiple of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// What is measured.
    pub of: &'static str,
    /// What it is measured by.
    pub to: &'static str,
    /// How many times as long it takes.
    pub value: f64,
    /// What it should be, where that was said.
    pub aim: Option<Aim>,
}

impl Ratio {
    /// Is there an aim, and is it missed?
    #[must_use]
    pub fn is_missed(&self) -> bool {
        self.aim.is_some_and(|aim| !aim.is_met(self.value))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.2} x {}", self.value, self.to)?;
        match self.aim {
            Some(aim) => {
                let padding = 22_usize.saturating_sub(self.to.len());
                let verdict = if self.is_missed() { "MISSED" } else { "met" };
                write!(f, "{:padding$} aim: {aim}, {verdict}", "")
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Aim, Ratio, median};

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn an_aim_is_judged_by_the_unrounded_ratio() {
        assert!(Aim::AtMost(1.6).is_met(1.6) && !Aim::AtMost(1.6).is_met(1.601));
        assert!(Aim::Below(0.25).is_met(0.249) && !Aim::Below(0.25).is_met(0.25));
        assert!(Aim::AtLeast(0.5).is_met(0.5) && !Aim::AtLeast(0.5).is_met(0.499));
    }

    #[test]
    fn a_ratio_tells_whether_its_aim_is_met() {
        let mut ratio = Ratio { of: "a", to: "b", value: 2.001, aim: Some(Aim::AtMost(2.0)) };
        assert!(ratio.to_string().ends_with("aim: at most 2.00, MISSED"), "{ratio}");

        ratio.value = 1.999;
        assert!(ratio.to_string().ends_with("aim: at most 2.00, met"), "{ratio}");

        ratio.aim = None;
        assert_eq!(ratio.to_string(), "    2.00 x b");
    }
}
