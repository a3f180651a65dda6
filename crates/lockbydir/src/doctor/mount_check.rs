//! The cheap part of the examination, run once per process for each mount of an unknown type,
//! before the first lock there. A mount that cannot be examined is accepted: the lock itself will
//! report what is wrong.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::alone;
use super::finding::Grade;
use super::peer::Peer;
use super::probe_error::ProbeError;
use super::report::Other;
use super::sandbox::Sandbox;
use lockbydir_protocol::MAX_NAME;

use crate::error::Error;
use crate::os;
use crate::os::fork_local::ForkLocal;
use crate::os::simulated;

/// The result for a mount: the length limit of its names, as far as that was determined, or why no
/// lock may be there.
type Known = Result<usize, String>;

/// Refuses a mount that renames or removes what it must not. Returns the length limit of its names
/// in bytes, as far as that was determined.
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
    let sandbox = Sandbox::make(folder)?;
    for probe in [alone::TWICE, alone::OVER_FULL, alone::REMOVE_FULL] {
        let fatal = probe.find(&sandbox, &mut NoPeer)?;
        let fatal = fatal.into_iter().find(|finding| finding.grade == Grade::Fatal);
        if let Some(fatal) = fatal {
            return Ok(Err(format!("{}: {}", fatal.tried, fatal.seen)));
        }
    }
    let longest = alone::longest_name(&sandbox)?;
    Ok(Ok(if longest < MAX_NAME { longest } else { usize::MAX }))
}

/// A peer that does not exist.
struct NoPeer;

impl Peer for NoPeer {
    fn other(&self) -> Other {
        Other::Thread
    }

    fn send(&mut self, _order: &str) -> Result<(), ProbeError> {
        Err(ProbeError::Silent("no peer".into()))
    }

    fn receive(&mut self) -> Result<String, ProbeError> {
        Err(ProbeError::Silent("no peer".into()))
    }
}
