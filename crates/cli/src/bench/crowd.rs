//! Many processes that want one lock: how fast it passes from one to the next, how often in a second,
//! and what waiting costs. Ours and flock take turns, with the same processes.

use std::fs;
use std::ops::Range;
use std::time::Duration;

use super::locks::clock;
use super::pool::Pool;
use super::report::{Engine, Handoff, Report, Spread, Throughput, Waiting};
use super::run::{Bench, Halt};

/// Returns the lock's name. Each crowd has its own, so that none is disturbed by what another left.
fn name(waiters: usize) -> String {
    format!("crowd-{waiters}")
}

/// How long each worker holds the lock: long enough for the previous holder to be asleep in the queue
/// again.
const HOLD: Duration = Duration::from_micros(1500);
/// The pause of a worker before it asks again: without it flock would serve the same worker repeatedly.
const PAUSE: Duration = Duration::from_micros(300);
/// In nanoseconds: a worker that asked this much later than another and is served earlier has overtaken.
const CLEARLY: i64 = 20_000_000;
/// A timeout that is longer than any run.
const LONG: Duration = Duration::from_secs(3600);

/// All turns that some workers took, in the order in which they held.
#[derive(Default)]
struct Turns {
    times: Vec<f64>,
    overtaking: usize,
    overlaps: usize,
}

struct Turn {
    asked: i64,
    acquired: i64,
    released: i64,
}

pub(super) fn measure(bench: &Bench, waiters: usize, report: &mut Report) -> Result<(), Halt> {
    bench.progress.step(&format!("starting {waiters} waiters"), bench.starting(waiters));
    let mut pool = Pool::start(bench, waiters + 1)?;

    let rounds = bench.rounds_of(waiters);
    let slice = bench.seconds / u32_of(rounds);
    let mut found: [Turns; 2] = Default::default();
    for round in 0..rounds {
        for nth in 0..2 {
            let at = (round + nth) % 2;
            let engine = Engine::ALL[at];
            let (lock, turns) = (name(waiters), turns_of(waiters, engine));
            gather(&mut pool, 1..waiters + 1, engine, &lock, &turns)?;
            if round == 0 && engine == Engine::Lockbydir {
                report.waiting.push(cost_of_waiting(&pool, bench, waiters)?);
            }
            let text = format!("handoff, {waiters} waiting, {}", engine.name());
            bench.progress.step(&text, slice);
            let turns = take_turns(&mut pool, waiters, engine, slice)?;
            found[at].add(turns);
        }
    }
    for (engine, turns) in Engine::ALL.into_iter().zip(found) {
        let name = engine.name();
        if turns.overlaps > 0 {
            report.notes.push(format!(
                "OVERLAP: with {waiters} waiting, two held {name}'s lock at once, {} times",
                turns.overlaps
            ));
        }
        if let Some(spread) = Spread::of(&turns.times) {
            let Turns { mut times, overtaking, overlaps } = turns;
            times.sort_by(f64::total_cmp);
            report.handoff.push(Handoff { engine, waiters, spread, overtaking, overlaps, times });
        } else {
            report.notes.push(format!("no handoff of {name} with {waiters} waiting in time"));
        }
    }

    let mut counts = [vec![0; waiters], vec![0; waiters]];
    for round in 0..rounds {
        for nth in 0..2 {
            let at = (round + nth) % 2;
            let text = format!("throughput, {waiters} at once, {}", Engine::ALL[at].name());
            bench.progress.step(&text, slice);
            let more = hammer(&mut pool, waiters, Engine::ALL[at], slice)?;
            counts[at].iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
    }
    let seconds = slice.as_secs_f64() * rounds as f64;
    for (engine, counts) in Engine::ALL.into_iter().zip(counts) {
        report.throughput.push(Throughput {
            engine,
            processes: waiters,
            per_s: counts.iter().sum::<u64>() as f64 / seconds,
            fewest: counts.iter().copied().min().unwrap_or(0),
            most: counts.iter().copied().max().unwrap_or(0),
        });
    }
    Ok(())
}

/// Lets the first worker hold the lock, sends these others a command, and waits until they are at rest
/// and wait for the lock.
fn gather(
    pool: &mut Pool<'_>,
    others: Range<usize>,
    engine: Engine,
    lock: &str,
    command: &str,
) -> Result<(), Halt> {
    pool.send(0, &format!("hold {lock} {} {}", engine.name(), LONG.as_nanos()))?;
    pool.expect("asking", pool.within(Duration::ZERO))?;
    pool.held(pool.within(Duration::ZERO))?;
    for who in others.clone() {
        pool.send(who, command)?;
    }
    for _ in others.clone() {
        pool.expect("asking", pool.within(Duration::ZERO))?;
    }
    pool.settle(others, engine, lock)
}

fn turns_of(waiters: usize, engine: Engine) -> String {
    let name = name(waiters);
    format!("turns {name} {} {} {}", engine.name(), HOLD.as_nanos(), PAUSE.as_nanos())
}

/// Lets all workers take turns for this time, and stops them.
fn take_turns(
    pool: &mut Pool<'_>,
    waiters: usize,
    engine: Engine,
    time: Duration,
) -> Result<Turns, Halt> {
    let start = clock();
    pool.send(0, &turns_of(waiters, engine))?;
    pool.expect("asking", pool.within(Duration::ZERO))?;
    pool.sleep(time)?;
    let stop = clock();
    for who in 0..=waiters {
        pool.send(who, "stop")?;
    }
    let mut turns = Vec::new();
    let mut done = 0;
    while done <= waiters {
        let reply = pool.receive(pool.within(Duration::ZERO))?;
        match reply.word.as_str() {
            "done" => done += 1,
            _ => turns.extend(reply.rest.split(' ').filter_map(turn)),
        }
    }
    Ok(judge(turns, start, stop))
}

fn turn(word: &str) -> Option<Turn> {
    let mut numbers = word.split(',').map(|word| word.parse::<i64>().ok());
    let asked = numbers.next()??;
    let acquired = asked + numbers.next()??;
    let released = acquired + numbers.next()??;
    Some(Turn { asked, acquired, released })
}

/// Finds the handoffs among these turns to workers that were already waiting.
fn judge(mut turns: Vec<Turn>, start: i64, stop: i64) -> Turns {
    turns.sort_by_key(|turn| turn.acquired);
    let mut found = Turns::default();
    for pair in turns.windows(2) {
        let (before, next) = (&pair[0], &pair[1]);
        if next.acquired < before.released {
            found.overlaps += 1;
        }
        let was_waiting = next.asked <= before.released;
        if was_waiting && (start..stop).contains(&before.released) {
            found.times.push((next.acquired - before.released) as f64 / 1e9);
        }
    }
    // From the end: `earliest` is the first request of all that were served later. Requests before the
    // start were all made at once, in no order, so they do not count.
    let mut earliest = i64::MAX;
    for turn in turns.iter().rev() {
        if turn.asked >= start && earliest.saturating_add(CLEARLY) < turn.asked {
            found.overtaking += 1;
        }
        earliest = earliest.min(turn.asked);
    }
    found
}

impl Turns {
    fn add(&mut self, more: Turns) {
        self.times.extend(more.times);
        self.overtaking += more.overtaking;
        self.overlaps += more.overlaps;
    }
}

/// Counts how often each of these processes acquires the lock in this time, after all are ready.
fn hammer(
    pool: &mut Pool<'_>,
    processes: usize,
    engine: Engine,
    time: Duration,
) -> Result<Vec<u64>, Halt> {
    let lock = name(processes);
    let command = format!("hammer {lock} {}", engine.name());
    gather(pool, 1..processes, engine, &lock, &command)?;
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX / 2);
    // By then all must have received it, and must run at a steady pace.
    let soon = Duration::from_millis(20) + Duration::from_micros(100) * u32_of(processes);
    let start = clock() + nanos(soon);
    let end = start + nanos(time);
    for who in (0..processes).rev() {
        if who == 0 {
            pool.send(0, &command)?;
            pool.expect("asking", pool.within(Duration::ZERO))?;
        }
        pool.send(who, &format!("{start} {end}"))?;
    }
    let mut counts = vec![0; processes];
    for _ in 0..processes {
        let reply = pool.expect("done", pool.within(soon + time))?;
        counts[reply.from] = reply.rest.parse().unwrap_or(0);
    }
    Ok(counts)
}

