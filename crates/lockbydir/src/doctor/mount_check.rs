//! The cheap part of the examination: once in a process for each mount of a kind that nobody knows,
//! before the first lock there. What cannot be tried speaks for the mount: the lock itself will say
//! what is wrong.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::peer::Peer;
use super::report::Grade;
use super::sandbox::Sandbox;
use super::{Other, ProbeError, alone};
use lockbydir_protocol::MAX_NAME;

use crate::error::Error;
use crate::os;
use crate::os::fork_local::ForkLocal;
use crate::os::simulated;

/// What was found on a mount: how long its names are at most, as far as that was tried, or why no
/// lock may be there.
type Known = Result<usize, String>;

/// Refuses a mount that renames or removes what it must not. Returns how many bytes its names may
/// have, as far as that was tried.
pub(crate) fn check(folder: &Path) -> Result<usize, Error> {
    static KNOWN: ForkLocal<Mutex<HashMap<(u64, u64), Known>>> = ForkLocal::new();

    let is_known = || simulated::is_every_mount_known() || os::is_known(folder);
    if simulated::world().is_some() || is_known() {
        return Ok(usize::MAX);
    }
    let Some(mount) = os::mount_number(folder) else { return Ok(usize::MAX) };
    let known = KNOWN.get_or_make(Mutex::default);
    let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().get(&mount).cloned();
    let found = match found {
        Some(found) => found,
        None => {
            let Ok(found) = tried(folder) else { return Ok(usize::MAX) };
            known().insert(mount, found.clone());
            found
        }
    };
    found.map_err(|why| Error::unfit(folder, &why))
}

fn tried(folder: &Path) -> Result<Known, ProbeError> {
    let room = Sandbox::make(folder)?;
    for probe in [alone::TWICE, alone::OVER_FULL, alone::REMOVE_FULL] {
        let fatal = probe.find(&room, &mut Nobody)?;
        let fatal = fatal.into_iter().find(|finding| finding.grade == Grade::Fatal);
        if let Some(fatal) = fatal {
            return Ok(Err(format!("{}: {}", fatal.tried, fatal.seen)));
        }
    }
    let longest = alone::longest_name(&room)?;
    Ok(Ok(if longest < MAX_NAME { longest } else { usize::MAX }))
}

/// There is no other one.
struct Nobody;

impl Peer for Nobody {
    fn other(&self) -> Other {
        Other::Thread
    }

    fn tell(&mut self, _order: &str) -> Result<(), ProbeError> {
        Err(ProbeError::Silent("nobody is there".into()))
    }

    fn hear(&mut self) -> Result<String, ProbeError> {
        Err(ProbeError::Silent("nobody is there".into()))
    }
}
