//! Windows. The calls themselves, and all that is unsafe about them, are in the crate
//! `lockbydir-windows`; here they are given the names that this library uses.

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
