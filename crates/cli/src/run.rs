//! The verb `run`: lock, run a command, unlock; and the wait that `acquire` shares with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockbydir::engine::is_url;
use lockbydir::{ErrorKind, Guard, How, Lock};

use crate::args::{Holding, Run};
use crate::attend::{self, Ended, Under, attend};
use crate::child::{Child, Plan, Signals, can_contain};
use crate::exit::{Failure, PATIENCE_OVER, SIGNAL, USAGE};
use crate::{held, nested, output, render, waiting};

/// Waits for the lock and prints what it waits for; a signal ends the wait.
pub(crate) fn wait_for(
    lock: Lock,
    holding: &Holding,
    signals: &Arc<Signals>,
) -> Result<Guard, Failure> {
    #[cfg(feature = "etcd")]
    if !holding.quiet {
        crate::etcd::print_warnings();
    }
    let lock = lock.interrupt(signals.early().clone());
    let got = waiting::announced(lock, holding).acquire();
    output::live_over();
    if let Some(signal) = signals.received() {
        drop(got);
        let message = format!("ended by signal {signal} while waiting");
        return Err(match signals.is_from_terminal(signal) {
            true => Failure::of_signal(signal, message),
            false => Failure::new(SIGNAL.saturating_add(signal), message),
        });
    }
    let guard = got.map_err(|error| match error.is_patience_over() && holding.quiet {
        true => Failure::new(PATIENCE_OVER, ""),
        false => error.into(),
    })?;
    let is_takeover = matches!(guard.how(), How::AfterExpiry(_) | How::AfterDeath(_));
    if holding.verbose || is_takeover && !holding.quiet {
        output::note(render::how(guard.how()));
    }
    output::settle(guard.timeout());
    Ok(guard)
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
    let lock = resolved(args.named.lock())?;
    let lock = args.holding.apply(lock, &label).renew_automatically(!args.no_renew);
    let lock = lock.begins_renewals_later(true).names_child(true);
    let name = name_of(&lock)?;

    let signals = signals_for(&name)?;
    let mut under = under(args, lock, &name, &signals).map_err(|failure| match failure.code {
        PATIENCE_OVER => Failure { code: args.conflict_code, ..failure },
        _ => failure,
    })?;

    let key = under.key();
    let held = held::with([(&*name, key)]);
    let variables = vec![
        ("LOCKBYDIR_NAME", name.into_os_string()),
        ("LOCKBYDIR_TOKEN", key.token().to_string().into()),
        (held::VARIABLE, held),
    ];
    let plan = Plan { command: &args.command, variables, is_contained: args.contain };
    let mut child = Child::spawn(plan, &signals, |pid| attend::name(&under, pid))?;
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
            drop(under);
            child.finish();
            return Err(stopped.failure);
        }
    };
    let released = match under {
        Under::Own(guard) => Arc::into_inner(guard).map_or(Ok(()), Guard::release),
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

/// Returns what the command runs under: the holding of an ancestor, if it is nested, or one of its own.
fn under(args: &Run, lock: Lock, name: &Path, signals: &Arc<Signals>) -> Result<Under, Failure> {
    if !args.nested {
        nested::refuse(&lock, name)?;
    } else if let Some(outer) = nested::outer(&lock, name, args.key.as_deref())? {
        return Ok(Under::Outer(Box::new(outer)));
    }
    wait_for(lock, &args.holding, signals).map(|guard| Under::Own(Arc::new(guard)))
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
pub(crate) fn signals_for(name: &Path) -> Result<Arc<Signals>, Failure> {
    if is_url(name) { Signals::watch() } else { Signals::receive() }
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
