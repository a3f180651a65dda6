//! The verb `watch`: selects what to watch, and checks whether this terminal can show it.

use std::ffi::OsStr;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use clap::ValueHint;
use lockbydir::engine::{is_url, shown};
use lockbydir_player::Live;
use lockbydir_player::watch::{self, Options};

use crate::exit::{Failure, USAGE};
use crate::{output, render};

pub(crate) const HELP: &str = "\
Examples:
  lockbydir watch                       every lock below the current directory
  lockbydir watch /var/lock             every lock below that folder
  lockbydir watch nightly backup        these two, wherever they are
  lockbydir watch etcd://host:2379/     every lock of a cluster
  lockbydir watch --once > locks.txt    one frame, for scripts and reports";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A folder or URL, for all locks below it; or one lock or several [default: the current directory]
    #[arg(value_name = "DIR|NAME", value_hint = ValueHint::AnyPath)]
    places: Vec<PathBuf>,
    /// Where a relative NAME begins [default: the current directory]
    #[arg(long, value_name = "DIR", env = "LOCKBYDIR_DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// Print one frame, as large as the terminal or 80x24 (see COLUMNS and LINES), and exit
    #[arg(long)]
    once: bool,
    /// Record events as JSON lines into a new file, for `play --replay`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "once")]
    record: Option<PathBuf>,
}

/// The locks to watch.
enum Place {
    All(PathBuf),
    Locks(Vec<PathBuf>),
}

pub(crate) fn watch(args: &Args) -> Result<u8, Failure> {
    if !args.once {
        fit_for_frames()?;
    }
    let (title, mut live) = open(args.place()?)?;
    let mut options = Options::titled(title);
    if args.once {
        let frame = watch::still(Box::new(live), options, size(), render::can_draw())?;
        return output::print(&frame);
    }
    options.locks = Some(live.locks());
    watch::show(crate::play::recorded(Box::new(live), args.record.as_deref())?, options)?;
    Ok(0)
}

impl Args {
    fn place(&self) -> Result<Place, Failure> {
        let dir = self.dir.clone().filter(|dir| !dir.as_os_str().is_empty());
        if self.places.is_empty() {
            return Ok(Place::All(dir.unwrap_or_else(|| ".".into())));
        }
        let within = |place: &PathBuf| match &dir {
            Some(dir) if !is_url(place) && !place.as_os_str().is_empty() => dir.join(place),
            _ => place.clone(),
        };
        let places: Vec<PathBuf> = self.places.iter().map(within).collect();
        match &places[..] {
            [place] if is_whole(place) => return Ok(Place::All(place.clone())),
            [_] => {}
            _ => {
                if let Some(folder) = places.iter().find(|place| is_whole(place)) {
                    let message = format!(
                        "cannot watch {} beside others: give one folder, or names of locks",
                        shown(folder)
                    );
                    return Err(Failure::new(USAGE, message));
                }
            }
        }
        Ok(Place::Locks(places))
    }
}

/// Whether it stands for all locks below it, and not for one lock.
fn is_whole(place: &Path) -> bool {
    if is_url(place) {
        let text = place.to_string_lossy();
        let text = text.split('?').next().unwrap_or_default();
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let ends_in_slash = rest.ends_with('/') && !rest.ends_with(".lockdir/");
        return ends_in_slash || !rest.contains('/');
    }
    let ends_in_slash = place.as_os_str().as_encoded_bytes().ends_with(b"/");
    (ends_in_slash || place.is_dir()) && place.extension() != Some(OsStr::new("lockdir"))
}

fn open(place: Place) -> Result<(String, Live), Failure> {
    let live = match &place {
        Place::All(folder) => Live::of(folder)?,
        Place::Locks(names) => Live::of_locks(names)?,
    };
    let title = match &place {
        Place::All(folder) if folder == Path::new(".") => {
            shown(std::env::current_dir().unwrap_or_else(|_| folder.clone()))
        }
        Place::All(folder) => shown(folder),
        Place::Locks(names) => names.iter().map(shown).collect::<Vec<_>>().join(" "),
    };
    Ok((title, live))
}

/// Fails if standard output cannot show frames.
fn fit_for_frames() -> Result<(), Failure> {
    let instead = "`watch --once` prints one frame, `list` a table";
    if !stdout().is_terminal() {
        return Err(Failure::new(USAGE, format!("standard output is no terminal: {instead}")));
    }
    if !render::can_draw() {
        let message = format!("this terminal can place no cursor (TERM is dumb): {instead}");
        return Err(Failure::new(USAGE, message));
    }
    Ok(())
}

/// Returns the size of a frame in characters: from the environment, of the terminal, or 80 x 24.
fn size() -> (u16, u16) {
    let env = |name| std::env::var(name).ok()?.parse::<u16>().ok().filter(|size| *size > 0);
    let terminal = terminal_size::terminal_size_of(stdout());
    let (width, height) =
        terminal.map_or((80, 24), |(width, height)| (width.0.max(1), height.0.max(1)));
    let most = 1000;
    (env("COLUMNS").unwrap_or(width).min(most), env("LINES").unwrap_or(height).min(most))
}
