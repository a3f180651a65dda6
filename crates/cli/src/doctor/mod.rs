//! The verb `doctor`: tries whether a folder is safe to lock in. The library does the trials; this file
//! has the arguments, the other process, and the report for programs. `table.rs` has the report for
//! people.

mod table;

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::Command;

use clap::ValueHint;
use lockbydir::doctor::{Examination, FileSystem, Report, Verdict};
use lockbydir::engine::{is_url, shown};
use lockbydir::{ErrorKind, Patience};
use serde::Serialize;

use crate::child::Signals;
use crate::duration::parse_patience;
use crate::exit::{Failure, NOT_DONE, SIGNAL, USAGE};
use crate::{output, render};

/// The end of `doctor --help`.
pub(crate) const HELP: &str = "\
On two hosts that share DIR, run `lockbydir doctor --peer DIR` on both at the same time, as the same
user: they find each other there, test against each other, and print the same table.

--json prints one object:
  version, dir, verdict (safe, safe with remarks, not safe), with (process, host)
  file_system  kind, source, options, local
  findings[]   name, grade (good, untried, remark, fatal), tried, seen, meaning

Examples:
  lockbydir doctor /mnt/share
  lockbydir doctor --peer --patience 10m /mnt/share";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder [default: the current directory]
    #[arg(env = "LOCKBYDIR_DIR", default_value = ".", hide_default_value = true, hide_env = true, value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Check together with another host that runs the same command at the same time
    #[arg(long)]
    peer: bool,
    /// How long to wait for the other host, or `forever`
    #[arg(short = 'w', long, value_name = "DUR", requires = "peer", default_value = "2m", value_parser = parse_patience)]
    patience: Patience,
}

/// Hidden: what `doctor` starts.
#[derive(clap::Args)]
pub(crate) struct Assistant {
    folder: PathBuf,
}

pub(crate) fn assist(assistant: &Assistant) -> Result<u8, Failure> {
    lockbydir::doctor::assist(&assistant.folder)?;
    Ok(0)
}

pub(crate) fn doctor(args: &Args) -> Result<u8, Failure> {
    let dir = &args.dir;
    if is_url(dir) {
        let message = format!("{} is no folder; the doctor examines file systems", shown(dir));
        return Err(Failure::new(USAGE, message));
    }
    let signals = Signals::watch()?;
    let examination = Examination::of(dir).interrupt(signals.early().clone());
    let examination = match args.peer {
        true => examination.with_host(args.patience),
        false => examination.with_process(assistant()?),
    };
    if args.peer && stderr().is_terminal() {
        output::note("waiting for `lockbydir doctor --peer` on the other host, in the same folder");
    }
    let report = examination.run().map_err(|error| match error.kind() {
        ErrorKind::Interrupted => {
            Failure::new(SIGNAL.saturating_add(signals.last()), error.to_string())
        }
        _ => error.into(),
    })?;
    output::print(&match args.json {
        true => render::json(&ReportJson::of(&report))?,
        false => table::table(&report),
    })?;
    Ok(if report.verdict() == Verdict::NotSafe { NOT_DONE } else { 0 })
}

/// Returns the command that starts this program as the other process.
fn assistant() -> Result<Command, Failure> {
    let mut command = crate::current_exe::this_program().map_err(|error| {
        Failure::new(crate::exit::IO, format!("cannot find this program's file: {error}"))
    })?;
    command.arg("doctor-assistant");
    Ok(command)
}

#[derive(Serialize)]
struct ReportJson<'a> {
    version: &'static str,
    dir: String,
    verdict: String,
    with: String,
    file_system: FileSystemJson<'a>,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
struct FileSystemJson<'a> {
    kind: &'a str,
    source: &'a str,
    options: &'a str,
    local: bool,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    name: &'a str,
    grade: String,
    tried: &'a str,
    seen: &'a str,
    meaning: &'a str,
}

impl ReportJson<'_> {
    fn of(report: &Report) -> ReportJson<'_> {
        let FileSystem { kind, source, options, is_local, .. } = &report.file_system;
        let findings = report.findings.iter().map(|finding| FindingJson {
            name: &finding.name,
            grade: finding.grade.to_string(),
            tried: &finding.tried,
            seen: &finding.seen,
            meaning: &finding.meaning,
        });
        ReportJson {
            version: env!("CARGO_PKG_VERSION"),
            dir: report.dir.to_string_lossy().into_owned(),
            verdict: report.verdict().to_string(),
            with: report.other.to_string(),
            file_system: FileSystemJson { kind, source, options, local: *is_local },
            findings: findings.collect(),
        }
    }
}
