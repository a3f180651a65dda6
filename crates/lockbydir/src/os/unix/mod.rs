//! Unix: the parts that are common to all Unix systems, and one file for each system's own parts,
//! with the same functions.

mod alarm;
mod clock;
#[cfg(target_os = "linux")]
mod dependents;
#[cfg(target_os = "linux")]
mod dir_watcher;
mod files;
mod place;
#[cfg(target_os = "linux")]
mod proc_file;
mod process;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod kernel;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod kernel;

pub(crate) use alarm::*;
pub(crate) use clock::*;
#[cfg(target_os = "linux")]
pub(crate) use dependents::*;
#[cfg(target_os = "linux")]
pub(crate) use dir_watcher::*;
pub use files::*;
pub(crate) use kernel::*;
pub(crate) use place::*;
pub(crate) use process::*;
