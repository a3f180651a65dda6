//! Windows. The calls themselves, and all unsafe code for them, are in the crate
//! `lockbydir-windows`; this module gives them the names that this library uses.

mod alarm;
mod clock;
mod files;
mod place;
mod process;

pub(crate) use alarm::*;
pub(crate) use clock::*;
pub use files::*;
pub(crate) use place::*;
pub(crate) use process::*;
