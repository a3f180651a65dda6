//! Benchmarks of lockbydir: see `benches/cost.rs`. This file contains the arithmetic of a comparison and its
//! output; it measures nothing.

use std::fmt;

/// Returns the median of some measured times (0 of none).
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

/// The aim for a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// This value or less.
    AtMost(f64),
    /// Less than this value.
    Below(f64),
    /// This value or more.
    AtLeast(f64),
}

impl Aim {
    /// Whether the unrounded ratio meets the aim.
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
    /// The name of the measured operation.
    pub of: &'static str,
    /// The name of the operation that it is compared with.
    pub to: &'static str,
    /// The quotient of the two times.
    pub value: f64,
    /// The aim, if there is one.
    pub aim: Option<Aim>,
}

impl Ratio {
    /// Whether there is an aim that is missed.
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
    fn a_ratio_shows_whether_its_aim_is_met() {
        let mut ratio = Ratio { of: "a", to: "b", value: 2.001, aim: Some(Aim::AtMost(2.0)) };
        assert!(ratio.to_string().ends_with("aim: at most 2.00, MISSED"), "{ratio}");

        ratio.value = 1.999;
        assert!(ratio.to_string().ends_with("aim: at most 2.00, met"), "{ratio}");

        ratio.aim = None;
        assert_eq!(ratio.to_string(), "    2.00 x b");
    }
}
