//! The verb `play`: runs an example as real processes and shows it, or shows again what was recorded.
//! Here are its arguments and its end. `stage.rs` is what runs, `plain.rs` how it is told where
//! there is no terminal.

mod plain;
mod stage;

use std::path::{Path, PathBuf};

use clap::{ValueEnum, ValueHint};
use lockbydir_player::{Listener, Play, Recorder, Replay, Source, serve, watch};

use crate::exit::{Failure, NOT_DONE, SIGNAL, USAGE};
use crate::{output, render};

pub(crate) use self::stage::{Part, Stage, part, stage};

/// What `play --help` ends with.
pub(crate) const HELP: &str = "\
Ends with the verdict of the example. Exit 0: it is good; 1: it is bad; 130: ended before.

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
    /// Write down what happens, as JSON lines, into a new file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    record: Option<PathBuf>,
    /// See again what was recorded
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    replay: Option<PathBuf>,
    /// So many times as fast as it was, 0.1 to 1000
    #[arg(long, value_name = "N", requires = "replay", default_value = "1", value_parser = speed)]
    speed: f64,
    #[command(flatten)]
    options: Options,
}

/// What examples are told; each takes some of these.
#[derive(clap::Args)]
struct Options {
    /// All times are so many times as long, 0.01 to 100 (one-bed, massive, storm)
    #[arg(long, value_name = "N", conflicts_with = "replay", value_parser = scale)]
    scale: Option<f64>,
    /// How likely a sleeper forgets to give the bed back, 0 to 1 (one-bed)
    #[arg(long, value_name = "P", conflicts_with = "replay", value_parser = probability)]
    forgets: Option<f64>,
    /// How many there are, 2 to 1000 (massive, storm)
    #[arg(long, value_name = "N", conflicts_with = "replay", value_parser = clap::value_parser!(u16).range(2..=1000))]
    processes: Option<u16>,
    /// The same number, the same storm, as far as that is up to it (storm)
    #[arg(long, value_name = "N", conflicts_with = "replay")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Example {
    /// The shortest use: two cooks, one kitchen
    HowToUse,
    /// A narrated tour through what a lock does
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

    /// What its lock is called.
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

    /// The arguments that it is given.
    fn told(self, options: &Options) -> Result<Vec<String>, Failure> {
        let Options { scale, forgets, processes, seed } = options;
        let default = (self == Example::Massive).then_some(300);
        let given = [
            ("--scale", scale.map(|it| it.to_string())),
            ("--forgets", forgets.map(|it| it.to_string())),
            ("--processes", processes.or(default).map(|it| it.to_string())),
            ("--seed", seed.map(|it| it.to_string())),
        ];
        let mut told = Vec::new();
        for (option, value) in given {
            let Some(value) = value else { continue };
            if !self.takes(option) {
                let message = format!("the example {} has no {option}", self.name());
                return Err(Failure::new(USAGE, message));
            }
            told.extend([option.to_owned(), value]);
        }
        Ok(told)
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
    let told = args.example.told(&args.options)?;
    let program = crate::current_exe::myself().map_err(|error| {
        Failure::new(crate::exit::IO, format!("cannot find this program: {error}"))
    })?;
    let play = Play::start(|folder| stage::command(program, folder, args.example.name(), &told))?;
    let ending = play.ending();
    let title = format!("play {}", args.example.name());
    let shown = show(args, Box::new(play), title, Some(args.example.lock().into()));
    // Whoever still has the play: nothing of it stays.
    let code = ending.now();
    shown?;
    Ok(match code {
        Some(0) => 0,
        Some(_) => NOT_DONE,
        // By the key that Ctrl-C is, or another.
        None => SIGNAL + 2,
    })
}

/// Shows what was recorded.
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
        return plain::tell(source);
    }
    let listener = Listener::new(source);
    let verdict = listener.verdict();
    if args.web {
        serve::serve(Box::new(listener), args.place.options(title), crate::serve::tell)?;
    } else {
        let mut options = watch::Options::titled(title);
        options.opened = opened;
        options.ends = Some(std::time::Duration::ZERO);
        watch::show(Box::new(listener), options)?;
    }
    let lines: String = verdict.lines().into_iter().map(|line| line + "\n").collect();
    output::print(&lines).map(drop)
}

/// Writes down what this source tells, if that is asked for.
pub(crate) fn recorded(
    source: Box<dyn Source>,
    file: Option<&Path>,
) -> Result<Box<dyn Source>, Failure> {
    Ok(match file {
        Some(file) => Box::new(Recorder::new(source, file)?),
        None => source,
    })
}
