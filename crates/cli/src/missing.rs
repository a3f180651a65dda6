//! The verbs that this build or this system does not have: their names are known, so that the error
//! says how to get them.

use std::ffi::OsString;

use crate::exit::{Failure, UNAVAILABLE};

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Missing {
    /// Whatever it is given where it exists
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _given: Vec<OsString>,
}

/// Returns the failure of a verb that needs this feature of the build.
pub(crate) fn missing(verb: &str, feature: &str) -> Failure {
    let message = match feature {
        "bench" if !cfg!(target_os = "linux") => {
            "`bench` is not on this system yet: it compares with calls of Linux".into()
        }
        _ => format!(
            "this `lockbydir` was built without `{verb}`: build it with `cargo install lockbydir-cli --features full`, or with `--features {feature}`"
        ),
    };
    Failure::new(UNAVAILABLE, message)
}
