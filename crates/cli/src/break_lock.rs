//! The verb `break`, and how it treats foreign things in a lock directory.

use std::io::{IsTerminal, stderr, stdin};

use lockbydir::engine::{is_url, shown};
use lockbydir::{Broken, ForeignThing, Lock};

use crate::args::Break;
use crate::exit::{CANNOT_MAKE, Failure, NOT_DONE};
use crate::output;

pub(crate) fn break_lock(args: &Break) -> Result<u8, Failure> {
    let lock = args.bare.apply(args.named.lock().mode(args.mode));
    let broken = if args.force { break_by_force(args, &lock)? } else { lock.break_stale()? };
    match broken {
        Broken::StillHeld(holder) => {
            let holder = holder
                .map_or("a plain mkdir lock that is not old".into(), |holder| holder.to_string());
            let name = shown(args.named.name());
            Err(Failure::new(
                NOT_DONE,
                format!("{name} is held by {holder}; use --force to break it anyway"),
            ))
        }
        _ => Ok(0),
    }
}

/// Breaks the lock, whoever holds it. Foreign things keep a lock from being broken: they are removed
/// only with `--remove-foreign` or if a person agrees, and never silently.
fn break_by_force(args: &Break, lock: &Lock) -> Result<Broken, Failure> {
    let failed = match lock.break_by_force() {
        Ok(broken) => return Ok(broken),
        Err(error) => error,
    };
    if is_url(args.named.name()) {
        return Err(failed.into());
    }
    let things = lock.foreign_things().unwrap_or_default();
    if things.is_empty() {
        return Err(failed.into());
    }
    let listed = things.iter().map(ForeignThing::to_string).collect::<Vec<_>>().join(", ");
    if let Some(other) = things.iter().find(|thing| !thing.is_removable()) {
        let message = format!("{failed}; it holds {listed}; remove {other} by hand");
        return Err(Failure::new(CANNOT_MAKE, message));
    }
    if !args.remove_foreign && !is_agreed(args, &listed) {
        let message = format!("{failed}; it holds {listed}; --remove-foreign removes that");
        return Err(Failure { message, ..failed.into() });
    }
    lock.remove_foreign_things(&things)?;
    output::note(format_args!("removed {listed}"));
    Ok(lock.break_by_force()?)
}

/// Asks the person at the terminal; without a terminal the answer is no.
fn is_agreed(args: &Break, listed: &str) -> bool {
    if !(stdin().is_terminal() && stderr().is_terminal()) {
        return false;
    }
    let name = shown(args.named.name());
    output::plain(format!(
        "{name}.lockdir holds {listed}.\nRemove that, and break the lock? [y/N] "
    ));
    let mut answer = String::new();
    stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
