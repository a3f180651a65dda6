//! The stage of a play and the processes on it: each is this program and runs one part of an example.
//! The stage knows no example. It ends all processes when its standard input ends, which is when the
//! watching process is gone, for whatever reason.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::child::{Child, Event, Plan, Signals};
use crate::current_exe::this_program;
use crate::exit::{CANNOT_RUN, Failure, IO};

/// The examples themselves; the `main` of each is for running it alone.
macro_rules! examples {
    ($($name:ident in $path:literal;)*) => {
        $(#[path = $path]
        #[expect(dead_code, reason = "its `main`")]
        #[allow(clippy::duplicate_mod, reason = "two read the same clock, each by itself")]
        mod $name;)*
    };
}

examples! {
    how_to_use in "../../examples/how_to_use.rs";
    inner_workings in "../../examples/inner_workings.rs";
    one_bed in "../../examples/one_bed.rs";
    massive in "../../examples/massive.rs";
    storm in "../../examples/storm.rs";
}

/// Limits the time until the end of the watching process is noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// Hidden: what `play` starts.
#[derive(clap::Args)]
pub(crate) struct Stage {
    folder: PathBuf,
    /// The part that all others are started by, and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    first: Vec<OsString>,
}

/// Hidden: what the stage starts, and what that starts.
#[derive(clap::Args)]
pub(crate) struct Part {
    name: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Returns the command that starts the stage for an example in this folder.
pub(super) fn command(mut program: Command, folder: &Path, name: &str, args: &[String]) -> Command {
    program.arg("play-stage").arg(folder).arg(name);
    match name {
        "how-to-use" | "inner-workings" => program.arg(folder),
        _ => program.args(args).arg("--folder").arg(folder),
    };
    program
}

/// Runs an example until it or the watching process ends; then none of its processes is left.
pub(crate) fn stage(args: &Stage) -> Result<u8, Failure> {
    // Signals of the terminal are for the watching process; the stage follows only the end of that.
    #[cfg(unix)]
    let _ = rustix::process::setsid();
    let signals = Signals::watch()?;
    let unknown = |error| Failure::new(IO, format!("cannot find this program: {error}"));
    let mut command =
        vec![this_program().map_err(unknown)?.get_program().to_owned(), "play-part".into()];
    command.extend(args.first.iter().cloned());
    let plan = Plan { command: &command, variables: Vec::new(), is_contained: false };
    let mut child = Child::spawn(plan, &signals, |_| Ok(Duration::MAX))?;
    let is_alone = Arc::new(AtomicBool::new(false));
    let flag = is_alone.clone();
    let wait_for_end = move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        flag.store(true, Ordering::Release);
    };
    let cannot = |error| Failure::new(IO, format!("cannot start a thread: {error}"));
    thread::Builder::new().name("end".into()).spawn(wait_for_end).map_err(cannot)?;
    let ended = loop {
        if is_alone.load(Ordering::Acquire) {
            child.end();
        }
        if let Some(event) = child.event(LONGEST_SLEEP) {
            break event;
        }
    };
    child.end();
    child.finish();
    // Otherwise the watching process still reads the folder.
    if is_alone.load(Ordering::Acquire) {
        remove(&args.folder);
    }
    match ended {
        Event::Ended { code, .. } => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        Event::NotStarted(error) => {
            Err(Failure::new(CANNOT_RUN, format!("cannot start the example: {error}")))
        }
        Event::Unsupervised(_) => Err(Failure::new(CANNOT_RUN, "the example was killed")),
    }
}

/// Removes the folder. Retries, since processes that were killed may have added something just before.
fn remove(folder: &Path) {
    for _ in 0..100 {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                thread::sleep(LONGEST_SLEEP / 5)
            }
            _ => return,
        }
    }
}

/// Runs one part of an example.
pub(crate) fn part(part: &Part) -> ExitCode {
    // A stopped process reacts to no other signal.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let again = |name: &'static str| {
        move || {
            let mut command = this_program()?;
            command.args(["play-part", name]);
            Ok(command)
        }
    };
    let folder = || part.arguments.first().map(PathBuf::from);
    let arguments = part.arguments.iter().cloned();
    let done = match part.name.as_str() {
        "how-to-use" => two_cooks(&again("cook"), &part.arguments),
        "cook" => how_to_use::play(folder()).map(|()| ExitCode::SUCCESS),
        "inner-workings" => inner_workings::play(folder()).map(|()| ExitCode::SUCCESS),
        "one-bed" => one_bed::play(&again("one-bed"), arguments),
        "massive" => massive::play(&again("massive"), arguments),
        "storm" => storm::play(&again("storm"), arguments),
        other => Err(format!("no example has a part {other}").into()),
    };
    done.unwrap_or_else(|error| {
        crate::output::note(error);
        ExitCode::FAILURE
    })
}

/// Runs the shortest example twice at once, so that one process waits for the other.
fn two_cooks(
    cook: &dyn Fn() -> io::Result<Command>,
    arguments: &[OsString],
) -> Result<ExitCode, Box<dyn Error>> {
    let cooks = [cook()?.args(arguments).spawn()?, cook()?.args(arguments).spawn()?];
    let mut good = true;
    for mut cook in cooks {
        good &= cook.wait()?.success();
    }
    let verdict = match good {
        true => "both have cooked, one after the other",
        false => "the kitchen is NOT what it was",
    };
    crate::output::write(&format!("\nVerdict: {verdict}.\n"))?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
