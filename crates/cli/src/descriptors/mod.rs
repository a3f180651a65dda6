//! Standard output and standard error as this process got them, where the standard library does not
//! say. The same functions for each system.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;
