//! Probes of the timestamps of a file system: which clock sets them, how fine they are, and whether
//! a directory has them.

use std::time::{Duration, Instant};

use super::probe::{Probe, Try};
use super::probe_error::ProbeError;
use super::sandbox::wall;
use crate::os::syscalls::{about, about_path};

pub(super) const PROBES: &[Probe] = &[CLOCK, GRANULARITY];

/// How long a stamp may stay the same.
const COARSEST: Duration = Duration::from_millis(4500);
/// The number of distinct stamps that are examined.
const STAMPS: usize = 4;
/// Clocks that differ by less than this count as the same, in nanoseconds.
const SLACK: i128 = 1_000_000_000;

const CLOCK: Probe = Probe {
    name: "clock",
    tried: "whose clock sets timestamps",
    run: |attempt, _| {
        let sandbox = attempt.sandbox;
        let before = wall();
        sandbox.create_empty("probe-clock")?;
        let stamp = about_path(&sandbox.at("probe-clock"))?.changed.0;
        let after = wall();
        // A coarse stamp is rounded down.
        let ahead = if stamp > after { stamp - after } else { (stamp - before).min(0) };
        if ahead.abs() <= 3 * SLACK {
            attempt.good(
                if ahead.abs() <= SLACK { "the same time".into() } else { apart(ahead) },
                "Ages of bare locks are true.",
            );
        } else {
            attempt.remark(
                format!("{}: another clock sets them", apart(ahead)),
                "Stamps are compared with stamps only, so locks are safe; programs that compare \
                 them with their own clock are not.",
            );
        }
        Ok(())
    },
};

const GRANULARITY: Probe = Probe {
    name: "stamps",
    tried: "timestamps of a directory",
    run: |attempt, _| {
        let stamps = changing(attempt)?;
        let timestamp_granularity = stamps
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .filter(|timestamp_granularity| *timestamp_granularity > 0);
        let goes_back = stamps.windows(2).any(|pair| pair[1] < pair[0]);
        match timestamp_granularity.min() {
            _ if goes_back => attempt.remark(
                "they go back",
                "Ages by timestamps may be wrong; our locks are also watched for their timeout.",
            ),
            None => attempt.remark(
                format!("none in {} s", COARSEST.as_secs()),
                "Locks of other hosts, and bare ones, are judged by watching alone.",
            ),
            Some(timestamp_granularity) if timestamp_granularity >= SLACK => {
                let seen = format!("steps of {} s", (timestamp_granularity + SLACK / 2) / SLACK);
                attempt.remark(seen, "A bare lock's age is known with this precision only.");
            }
            Some(timestamp_granularity) => {
                let seen = format!("steps of {}", short(timestamp_granularity));
                attempt.good(seen, "A lock's age can be read from its directory.");
            }
        }
        Ok(())
    },
};

/// Returns the first few distinct timestamps of a directory whose entries change.
fn changing(attempt: &Try<'_>) -> Result<Vec<i128>, ProbeError> {
    let sandbox = attempt.sandbox;
    let begun = Instant::now();
    sandbox.create_full("probe-stamped", "probe-0")?;
    let dir = sandbox.enter_dir("probe-stamped")?;
    let mut stamps = vec![about(&dir)?.changed.0];
    let mut nth = 0_u32;
    // With coarse stamps a single step is enough, since waiting for it takes long.
    while stamps.len() < 2 || stamps.len() < STAMPS && begun.elapsed() < COARSEST / 8 {
        if begun.elapsed() > COARSEST {
            break;
        }
        let (from, to) = (format!("probe-{nth}"), format!("probe-{}", nth + 1));
        crate::os::syscalls::renameat(&dir, from.as_ref(), to.as_ref())?;
        nth += 1;
        let stamp = about(&sandbox.enter_dir("probe-stamped")?)?.changed.0;
        if stamps.last() != Some(&stamp) {
            stamps.push(stamp);
        } else if begun.elapsed() > COARSEST / 32 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // The first step is shorter than the others, except for stamps of whole seconds.
    Ok(stamps)
}

/// Formats how far a clock is from ours, for people.
pub(super) fn apart(ahead: i128) -> String {
    let word = if ahead < 0 { "behind" } else { "ahead of" };
    format!("{} {word} ours", short(ahead.abs()))
}

/// Formats a time in nanoseconds, for people.
pub(super) fn short(nanos: i128) -> String {
    match nanos {
        ..1_000 => "1 us".into(),
        1_000..1_000_000 => format!("{} us", nanos / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", nanos / 1_000_000),
        _ => format!("{}.{} s", nanos / SLACK, nanos % SLACK / 100_000_000),
    }
}
