//! The manual pages: what the help says, in the sections and the form that `man` readers expect.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::{Args, EXIT_CODES};
use crate::exit::{Failure, IO, USAGE};

/// The variables that the program reads, and what they are for; options have precedence.
const VARIABLES: [(&str, &str); 7] = [
    ("LOCKBYDIR_DIR", "The folder in which a relative NAME begins, as --dir."),
    ("LOCKBYDIR_TIMEOUT", "How long a lock lasts unless it is renewed, as --timeout."),
    ("LOCKBYDIR_PATIENCE", "How long to wait, as --patience."),
    ("SHELL", "The shell of run -c; /bin/sh if it is not set."),
    (
        "LOCKBYDIR_HELD",
        "The locks that run holds around this command, and their keys: set for the command of run, and read by run and acquire.",
    ),
    ("NO_COLOR", "If it is set, nothing is printed in colour."),
    (
        "LOCKBYDIR_NAME, LOCKBYDIR_TOKEN",
        "Not read, but set for the command of run: the lock's name, and the number of the holding.",
    ),
];

/// Returns the page of the program, or of one of its commands.
pub(crate) fn page(command: Option<&str>) -> Result<String, Failure> {
    let mut program = Args::command();
    program.build();
    let (page, name, others) = match command {
        None => {
            let others = program
                .get_subcommands()
                .filter(|command| !command.is_hide_set() && command.get_name() != "help")
                .map(|command| format!("lockbydir-{}", command.get_name()))
                .collect();
            (program, "lockbydir".to_owned(), others)
        }
        Some(name) => match program.find_subcommand(name).filter(|found| !found.is_hide_set()) {
            Some(found) => {
                (found.clone(), format!("lockbydir-{name}"), vec!["lockbydir".to_owned()])
            }
            None => {
                let message = format!("there is no command `{name}`; see --help");
                return Err(Failure::new(USAGE, message));
            }
        },
    };
    let mut out = Vec::new();
    render(page, &name, others, &mut out).map_err(|error| Failure::new(IO, error.to_string()))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn render(
    page: clap::Command,
    name: &str,
    mut others: Vec<String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let notes = page.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_commands = page.get_subcommands().any(|command| command.get_name() != "help");
    let man = Man::new(page)
        .title(name.to_uppercase())
        .section("1")
        .source(concat!("lockbydir ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if has_commands {
        man.render_subcommands_section(out)?;
    }
    let mut end = Roff::new();
    // The examples and notes below the help, as they stand there.
    if !notes.starts_with(EXIT_CODES) && !notes.is_empty() {
        verbatim(&mut end, "NOTES", &notes);
    }
    verbatim(&mut end, "EXIT STATUS", EXIT_CODES.trim_start_matches("Exit codes:\n"));
    end.control("SH", ["ENVIRONMENT"]);
    for (variable, meaning) in VARIABLES {
        end.control("TP", []);
        end.text([bold(variable)]);
        end.text([roman(meaning)]);
    }
    end.control("SH", ["SEE ALSO"]);
    others.push("flock".to_owned());
    for (nth, other) in others.iter().enumerate() {
        let comma = if nth + 1 < others.len() { "," } else { "" };
        end.text([bold(other.as_str()), roman(format!("(1){comma}"))]);
    }
    end.to_writer(out)
}

/// Adds a section whose lines stay as they are.
fn verbatim(to: &mut Roff, title: &str, text: &str) {
    to.control("SH", [title]);
    to.control("nf", []);
    for line in text.lines() {
        to.text([roman(line)]);
    }
    to.control("fi", []);
}
