//! Unix.

mod alarm;
mod clock;
mod files;
mod process;

pub(crate) use alarm::*;
pub(crate) use clock::*;
pub use files::*;
pub(crate) use process::*;
