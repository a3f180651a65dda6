//! Environment variables in place of options: an empty variable counts as unset, and an error about a
//! wrong value names the variable.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

/// Returns the command line as if empty variables were not set.
pub(crate) fn without_empty(command: Command) -> Command {
    without(command, &|value| value.is_empty())
}

fn without(command: Command, is_unset: &dyn Fn(&OsStr) -> bool) -> Command {
    let of_argument = |argument: Arg| match value(&argument) {
        Some(value) if is_unset(&value) => argument.env(Resettable::Reset),
        _ => argument,
    };
    command.mut_args(of_argument).mut_subcommands(|command| without(command, is_unset))
}

/// Returns the value of this argument's variable.
fn value(argument: &Arg) -> Option<OsString> {
    argument.get_env().and_then(std::env::var_os)
}

/// Returns the message about a variable with a wrong value, if `error` is about one.
pub(crate) fn blame(error: &clap::Error, command: Command, given: &[OsString]) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let option = text(error, ContextKind::InvalidArg)?;
    let wrong = text(error, ContextKind::InvalidValue)?;
    // Clap knows how an option is written only after the command is built.
    let mut built = command.clone();
    built.build();
    let variable = variable_of(&built, &option, &wrong)?;
    // If it is still wrong without any variable, it was given as an option.
    let without_any = without(command, &|_| true).try_get_matches_from(given);
    let is_given = without_any
        .is_err_and(|other| text(&other, ContextKind::InvalidArg).as_ref() == Some(&option));
    let why = std::error::Error::source(error)
        .map_or_else(|| format!("`{wrong}` is no value of it"), ToString::to_string);
    (!is_given).then(|| format!("the variable {variable} has a wrong value: {why}"))
}

fn variable_of(command: &Command, option: &str, wrong: &str) -> Option<String> {
    let is_it = |argument: &&Arg| {
        argument.to_string() == option && value(argument).is_some_and(|value| value == wrong)
    };
    let own = command.get_arguments().find(is_it).and_then(Arg::get_env);
    own.map(|variable| variable.to_string_lossy().into_owned()).or_else(|| {
        command.get_subcommands().find_map(|command| variable_of(command, option, wrong))
    })
}
