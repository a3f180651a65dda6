//! `lockbydir`: locking across processes by the existence and age of a directory.

#![deny(unsafe_code)]

mod args;
mod bench;
mod child;
mod duration;
mod exit;
mod render;
mod run;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::exit::{Failure, USAGE};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help that was asked for is no error.
            let code = if error.use_stderr() { USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let done = match args.command {
        Command::Run(ref run) => run::run(run),
        other => verbs::perform(other),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, message }) => {
            eprintln!("lockbydir: {message}");
            ExitCode::from(code)
        }
    }
}
