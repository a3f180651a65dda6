//! The verb `bench`: what locking costs in a folder, compared with the raw calls and flock(2). It
//! measures real processes in turns and reports medians. This file has the course of a run; each
//! measure has a file of its own.

mod alone;
mod calls;
mod crowd;
mod locks;
mod page;
mod place;
mod plot;
mod pool;
mod recovery;
mod report;
mod run;
mod table;
mod watch;
mod worker;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;
use lockbydir::doctor::FileSystem;
use lockbydir::printable;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::child::Signals;
use crate::duration;
use crate::exit::{CANNOT_MAKE, DENIED, Failure, IO, SIGNAL};
use crate::{output, render};

use self::place::Place;
use self::report::{After, Engine, Report};
use self::run::{Bench, Halt};
use self::watch::Progress;
pub(crate) use self::worker::{Worker, work};

/// The end of `bench --help`.
pub(crate) const HELP: &str = "\
The run makes a folder of its own in DIR and removes it at the end. Ctrl-C ends it early, and shows the
results so far.

--json prints one object; all times are seconds:
  version, dir, file_system, kernel, cpus, at, measure_s, complete
  uncontended[]  name, count, median_s, p90_s, p99_s, worst_s, system_calls (of acquire and release
                 together; system_calls is counted by strace, and null if that is not possible)
  not_counted    why system calls were not counted, or null
  handoff[]      engine, waiters, count, median_s, p90_s, p99_s, worst_s, overtaking, overlaps
  throughput[]   engine, processes, per_s, fewest, most (turns of one process)
  waiting[]      waiters, cpu_s_per_s (of all waiters), rss_bytes, own_bytes (of one)
  recovery[]     after (kill, expiry), engine, count, median_s, p90_s, p99_s, worst_s
  notes[]        what could not be measured, or is not as expected

Example:
  lockbydir bench /var/lock --html bench.html";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder to measure in [default: the current directory]
    #[arg(default_value = ".", hide_default_value = true, value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Also write a self-contained page with plots
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// How many processes wait, or compete
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,8,64,512,1000", value_parser = clap::value_parser!(u16).range(1..=2000))]
    waiters: Vec<u16>,
    /// How long each measure lasts
    #[arg(long, value_name = "DUR", default_value = "1.5", value_parser = measure_time)]
    seconds: Duration,
    /// Short measures: a rough picture in a few seconds
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
}

fn measure_time(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    match (Duration::from_millis(50)..=Duration::from_secs(3600)).contains(&time) {
        true => Ok(time),
        false => Err(format!("a measure lasts from 50ms to 1h, not `{text}`")),
    }
}

pub(crate) fn bench(args: &Args) -> Result<u8, Failure> {
    let mut page =
        args.html.as_ref().map(|path| open(path).map(|file| (path, file))).transpose()?;
    let mut crowds: Vec<usize> = args.waiters.iter().copied().map(usize::from).collect();
    crowds.sort_unstable();
    crowds.dedup();
    raise_limit();

    let place = Place::new(&args.dir)?;
    let signals = Signals::watch()?;
    let mut bench = Bench {
        place,
        progress: Progress::new(Duration::ZERO),
        signals,
        seconds: if args.quick { Duration::from_millis(250) } else { args.seconds },
        rounds: if args.quick { 1 } else { 3 },
        least: if args.quick { 3 } else { 7 },
        expiry: Duration::from_millis(if args.quick { 200 } else { 300 }),
    };
    bench.progress = Progress::new(bench.all(&crowds));
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        dir: printable(bench.place.parent()),
        file_system: FileSystem::of(bench.place.parent()).kind,
        kernel: place::kernel(),
        cpus: place::cpus(),
        at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        measure_s: bench.seconds.as_secs_f64(),
        complete: false,
        uncontended: Vec::new(),
        not_counted: None,
        handoff: Vec::new(),
        throughput: Vec::new(),
        waiting: Vec::new(),
        recovery: Vec::new(),
        notes: Vec::new(),
    };
    let is_stopped = measure(&bench, &crowds, &mut report);
    bench.progress.clear();
    report.complete = !is_stopped;
    bench.place.remove()?;

    if let Some((path, file)) = &mut page {
        let text = page::page(&report);
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(|error| {
            Failure::new(IO, format!("cannot write {}: {error}", printable(path)))
        })?;
    }
    output::print(&if args.json { render::json(&report)? } else { table::table(&report) })?;
    match is_stopped {
        true => Ok(SIGNAL.saturating_add(bench.signals.last())),
        false => Ok(0),
    }
}

/// Performs all measures; returns true if a signal ended them early.
fn measure(bench: &Bench, crowds: &[usize], report: &mut Report) -> bool {
    let mut attempt = |what: &str, measure: &dyn Fn(&mut Report) -> Result<(), Halt>| {
        match measure(report) {
            Err(Halt::Stopped) => return false,
            Err(Halt::Failed(why)) => report.notes.push(format!("{what}: {why}")),
            Ok(()) => {}
        }
        true
    };
    let is_whole = attempt("alone", &|report| alone::measure(bench, report))
        && crowds.iter().all(|&waiters| {
            let what = format!("{waiters} waiting");
            attempt(&what, &|report| crowd::measure(bench, waiters, report))
        })
        && [
            (After::Kill, Engine::Lockbydir),
            (After::Kill, Engine::Flock),
            (After::Expiry, Engine::Lockbydir),
        ]
        .into_iter()
        .all(|(after, engine)| {
            attempt("recovery", &|report| recovery::measure(bench, after, engine, report))
        });
    !is_whole
}

/// Opens the page's file. This is done before anything is measured, so that a wrong name fails at once.
fn open(path: &PathBuf) -> Result<File, Failure> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::PermissionDenied => DENIED,
            std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory => CANNOT_MAKE,
            _ => IO,
        };
        Failure::new(code, format!("cannot write {}: {error}", printable(path)))
    })
}

/// Raises the limit of file descriptors, since each worker needs a pipe.
fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