fn u32_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Measures what the waiters use while they wait.
fn cost_of_waiting(pool: &Pool<'_>, bench: &Bench, waiters: usize) -> Result<Waiting, Halt> {
    bench.progress.step(&format!("{waiters} waiting idly"), bench.seconds);
    let used = || (1..=waiters).map(|who| cpu(pool.pid(who))).sum::<f64>();
    let (begun, before) = (clock(), used());
    pool.sleep(bench.seconds)?;
    let (ended, after) = (clock(), used());
    let mut memory: Vec<(u64, u64)> = (1..=waiters).map(|who| memory(pool.pid(who))).collect();
    memory.sort_unstable();
    let (rss_bytes, own_bytes) = memory.get(waiters / 2).copied().unwrap_or_default();
    let cpu_s_per_s = (after - before).max(0.0) / ((ended - begun) as f64 / 1e9);
    Ok(Waiting { waiters, cpu_s_per_s, rss_bytes, own_bytes })
}

/// Returns the seconds of CPU that a process has used: exactly if the kernel reports that, else in ticks.
fn cpu(pid: u32) -> f64 {
    let exact = fs::read_dir(format!("/proc/{pid}/task")).ok().and_then(|tasks| {
        tasks
            .flatten()
            .map(|task| {
                let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
                text.split(' ').next()?.parse::<f64>().ok().map(|nanos| nanos / 1e9)
            })
            .sum::<Option<f64>>()
    });
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit(") ").next()?.split(' ').skip(11);
        let (user, system) = (fields.next()?, fields.next()?);
        let ticks: f64 = user.parse::<f64>().ok()? + system.parse::<f64>().ok()?;
        Some(ticks / rustix::param::clock_ticks_per_second() as f64)
    };
    exact.filter(|seconds| *seconds > 0.0).or_else(ticks).unwrap_or(0.0)
}

/// Returns the resident bytes of a process, and those that it shares with no other.
fn memory(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let bytes = |name: &str| -> u64 {
        text.lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .filter_map(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .sum::<u64>()
            * 1024
    };
    (bytes("Rss"), bytes("Private_Clean") + bytes("Private_Dirty"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(of: &[(i64, i64, i64)]) -> Vec<Turn> {
        of.iter().map(|&(asked, acquired, released)| Turn { asked, acquired, released }).collect()
    }

    #[test]
    fn only_waiting_workers_count_as_a_handoff() {
        let found = judge(turns(&[(0, 10, 20), (5, 30, 40), (45, 50, 60)]), 0, 100);
        assert_eq!(found.times, [10e-9]);
        assert_eq!((found.overlaps, found.overtaking), (0, 0));
    }

    #[test]
    fn overlaps_and_overtaking_are_counted() {
        let late = CLEARLY + 100;
        let found = judge(turns(&[(late, late, late + 10), (0, late + 5, late + 20)]), 0, i64::MAX);
        assert_eq!((found.overlaps, found.overtaking), (1, 1));
    }
}
