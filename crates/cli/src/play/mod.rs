//! The verb `play`: runs an example as real processes and shows it, or replays a recording. This file
//! has the arguments and the end. `stage.rs` runs the processes; `plain.rs` prints the events where
//! there is no terminal.

mod plain;
mod stage;

use std::path::{Path, PathBuf};

use clap::{ValueEnum, ValueHint};
use lockbydir_player::{Listener, Play, Recorder, Replay, Source, serve, watch};

use crate::exit::{Failure, NOT_DONE, SIGNAL, USAGE};
use crate::{output, render};

pub(crate) use self::stage::{Part, Stage, part, stage};

/// The end of `play --help`.
pub(crate) const HELP: &str = "\
Ends with the verdict of the example. Exit 0: good; 1: bad; 130: interrupted.

Examples:
  lockbydir play
  lockbydir play storm --web
  lockbydir play massive --record night.jsonl
  lockbydir play --replay night.jsonl --speed 0.2";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which example
    #[arg(value_enum, default_value = "one-bed", conflicts_with = "replay")]
    example: Example,
    /// In a browser: prints the address of a page, and serves it until Ctrl-C
    #[arg(long)]
    web: bool,
    #[command(flatten)]
    place: crate::serve::Place,
    /// Record events as JSON lines into a new file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    record: Option<PathBuf>,
    /// Replay a recording
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    replay: Option<PathBuf>,
    /// Replay speed, as a factor from 0.1 to 1000
    #[arg(long, value_name = "N", requires = "replay", default_value = "1", value_parser = speed)]
    speed: f64,
    #[command(flatten)]
    options: Options,
}

/// The options of examples; each takes some of these.
#[derive(clap::Args)]
struct Options {
    /// Factor for all times, 0.01 to 100 (one-bed, massive, storm)
    #[arg(long, value_name = "N", conflicts_with = "replay", value_parser = scale)]
    scale: Option<f64>,
    /// Probability that a sleeper forgets to leave the bed, 0 to 1 (one-bed)
    #[arg(long, value_name = "P", conflicts_with = "replay", value_parser = probability)]
    forgets: Option<f64>,
    /// Number of processes, 2 to 1000 (massive, storm)
    #[arg(long, value_name = "N", conflicts_with = "replay", value_parser = clap::value_parser!(u16).range(2..=1000))]
    processes: Option<u16>,
    /// Random seed: the same seed repeats the same decisions (storm)
    #[arg(long, value_name = "N", conflicts_with = "replay")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Example {
    /// The shortest use: two cooks, one kitchen
    HowToUse,
    /// A narrated tour of what a lock does
    InnerWorkings,
    /// Four sleepers share one bed, and sometimes forget to give it back
    OneBed,
    /// Three hundred processes want one lock, all at once
    Massive,
    /// Twelve processes fight for one lock while some are killed or stopped
    Storm,
}

impl Example {
    fn name(self) -> &'static str {
        match self {
            Example::HowToUse => "how-to-use",
            Example::InnerWorkings => "inner-workings",
            Example::OneBed => "one-bed",
            Example::Massive => "massive",
            Example::Storm => "storm",
        }
    }

    /// Returns the name of its lock.
    fn lock(self) -> &'static str {
        match self {
            Example::HowToUse => "kitchen",
            Example::InnerWorkings => "tour",
            Example::OneBed => "bed",
            Example::Massive => "counter",
            Example::Storm => "helm",
        }
    }

    fn takes(self, option: &str) -> bool {
        match self {
            Example::HowToUse | Example::InnerWorkings => false,
            Example::OneBed => matches!(option, "--scale" | "--forgets"),
            Example::Massive => matches!(option, "--scale" | "--processes"),
            Example::Storm => matches!(option, "--scale" | "--processes" | "--seed"),
        }
    }

    /// Returns the arguments that the example is started with.
    fn arguments(self, options: &Options) -> Result<Vec<String>, Failure> {
        let Options { scale, forgets, processes, seed } = options;
        let default = (self == Example::Massive).then_some(300);
        let given = [
            ("--scale", scale.map(|it| it.to_string())),
            ("--forgets", forgets.map(|it| it.to_string())),
            ("--processes", processes.or(default).map(|it| it.to_string())),
            ("--seed", seed.map(|it| it.to_string())),
        ];
        let mut arguments = Vec::new();
        for (option, value) in given {
            let Some(value) = value else { continue };
            if !self.takes(option) {
                let message = format!("the example {} has no {option}", self.name());
                return Err(Failure::new(USAGE, message));
            }
            arguments.extend([option.to_owned(), value]);
        }
        Ok(arguments)
    }
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("it must be a number from {least} to {most}"))
}

fn speed(text: &str) -> Result<f64, String> {
    within(text, 0.1, 1000.0)
}

fn scale(text: &str) -> Result<f64, String> {
    within(text, 0.01, 100.0)
}

fn probability(text: &str) -> Result<f64, String> {
    within(text, 0.0, 1.0)
}

pub(crate) fn play(args: &Args) -> Result<u8, Failure> {
    match &args.replay {
        Some(file) => replay(args, file),
        None => run(args),
    }
}

/// Runs an example.
fn run(args: &Args) -> Result<u8, Failure> {
    let given = args.example.arguments(&args.options)?;
    let program = crate::current_exe::this_program().map_err(|error| {
        Failure::new(crate::exit::IO, format!("cannot find this program: {error}"))
    })?;
    let play = Play::start(|folder| stage::command(program, folder, args.example.name(), &given))?;
    let ending = play.ending();
    let title = format!("play {}", args.example.name());
    let shown = show(args, Box::new(play), title, Some(args.example.lock().into()));
    // Ends the play even if another owner of it is left: no process of it stays.
    let code = ending.now();
    shown?;
    Ok(match code {
        Some(0) => 0,
        Some(_) => NOT_DONE,
        // It was ended by Ctrl-C or by another key.
        None => SIGNAL + 2,
    })
}

/// Shows a recording.
fn replay(args: &Args, file: &Path) -> Result<u8, Failure> {
    let replay = Replay::open(file, args.speed)?;
    if let Some(line) = replay.torn() {
        let file = lockbydir::printable(file);
        output::note(format!("{file}, line {line}: cut off, so it is left out"));
    }
    let title = format!("replay of {}", lockbydir::printable(file));
    let lock = replay.only_lock().map(str::to_owned);
    show(args, Box::new(replay), title, lock)?;
    Ok(0)
}

fn show(
    args: &Args,
    source: Box<dyn Source>,
    title: String,
    opened: Option<String>,
) -> Result<(), Failure> {
    let source = recorded(source, args.record.as_deref())?;
    if !args.web && !render::can_draw() {
        return plain::print_events(source);
    }
    let listener = Listener::new(source);
    let verdict = listener.verdict();
    if args.web {
        serve::serve(Box::new(listener), args.place.options(title), crate::serve::print_url)?;
    } else {
        let mut options = watch::Options::titled(title);
        options.opened = opened;
        options.ends = Some(std::time::Duration::ZERO);
        watch::show(Box::new(listener), options)?;
    }
    let lines: String = verdict.lines().into_iter().map(|line| line + "\n").collect();
    output::print(&lines).map(drop)
}

/// Returns the source, set to record its events into `file` if one is given.
pub(crate) fn recorded(
    source: Box<dyn Source>,
    file: Option<&Path>,
) -> Result<Box<dyn Source>, Failure> {
    Ok(match file {
        Some(file) => Box::new(Recorder::new(source, file)?),
        None => source,
    })
}
