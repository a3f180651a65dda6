//! The verb `run`: lock, run a command, unlock; and the wait that `acquire` shares with it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockbydir::engine::is_url;
use lockbydir::{Error, ErrorKind, Guard, Guards, How, Lock, acquire_all};

use crate::args::{Holding, Run};
use crate::attend::{self, Ended, Under, attend};
use crate::child::{Child, Plan, Signals, can_contain};
use crate::exit::{CANNOT_RUN, Failure, NOT_FOUND, PATIENCE_OVER, SIGNAL, USAGE};
use crate::{held, nested, output, render, waiting};

/// Waits for the lock and prints what it waits for; a signal ends the wait.
pub(crate) fn wait_for(
    lock: Lock,
    holding: &Holding,
    signals: &Arc<Signals>,
) -> Result<Guard, Failure> {
    let guard = wait_by(|| announced(lock, holding, signals).acquire(), holding, signals)?;
    report(&guard, holding);
    Ok(guard)
}

/// Waits for all locks in the same way.
fn wait_for_all(
    locks: Vec<Lock>,
    holding: &Holding,
    signals: &Arc<Signals>,
) -> Result<Guards, Failure> {
    let locks = locks.into_iter().map(|lock| announced(lock, holding, signals));
    let guards = wait_by(|| acquire_all(locks), holding, signals)?;
    guards.as_given().into_iter().for_each(|guard| report(guard, holding));
    Ok(guards)
}

/// Returns the lock, set to print what it waits for, and to stop at a signal.
fn announced(lock: Lock, holding: &Holding, signals: &Arc<Signals>) -> Lock {
    waiting::announced(lock.interrupt(signals.early().clone()), holding)
}

fn wait_by<T>(
    acquire: impl FnOnce() -> Result<T, Error>,
    holding: &Holding,
    signals: &Arc<Signals>,
) -> Result<T, Failure> {
    #[cfg(feature = "etcd")]
    if !holding.quiet {
        crate::etcd::print_warnings();
    }
    let got = acquire();
    output::live_over();
    if let Some(signal) = signals.received() {
        drop(got);
        let message = format!("ended by signal {signal} while waiting");
        return Err(match signals.is_from_terminal(signal) {
            true => Failure::of_signal(signal, message),
            false => Failure::new(SIGNAL.saturating_add(signal), message),
        });
    }
    got.map_err(|error| match error.is_patience_over() && holding.quiet {
        true => Failure::new(PATIENCE_OVER, ""),
        false => error.into(),
    })
}

/// Prints how the lock was acquired, if that is worth a line.
fn report(guard: &Guard, holding: &Holding) {
    let is_takeover = match guard.how() {
        // Without a process it may have been left to expire on purpose.
        How::AfterExpiry(before) => {
            before.holder.as_ref().is_none_or(|holder| holder.pid.is_some())
        }
        how => matches!(how, How::AfterDeath(_)),
    };
    if holding.verbose || is_takeover && !holding.quiet {
        output::note(render::how(guard.how()));
    }
    output::settle(guard.timeout());
}

pub(crate) fn run(args: &Run) -> Result<u32, Failure> {
    if args.wait_children && !Child::WAITS_FOR_ALL {
        return Err(Failure::new(USAGE, "--wait-children is not possible on this system"));
    }
    if args.contain {
        can_contain()?;
    }
    let program = args.command.first().map(Path::new).unwrap_or(Path::new(""));
    let label = program.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let label: String = label.chars().filter(|c| c.is_ascii_graphic()).take(40).collect();
    let mut locks = Vec::new();
    for lock in args.locks() {
        let lock = args.holding.apply(resolved(lock)?, &label).renew_automatically(!args.no_renew);
        // With several, each is renewed while the next ones are waited for.
        let is_alone = args.locks().len() == 1;
        let lock = lock.at_least(args.at_least.unwrap_or_default());
        locks.push(lock.begins_renewals_later(is_alone).names_child(true));
    }
    let mut names = locks.iter().map(name_of).collect::<Result<Vec<_>, _>>()?;

    // Several threads wait for a slot.
    let signals = if args.slots.is_some() { Signals::watch()? } else { signals_for(&names)? };
    let mut under = under(args, locks, &names, &signals).map_err(|failure| match failure.code {
        PATIENCE_OVER => Failure { code: args.conflict_code, ..failure },
        _ => failure,
    })?;

    let slot = under.slot();
    if let Some(number) = slot {
        names.iter_mut().for_each(|name| name.as_mut_os_string().push(format!(".{number}")));
    }
    let keys = under.keys();
    let held = held::with(names.iter().map(PathBuf::as_path).zip(keys.iter().copied()));
    let mut variables = vec![
        ("LOCKBYDIR_NAME", lines(names.into_iter().map(PathBuf::into_os_string))),
        ("LOCKBYDIR_TOKEN", lines(keys.iter().map(|key| key.token().to_string().into()))),
        (held::VARIABLE, held),
    ];
    variables.extend(slot.map(|number| ("LOCKBYDIR_SLOT", number.to_string().into())));
    let plan = Plan { command: &args.command, variables, is_contained: args.contain };
    let mut child = Child::spawn(plan, &signals, |pid| attend::name(&under, pid))
        .inspect_err(|_| under.end_at_once())?;
    let attended = attend(args, &mut under, &mut child).and_then(|ended| {
        match args.contain {
            true => attend::leaves_nothing(&mut child)?,
            false => child.leave(),
        }
        Ok(ended)
    });
    let ended = match attended {
        Ok(ended) => ended,
        Err(stopped) if stopped.keeps_lock => {
            // The lock is neither released nor renewed any more: others may enter after its timeout.
            std::mem::forget(under);
            return Err(stopped.failure);
        }
        Err(stopped) => {
            if matches!(stopped.failure.code, CANNOT_RUN | NOT_FOUND) {
                under.end_at_once();
            }
            drop(under);
            child.finish();
            return Err(stopped.failure);
        }
    };
    let released = match under {
        Under::Own(guards) => Arc::into_inner(guards).map_or(Ok(()), Guards::release),
        Under::Outer(mut outer) => {
            child.finish();
            return outer.check().and(ending(&signals, &ended));
        }
    };
    child.finish();
    let result = ending(&signals, &ended);
    match released {
        Err(error) if error.kind() != ErrorKind::Lost => {
            output::note(error);
            result
        }
        done => done.map_err(Failure::from).and(result),
    }
}

