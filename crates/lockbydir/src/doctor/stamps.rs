//! The stamps of a file system: whose clock they are of, how fine, and whether a directory has one.

use std::time::{Duration, Instant};

use super::{Probe, ProbeError, Try};
use crate::os::clock;
use crate::os::syscalls::{about, about_path};

pub(super) const TRIES: &[Probe] = &[CLOCK, GRAIN];

/// So long a stamp may stay the same.
const COARSEST: Duration = Duration::from_millis(4500);
/// Distinct stamps that are looked at.
const STAMPS: usize = 4;
/// Clocks that differ by less are one.
const SLACK: i128 = 1_000_000_000;

const CLOCK: Probe = Probe {
    name: "clock",
    tried: "whose clock stamps",
    run: |attempt, _| {
        let room = attempt.room;
        let before = wall();
        room.create_empty("probe-clock")?;
        let stamp = about_path(&room.at("probe-clock"))?.changed.0;
        let after = wall();
        // A coarse stamp is early.
        let ahead = if stamp > after { stamp - after } else { (stamp - before).min(0) };
        if ahead.abs() <= 3 * SLACK {
            attempt.good(
                if ahead.abs() <= SLACK { "the same time".into() } else { apart(ahead) },
                "Ages of bare locks are true.",
            );
        } else {
            attempt.remark(
                format!("{}: another clock stamps", apart(ahead)),
                "Stamps are compared with stamps only, so locks are safe; programs that compare \
                 them with their own clock are not.",
            );
        }
        Ok(())
    },
};

const GRAIN: Probe = Probe {
    name: "stamps",
    tried: "stamps of a directory",
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
                "Ages by stamps may be wrong; a lock of ours is also watched for its timeout.",
            ),
            None => attempt.remark(
                format!("none in {} s", COARSEST.as_secs()),
                "Locks of other hosts, and bare ones, are judged by watching alone.",
            ),
            Some(timestamp_granularity) if timestamp_granularity >= SLACK => {
                let seen = format!("steps of {} s", (timestamp_granularity + SLACK / 2) / SLACK);
                attempt.remark(seen, "A bare lock's age is known to so much only.");
            }
            Some(timestamp_granularity) => {
                let seen = format!("steps of {}", short(timestamp_granularity));
                attempt.good(seen, "A lock's age can be read from its directory.");
            }
        }
        Ok(())
    },
};

/// The first few distinct stamps of a directory in which things come and go.
fn changing(attempt: &Try<'_>) -> Result<Vec<i128>, ProbeError> {
    let room = attempt.room;
    let begun = Instant::now();
    room.create_full("probe-stamped", "probe-0")?;
    let dir = room.enter_dir("probe-stamped")?;
    let mut stamps = vec![about(&dir)?.changed.0];
    let mut nth = 0_u32;
    // Coarse ones are seen by one step; that takes its time.
    while stamps.len() < 2 || stamps.len() < STAMPS && begun.elapsed() < COARSEST / 8 {
        if begun.elapsed() > COARSEST {
            break;
        }
        let (from, to) = (format!("probe-{nth}"), format!("probe-{}", nth + 1));
        crate::os::syscalls::renameat(&dir, from.as_ref(), to.as_ref())?;
        nth += 1;
        let stamp = about(&room.enter_dir("probe-stamped")?)?.changed.0;
        if stamps.last() != Some(&stamp) {
            stamps.push(stamp);
        } else if begun.elapsed() > COARSEST / 32 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // The first step began somewhere in the middle, but for stamps of whole seconds.
    Ok(stamps)
}

/// Our own clock, as stamps count.
pub(super) fn wall() -> i128 {
    i128::try_from(clock::now().wall.as_nanos()).unwrap_or(0)
}

/// How far a clock is from ours, for people.
pub(super) fn apart(ahead: i128) -> String {
    let word = if ahead < 0 { "behind" } else { "ahead of" };
    format!("{} {word} ours", short(ahead.abs()))
}

/// A time in nanoseconds, for people.
pub(super) fn short(nanos: i128) -> String {
    match nanos {
        ..1_000 => "1 us".into(),
        1_000..1_000_000 => format!("{} us", nanos / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", nanos / 1_000_000),
        _ => format!("{}.{} s", nanos / SLACK, nanos % SLACK / 100_000_000),
    }
}
