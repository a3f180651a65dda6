//! The cheap part of the examination: once in a process for each mount of a kind that nobody knows,
//! before the first lock there. What cannot be tried speaks for the mount: the lock itself will say
//! what is wrong.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::hand::Hand;
use super::report::Grade;
use super::room::Room;
use super::{Other, Trouble, alone};
use crate::error::Error;
use crate::own::Own;
use crate::{system, testing};

/// Why no lock may be on this mount, if it is so.
type Refusal = Option<String>;

/// Refuses a mount that renames or removes what it must not.
pub(crate) fn check(folder: &Path) -> Result<(), Error> {
    static KNOWN: Own<Mutex<HashMap<(u64, u64), Refusal>>> = Own::new();

    let is_known = || testing::is_every_mount_known() || system::is_known(folder);
    if testing::world().is_some() || is_known() {
        return Ok(());
    }
    let Some(mount) = system::mount_number(folder) else { return Ok(()) };
    let known = KNOWN.get_or_make(Mutex::default);
    let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().get(&mount).cloned();
    let refusal = match found {
        Some(refusal) => refusal,
        None => {
            let Ok(refusal) = tried(folder) else { return Ok(()) };
            known().insert(mount, refusal.clone());
            refusal
        }
    };
    refusal.map_or(Ok(()), |why| Err(Error::unfit(folder, &why)))
}

fn tried(folder: &Path) -> Result<Refusal, Trouble> {
    let room = Room::make(folder)?;
    for probe in [alone::TWICE, alone::OVER_FULL, alone::REMOVE_FULL] {
        let fatal = probe.find(&room, &mut Nobody)?;
        let fatal = fatal.into_iter().find(|finding| finding.grade == Grade::Fatal);
        if let Some(fatal) = fatal {
            return Ok(Some(format!("{}: {}", fatal.tried, fatal.seen)));
        }
    }
    Ok(None)
}

/// There is no other one.
struct Nobody;

impl Hand for Nobody {
    fn other(&self) -> Other {
        Other::Thread
    }

    fn tell(&mut self, _order: &str) -> Result<(), Trouble> {
        Err(Trouble::Silent("nobody is there".into()))
    }

    fn hear(&mut self) -> Result<String, Trouble> {
        Err(Trouble::Silent("nobody is there".into()))
    }
}