/// Returns what the command runs under: the holding of an ancestor, if it is nested, or its own.
fn under(
    args: &Run,
    locks: Vec<Lock>,
    names: &[PathBuf],
    signals: &Arc<Signals>,
) -> Result<Under, Failure> {
    match (&*locks, names) {
        ([lock], [_]) if args.slots.is_some() => {
            let slots = args.slots.unwrap_or_default();
            let slots = announced(lock.clone(), &args.holding, signals).slots(slots);
            let guard = wait_by(|| slots.acquire(), &args.holding, signals)?;
            report(&guard, &args.holding);
            return Ok(Under::Own(Arc::new(guard.into())));
        }
        _ if args.slots.is_some() => {
            return Err(Failure::new(USAGE, "--slots takes one NAME, which has the slots"));
        }
        ([lock], [name]) if args.nested => {
            if let Some(outer) = nested::outer(lock, name, args.key.as_deref())? {
                return Ok(Under::Outer(Box::new(outer)));
            }
        }
        _ if args.nested => {
            let message =
                "--nested takes one NAME: a command runs under one holding of an ancestor";
            return Err(Failure::new(USAGE, message));
        }
        _ => {
            let mut all = locks.iter().zip(names);
            all.try_for_each(|(lock, name)| nested::refuse(lock, name))?;
        }
    }
    wait_for_all(locks, &args.holding, signals).map(|guards| Under::Own(Arc::new(guards)))
}

/// Returns a line for each of these, without a line break at the end.
fn lines(all: impl Iterator<Item = OsString>) -> OsString {
    all.collect::<Vec<_>>().join(OsStr::new("\n"))
}

fn ending(signals: &Signals, ended: &Ended) -> Result<u32, Failure> {
    match ended.signal.filter(|&signal| signals.is_from_terminal(signal)) {
        Some(signal) => Err(Failure::of_signal(signal, "")),
        None => Ok(ended.code),
    }
}

/// Returns the lock's name, as commands get it.
pub(crate) fn name_of(resolved: &Lock) -> Result<PathBuf, Failure> {
    Ok(resolved.path()?.with_extension(""))
}

/// Starts to receive signals. The wait for a lock directory sleeps on them; that for another engine must be
/// woken by a thread.
pub(crate) fn signals_for(names: &[impl AsRef<Path>]) -> Result<Arc<Signals>, Failure> {
    if names.iter().any(is_url) { Signals::watch() } else { Signals::receive() }
}

/// Returns the lock with the symbolic links on its path resolved, so that it stays the same lock if
/// they change. Without links it keeps the name that it was given.
pub(crate) fn resolved(lock: Lock) -> Result<Lock, Failure> {
    let path = lock.path()?;
    if is_url(lock.name()) {
        return Ok(lock);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(lock) };
    match folder.canonicalize() {
        Ok(resolved) if resolved != folder => Ok(Lock::new(resolved.join(name).with_extension(""))),
        // A missing folder is reported when the lock is acquired.
        _ => Ok(lock),
    }
}

impl Signals {
    /// Returns the signal that asked this process to end before there was a command to pass it to.
    pub(crate) fn received(&self) -> Option<u8> {
        self.collect();
        self.early().is_raised().then(|| self.last())
    }
}
