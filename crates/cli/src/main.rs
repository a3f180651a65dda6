//! `lockbydir`: locking across processes by the existence and age of a directory.

#![deny(unsafe_code)]

mod args;
mod attend;
#[cfg(all(feature = "bench", target_os = "linux"))]
mod bench;
mod break_lock;
mod child;
mod current_exe;
mod descriptors;
mod doctor;
mod duration;
#[cfg(feature = "etcd")]
mod etcd;
mod exit;
mod flock;
mod group;
mod held;
mod man;
#[cfg(not(all(feature = "player", feature = "bench", target_os = "linux")))]
mod missing;
mod nested;
mod output;
#[cfg(feature = "player")]
mod play;
mod render;
mod run;
#[cfg(feature = "player")]
mod serve;
mod variables;
mod verbs;
mod waiting;
#[cfg(feature = "player")]
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args as _, CommandFactory, FromArgMatches};

use crate::args::{Args, Command};
use crate::exit::{DENIED, Failure, USAGE};

/// Whether privileges were raised by the set-user-ID or set-group-ID bit of this program, or of one
/// that started it. If so, the environment, the current directory and the arguments are those of
/// another user, and this program would run what they say.
#[cfg(unix)]
fn is_raised() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    getuid() != geteuid() || getgid() != getegid()
}

/// Other systems have no such bit.
#[cfg(not(unix))]
fn is_raised() -> bool {
    false
}

/// Parses the arguments; a variable of the environment stands in for one that is not given.
fn parse() -> Result<Args, clap::Error> {
    let given: Vec<_> = std::env::args_os().collect();
    if let Some(run) = parse_run(&given) {
        return Ok(Args { command: Command::Run(run) });
    }
    let has_several = is_run(&given) && has_dashes(&given);
    let command = || {
        let command = variables::without_empty(Args::command());
        if has_several { command.mut_subcommand("run", args::with_several_names) } else { command }
    };
    let parsed = command().try_get_matches_from(&given).and_then(|matches| {
        Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
    });
    parsed.map_err(|error| match variables::blame(&error, command(), &given) {
        Some(why) => clap::Error::raw(error.kind(), why + "\n"),
        None => error,
    })
}

fn is_run(given: &[OsString]) -> bool {
    given.get(1).is_some_and(|verb| verb == "run")
}

fn has_dashes(given: &[OsString]) -> bool {
    given.iter().any(|argument| argument == "--")
}

/// Parses the arguments of `run` without those of all other verbs, whose construction takes longer than the
/// lock. Returns `None` for anything but a correct `run`: the complete parser finds the words for it.
///
/// All before a `--` are names of locks. But where that is impossible, since an option of a command is among
/// them, it is the short form of one name, with a command that has a `--` of its own.
fn parse_run(given: &[OsString]) -> Option<args::Run> {
    let [_, arguments @ ..] = given else { return None };
    let parse_as = |form: fn(clap::Command) -> clap::Command| {
        let command = form(args::Run::augment_args(clap::Command::new("run")));
        let command = variables::without_empty(command);
        let matches = command.try_get_matches_from(arguments).ok()?;
        args::Run::from_arg_matches(&matches).ok()
    };
    match (is_run(given), has_dashes(given)) {
        (false, _) => None,
        (true, false) => parse_as(|run| run),
        (true, true) => parse_as(args::with_several_names)
            .or_else(|| parse_as(|run| run).filter(args::Run::has_program)),
    }
}

/// Renders a message of clap for `out`: with colours, if `out` shows them.
fn coloured(text: &clap::Error, out: &impl std::io::IsTerminal) -> String {
    match output::has_colours(out) {
        true => text.render().ansi().to_string(),
        false => text.render().to_string(),
    }
}

fn ending(done: Result<u32, Failure>) -> ExitCode {
    match done {
        Ok(code) => exit_code(code),
        Err(Failure { code, message, signal }) => {
            if !message.is_empty() {
                output::note(message);
            }
            if let Some(signal) = signal {
                output::end();
                child::end_by(signal);
            }
            ExitCode::from(code)
        }
    }
}

/// Converts the command's exit code. A code larger than a byte, as some systems have it, ends this
/// process at once.
fn exit_code(code: u32) -> ExitCode {
    match u8::try_from(code) {
        Ok(code) => ExitCode::from(code),
        Err(_) => {
            output::end();
            std::process::exit(code.cast_signed())
        }
    }
}

fn main() -> ExitCode {
    output::print_panics();
    let code = perform();
    // No lock is held any more, so this wait delays nobody.
    output::end();
    code
}

fn perform() -> ExitCode {
    if is_raised() {
        output::note(
            "will not run with raised privileges: a set-user-ID or set-group-ID bit is on this program or its caller; use `sudo`, or the library",
        );
        return ExitCode::from(DENIED);
    }
    child::learn_of_children();
    #[cfg(feature = "etcd")]
    etcd::begin();
    let args = match parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            output::plain(coloured(&error, &std::io::stderr()));
            return ExitCode::from(USAGE);
        }
        // Help that the user asked for is not an error.
        Err(help) => {
            return ending(output::print(&coloured(&help, &std::io::stdout())).map(u32::from));
        }
    };
    let done = match args.command {
        Command::Run(run) => run.prepared().and_then(|run| run::run(&run)),
        #[cfg(feature = "player")]
        Command::PlayPart(ref part) => return play::part(part),
        other => verbs::perform(other).map(u32::from),
    };
    #[cfg(feature = "etcd")]
    etcd::end();
    ending(done)
}
