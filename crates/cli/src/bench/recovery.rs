//! How soon the next worker holds the lock when the holder cannot release it: it was killed, or it
//! hangs and its timeout passes. The worker that takes over is the next one to fail.

use std::time::Instant;

use rustix::process::Signal;

use super::locks::clock;
use super::pool::Pool;
use super::report::{After, Engine, Recovery, Report, Spread};
use super::run::{Bench, Halt};

/// The lock's name.
const NAME: &str = "recovery";
/// The least time in nanoseconds from a waiter's request to the expiry: a later waiter may not be at rest.
const REST: i64 = 20_000_000;
/// Limits the number of recoveries.
const MOST: usize = 200;

pub(super) fn measure(
    bench: &Bench,
    after: After,
    engine: Engine,
    report: &mut Report,
) -> Result<(), Halt> {
    let what = match after {
        After::Kill => "kill -9",
        After::Expiry => "timeout",
    };
    bench
        .progress
        .step(&format!("recovery after {what}, {}", engine.name()), bench.recovery(after));
    let mut times = Vec::new();
    let timeout = match after {
        After::Kill => std::time::Duration::from_secs(3600),
        After::Expiry => bench.expiry,
    };
    let hold = format!("hold {NAME} {} {}", engine.name(), timeout.as_nanos());
    let mut pool = Pool::start(bench, 1)?;
    let (mut holder, begun) = (0, Instant::now());
    pool.send(holder, &hold)?;
    pool.expect("asking", pool.within(timeout))?;
    let mut held = pool.held(pool.within(timeout))?;
    while times.len() < MOST
        && (begun.elapsed() < bench.recovery(after) || times.len() < bench.least)
    {
        let next = pool.add()?;
        pool.send(next, &hold)?;
        pool.expect("asking", pool.within(timeout))?;
        let failed = match after {
            After::Kill => {
                pool.settle(next..next + 1, engine, NAME)?;
                let now = clock();
                pool.signal(holder, Signal::KILL);
                now
            }
            After::Expiry => {
                pool.signal(holder, Signal::STOP);
                held.expiry
            }
        };
        let then = pool.held(pool.within(timeout))?;
        pool.end(holder);
        if after == After::Expiry && then.acquired < held.deadline {
            report.notes.push("OVERLAP: a lock was taken over before its deadline".into());
        }
        if after == After::Kill || then.asked + REST < failed {
            times.push((then.acquired - failed) as f64 / 1e9);
        } else if begun.elapsed() > bench.recovery(after) * 10 {
            return Err(Halt::Failed("waiters come too late for the expiry".into()));
        }
        (holder, held) = (next, then);
    }
    if let Some(spread) = Spread::of(&times) {
        report.recovery.push(Recovery { after, engine, spread });
    }
    Ok(())
}
