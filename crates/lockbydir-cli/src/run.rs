//! The verb `run`: lock, run a command, unlock; and the wait that `acquire` shares with it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockbydir::{ErrorKind, Guard, How, Lock, printable};

use crate::args::{Holding, Run};
use crate::child::{Child, Event, Signals};
use crate::exit::{CANNOT_RUN, Failure, LOST, NOT_FOUND, PATIENCE_OVER, SIGNAL};
use crate::{output, render, waiting};

/// The longest time between the polite and the hard end of a command.
const LONGEST_GRACE: Duration = Duration::from_secs(5);
/// The clock that wakes us stops in suspend: never sleep longer.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// Waits for the lock, telling a person at a terminal; a signal ends the wait.
pub(crate) fn wait_for(
    lock: Lock,
    holding: &Holding,
    signals: &Arc<Signals>,
) -> Result<Guard, Failure> {
    #[cfg(feature = "etcd")]
    if !holding.quiet {
        crate::etcd::tell_warnings();
    }
    let lock = lock.interrupt(signals.early().clone());
    let got = waiting::announced(lock, holding).acquire();
    output::live_over();
    if let Some(signal) = signals.received() {
        drop(got);
        let message = format!("ended by signal {signal} while waiting");
        return Err(Failure::new(SIGNAL.saturating_add(signal), message));
    }
    let guard = got.map_err(|error| match error.is_patience_over() && holding.quiet {
        true => Failure::new(PATIENCE_OVER, ""),
        false => error.into(),
    })?;
    let is_odd = matches!(guard.how(), How::AfterLapse(_) | How::AfterDeath(_));
    if holding.verbose || is_odd && !holding.quiet {
        output::note(render::how(guard.how()));
    }
    output::settle(guard.timeout());
    Ok(guard)
}

pub(crate) fn run(args: &Run) -> Result<u32, Failure> {
    let program = args.command.first().map(Path::new).unwrap_or(Path::new(""));
    let label = program.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let label: String = label.chars().filter(|c| c.is_ascii_graphic()).take(40).collect();
    let lock = args
        .holding
        .apply(args.named.lock(), &label)
        .renew_automatically(!args.no_renew)
        .names_child(true);
    let path = lock.path()?;

    let signals = Signals::watch();
    let guard = wait_for(lock, &args.holding, &signals).map_err(|failure| match failure.code {
        PATIENCE_OVER => Failure { code: args.conflict_code, ..failure },
        _ => failure,
    })?;

    let name = path.with_extension("");
    let variables = [
        ("LOCKBYDIR_NAME", name.into_os_string()),
        ("LOCKBYDIR_TOKEN", guard.token().to_string().into()),
    ];
    let named = |pid| guard.name_child(pid).map_err(Failure::from);
    let child = Child::spawn(&args.command, variables, &signals, named)?;
    let code = attend(args, &guard, &child)?;
    match guard.release() {
        Err(error) if error.kind() != ErrorKind::Lost => {
            output::note(error);
            Ok(code)
        }
        done => done.map(|()| code).map_err(Failure::from),
    }
}

/// Waits for the command's end; ends it when the lock cannot be kept.
fn attend(args: &Run, guard: &Guard, child: &Child) -> Result<u32, Failure> {
    let timeout = guard.timeout();
    let grace = (timeout / 8).min(LONGEST_GRACE);
    // The keeper gives up before this, and says why.
    let notice = if args.no_renew { grace } else { timeout / 5 };
    loop {
        let rest = guard.remaining().saturating_sub(notice);
        if rest.is_zero() {
            break;
        }
        match child.event(rest.min(LONGEST_SLEEP)) {
            Some(event) => return ended(args, event),
            None => continue,
        }
    }

    let lost = guard.lost().map_or_else(
        || format!("the lock {} has reached its timeout", printable(guard.path())),
        |error| error.to_string(),
    );
    child.end(false);
    output::note(format!("{lost}; ending the command"));
    let last = Instant::now() + grace.min(guard.remaining().max(grace / 2));
    loop {
        let rest = last.saturating_duration_since(Instant::now());
        if child.event(rest.min(LONGEST_SLEEP)).is_some() {
            break;
        }
        if rest.is_zero() {
            child.end(true);
            while child.event(LONGEST_SLEEP).is_none() {}
            break;
        }
    }
    // Whatever the command had started ends with it.
    child.end(true);
    Err(Failure::new(LOST, "the lock was lost, so the command was ended"))
}

fn ended(args: &Run, event: Event) -> Result<u32, Failure> {
    let program = args.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
    match event {
        Event::Exited(code) => Ok(code),
        Event::NotStarted(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::new(NOT_FOUND, format!("`{program}` is not found")))
        }
        Event::NotStarted(error) => {
            Err(Failure::new(CANNOT_RUN, format!("cannot run `{program}`: {error}")))
        }
    }
}

impl Signals {
    /// The signal that asked us to end before there was a command to tell.
    pub(crate) fn received(&self) -> Option<u8> {
        self.early().is_raised().then(|| self.last())
    }
}
