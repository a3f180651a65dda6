//! What acquiring and releasing costs when nobody else wants the lock, compared with the raw calls
//! and flock: in one process, in turns.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::calls;
use super::locks::{Locks, clock, unlock};
use super::pool::Pool;
use super::report::{Cost, Report, Spread};
use super::run::{Bench, Halt};

/// The name of each in JSON, and its title for people.
pub(super) const CONTESTANTS: [(&str, &str); 5] = [
    ("lockbydir", "lockbydir"),
    ("lockbydir_linger", "lockbydir, lingering"),
    ("mkdir_rmdir", "mkdir + rmdir"),
    ("two_renames", "two renames"),
    ("flock", "flock: open, lock, unlock, close"),
];

/// The number of repetitions before the next contestant's turn: a single one is too short to time.
const TURNS: u32 = 20;
/// Long enough that the lock lingers from one acquisition to the next.
const LINGER: Duration = Duration::from_secs(60);

pub(super) type Act<'a> = Box<dyn FnMut() -> Result<(), String> + 'a>;

/// Makes the locks and files of all contestants, and passes what each does to `work`.
pub(super) fn with_acts<T>(folder: &Path, work: impl FnOnce(&mut [Act<'_>; 5]) -> T) -> T {
    let locks = Locks::new(folder, "alone");
    let lingering = Locks::new(folder, "lingering").ours.clone().linger(LINGER);
    let (directory, here, there) =
        (folder.join("raw"), folder.join("renamed.0"), folder.join("renamed.1"));
    let _ = fs::write(&here, "");
    let text = |error: &dyn std::fmt::Display| error.to_string();
    work(&mut [
        Box::new(|| {
            let guard = locks.ours.acquire().map_err(|e| text(&e))?;
            guard.release().map_err(|e| text(&e))
        }),
        Box::new(|| {
            let guard = lingering.acquire().map_err(|e| text(&e))?;
            guard.release().map_err(|e| text(&e))
        }),
        Box::new(|| {
            fs::create_dir(&directory)
                .and_then(|()| fs::remove_dir(&directory))
                .map_err(|e| text(&e))
        }),
        Box::new(|| {
            fs::rename(&here, &there).and_then(|()| fs::rename(&there, &here)).map_err(|e| text(&e))
        }),
        Box::new(|| locks.flock().and_then(unlock).map_err(|e| text(&e))),
    ])
}

/// What a contestant's repetitions took, in nanoseconds for each round; or why there are none.
type Times = Result<Vec<f64>, String>;

/// Lets all contestants take turns.
pub(super) fn compete(folder: &Path, for_time: Duration) -> Vec<(&'static str, Times)> {
    with_acts(folder, |acts| take_turns(acts, for_time))
}

fn take_turns(acts: &mut [Act<'_>; 5], for_time: Duration) -> Vec<(&'static str, Times)> {
    let mut found: Vec<Result<Vec<f64>, String>> = acts.iter().map(|_| Ok(Vec::new())).collect();
    let end = clock() + i64::try_from(for_time.as_nanos()).unwrap_or(i64::MAX / 2);
    let mut round = 0;
    // The first round warms up and does not count; there is always a second one.
    while round < 2 || clock() < end {
        for place in 0..acts.len() {
            let who = (round + place) % acts.len();
            let Ok(times) = &mut found[who] else { continue };
            let begun = clock();
            match (0..TURNS).try_for_each(|_| acts[who]()) {
                Ok(()) if round > 0 => {
                    times.push((clock() - begun) as f64 / f64::from(TURNS));
                }
                Ok(()) => {}
                Err(message) => found[who] = Err(message),
            }
        }
        round += 1;
    }
    CONTESTANTS.iter().map(|(name, _)| *name).zip(found).collect()
}

/// Lets a worker measure, and adds the results to the report.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), Halt> {
    bench.progress.step("alone", bench.alone());
    let mut pool = Pool::start(bench, 1)?;
    let time = bench.alone();
    pool.send(0, &format!("alone {}", time.as_nanos()))?;
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); CONTESTANTS.len()];
    let end = pool.within(time);
    loop {
        let reply = pool.receive(end)?;
        let mut words = reply.rest.split(' ');
        let at = CONTESTANTS.iter().position(|(name, _)| words.clone().next() == Some(name));
        match (reply.word.as_str(), at) {
            ("done", _) => break,
            ("cost", Some(at)) => times[at].extend(
                words.skip(1).filter_map(|word| word.parse::<f64>().ok()).map(|nanos| nanos / 1e9),
            ),
            ("without", Some(at)) => {
                let why = words.by_ref().skip(1).collect::<Vec<_>>().join(" ");
                report.notes.push(format!("nothing on {}: {why}", CONTESTANTS[at].1));
            }
            _ => {}
        }
    }
    bench.progress.step("counting system calls", bench.counting());
    let counts = match calls::count(bench)? {
        Ok(counts) => counts,
        Err(why) => {
            report.not_counted = Some(why);
            Vec::new()
        }
    };
    for ((name, _), times) in CONTESTANTS.iter().zip(times) {
        if let Some(spread) = Spread::of(&times) {
            let system_calls = counts.iter().find(|(of, _)| of == name).map(|(_, count)| *count);
            report.uncontended.push(Cost { name: (*name).to_owned(), spread, system_calls });
        }
    }
    Ok(())
}
