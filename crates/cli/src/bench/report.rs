//! The results as data: the JSON has these fields. All times are in seconds.

use serde::Serialize;

/// A kind of lock that is measured.
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
    /// When the run began.
    pub(super) at: String,
    /// How long each measure lasted.
    pub(super) measure_s: f64,
    /// False when it was stopped before its end.
    pub(super) complete: bool,
    pub(super) uncontended: Vec<Cost>,
    /// Why the system calls were not counted, if that is so.
    pub(super) not_counted: Option<String>,
    pub(super) handoff: Vec<Handoff>,
    pub(super) throughput: Vec<Throughput>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) recovery: Vec<Recovery>,
    /// Measures that failed, and results that should not occur.
    pub(super) notes: Vec<String>,
}

/// The cost of acquire and release together, without contention.
#[derive(Serialize)]
pub(super) struct Cost {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) spread: Spread,
    /// How many system calls acquire and release make together, if they could be counted.
    pub(super) system_calls: Option<f64>,
}

/// The time from just before a worker's release to just after the next worker's acquire.
#[derive(Serialize)]
pub(super) struct Handoff {
    pub(super) engine: Engine,
    pub(super) waiters: usize,
    #[serde(flatten)]
    pub(super) spread: Spread,
    /// The number of turns served before a worker that had asked clearly earlier.
    pub(super) overtaking: usize,
    /// How often two workers held at once; a correct lock has 0.
    pub(super) overlaps: usize,
    /// All times, sorted.
    #[serde(skip)]
    pub(super) times: Vec<f64>,
}

/// The rate of empty critical sections.
#[derive(Serialize)]
pub(super) struct Throughput {
    pub(super) engine: Engine,
    pub(super) processes: usize,
    pub(super) per_s: f64,
    /// Turns of the least served process.
    pub(super) fewest: u64,
    /// Turns of the most served process.
    pub(super) most: u64,
}

/// The cost of waiting while another process holds the lock.
#[derive(Serialize)]
pub(super) struct Waiting {
    pub(super) waiters: usize,
    /// Seconds of CPU that all waiters use in a second.
    pub(super) cpu_s_per_s: f64,
    /// Resident memory of one process (median).
    pub(super) rss_bytes: u64,
    /// The part of it that the process shares with no other.
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

/// The time until the next worker holds the lock.
#[derive(Serialize)]
pub(super) struct Recovery {
    pub(super) after: After,
    pub(super) engine: Engine,
    #[serde(flatten)]
    pub(super) spread: Spread,
}

/// The distribution of measured times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) count: usize,
    pub(super) median_s: f64,
    pub(super) p90_s: f64,
    pub(super) p99_s: f64,
    pub(super) worst_s: f64,
}

impl Spread {
    /// Returns the distribution of these times; `None` if there are none.
    pub(super) fn of(times: &[f64]) -> Option<Spread> {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let worst_s = *sorted.last()?;
        // The smallest time that this many percent of the times do not exceed.
        let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        let median_s = match sorted.len() {
            even if even % 2 == 0 => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
            odd => sorted[odd / 2],
        };
        Some(Spread { count: sorted.len(), median_s, p90_s: at(90), p99_s: at(99), worst_s })
    }
}

impl Report {
    pub(super) fn handoff(&self, engine: Engine, waiters: usize) -> Option<&Handoff> {
        self.handoff.iter().find(|one| (one.engine, one.waiters) == (engine, waiters))
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

    pub(super) fn system_calls(&self, name: &str) -> Option<f64> {
        self.uncontended.iter().find(|one| one.name == name)?.system_calls
    }

    /// Returns the numbers of waiters with a known handoff time.
    pub(super) fn crowds(&self) -> Vec<usize> {
        let mut found: Vec<usize> = self.handoff.iter().map(|one| one.waiters).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_does_not_need_sorted_times() {
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let spread = Spread::of(&times).unwrap();
        let expected =
            Spread { count: 100, median_s: 50.5, p90_s: 90.0, p99_s: 99.0, worst_s: 100.0 };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0]).unwrap().p90_s, 3.0);
    }
}
