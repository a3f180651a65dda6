//! What was found, as data: the JSON is this, field by field. All times are seconds.

use serde::Serialize;

/// Two ways to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    Lockbydir,
    Flock,
}

impl Engine {
    pub(super) const ALL: [Engine; 2] = [Engine::Lockbydir, Engine::Flock];

    pub(super) fn name(self) -> &'static str {
        match self {
            Engine::Lockbydir => "lockbydir",
            Engine::Flock => "flock",
        }
    }
}

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) dir: String,
    pub(super) file_system: String,
    pub(super) kernel: String,
    pub(super) cpus: usize,
    /// When it began.
    pub(super) at: String,
    /// How long each measure lasted.
    pub(super) measure_s: f64,
    /// False when it was stopped before its end.
    pub(super) complete: bool,
    pub(super) uncontended: Vec<Cost>,
    pub(super) handover: Vec<Handover>,
    pub(super) throughput: Vec<Throughput>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) recovery: Vec<Recovery>,
    /// What could not be measured, and what is not as it should be.
    pub(super) notes: Vec<String>,
}

/// What acquire and release cost together, with nobody else there.
#[derive(Serialize)]
pub(super) struct Cost {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) spread: Spread,
}

/// From just before one's release to just after the next one's acquire.
#[derive(Serialize)]
pub(super) struct Handover {
    pub(super) engine: Engine,
    pub(super) waiters: usize,
    #[serde(flatten)]
    pub(super) spread: Spread,
    /// How many were served before somebody who had asked clearly earlier.
    pub(super) overtaking: usize,
    /// How often two held at once: never.
    pub(super) overlaps: usize,
    /// All of them, sorted.
    #[serde(skip)]
    pub(super) times: Vec<f64>,
}

/// Empty critical sections, as many as can be.
#[derive(Serialize)]
pub(super) struct Throughput {
    pub(super) engine: Engine,
    pub(super) processes: usize,
    pub(super) per_s: f64,
    /// Turns of the least and of the most served process.
    pub(super) fewest: u64,
    pub(super) most: u64,
}

/// What waiting costs while one holds.
#[derive(Serialize)]
pub(super) struct Waiting {
    pub(super) waiters: usize,
    /// Seconds of CPU that all of them use in a second.
    pub(super) cpu_s_per_s: f64,
    /// Of one process (median): resident memory, and what of it is its own.
    pub(super) rss_bytes: u64,
    pub(super) own_bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum After {
    /// From just before `kill -9` of the holder.
    Kill,
    /// From the moment at which a stopped holder's timeout passes.
    Expiry,
}

/// Until the next one holds.
#[derive(Serialize)]
pub(super) struct Recovery {
    pub(super) after: After,
    pub(super) engine: Engine,
    #[serde(flatten)]
    pub(super) spread: Spread,
}

/// The shape of many measured times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) count: usize,
    pub(super) median_s: f64,
    pub(super) p90_s: f64,
    pub(super) p99_s: f64,
    pub(super) worst_s: f64,
}

impl Spread {
    /// None of none.
    pub(super) fn of(times: &[f64]) -> Option<Spread> {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let worst_s = *sorted.last()?;
        // The smallest that so many percent do not exceed.
        let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        let median_s = match sorted.len() {
            even if even % 2 == 0 => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
            odd => sorted[odd / 2],
        };
        Some(Spread { count: sorted.len(), median_s, p90_s: at(90), p99_s: at(99), worst_s })
    }
}

impl Report {
    pub(super) fn handover(&self, engine: Engine, waiters: usize) -> Option<&Handover> {
        self.handover.iter().find(|one| (one.engine, one.waiters) == (engine, waiters))
    }

    pub(super) fn throughput(&self, engine: Engine, processes: usize) -> Option<&Throughput> {
        self.throughput.iter().find(|one| (one.engine, one.processes) == (engine, processes))
    }

    pub(super) fn recovery(&self, after: After, engine: Engine) -> Option<&Recovery> {
        self.recovery.iter().find(|one| one.after == after && one.engine == engine)
    }

    pub(super) fn cost(&self, name: &str) -> Option<f64> {
        self.uncontended.iter().find(|one| one.name == name).map(|one| one.spread.median_s)
    }

    /// The numbers of waiters of which something is known.
    pub(super) fn crowds(&self) -> Vec<usize> {
        let mut found: Vec<usize> = self.handover.iter().map(|one| one.waiters).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_times_in_any_order() {
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let spread = Spread::of(&times).unwrap();
        let expected =
            Spread { count: 100, median_s: 50.5, p90_s: 90.0, p99_s: 99.0, worst_s: 100.0 };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0]).unwrap().p90_s, 3.0);
    }
}
