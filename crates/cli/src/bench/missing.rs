//! The verb `bench` on systems that have none: it compares with calls of Linux.

use crate::exit::{Failure, UNAVAILABLE};

pub(crate) const HELP: &str = "Not on this system yet: `bench` compares with calls of Linux.";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Whatever it is given elsewhere
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _given: Vec<String>,
}

pub(crate) fn bench(_args: &Args) -> Result<u8, Failure> {
    Err(Failure::new(UNAVAILABLE, "`bench` is not on this system yet; it measures on Linux"))
}
