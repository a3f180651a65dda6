//! A recording: a file of JSON lines. The first line is a header with format and version, each
//! other line an [`Event`].

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::event::Event;
use crate::source::Source;

/// The format that the header names.
const FORMAT: &str = "lockbydir events";
/// The version of the format; increased when old readers would misread what is written.
const VERSION: u32 = 1;
/// The length limit of a line, in bytes; it bounds the memory that a file which is no recording can
/// take.
const LONGEST: u64 = 1 << 16;
/// A file of at most this many bytes is kept in memory; a larger one is read twice.
const MAX_KEPT: u64 = 1 << 24;
/// About how many bytes of a larger file are returned as one batch of events: a recording may have
/// any number of events at the same time.
const BATCH: u64 = 1 << 22;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    program: String,
}

/// Records the events of a source, and passes them on.
pub struct Recorder<S> {
    source: S,
    path: PathBuf,
    file: BufWriter<File>,
}

impl<S: Source> Recorder<S> {
    /// Records into a new file.
    ///
    /// # Errors
    /// When the file exists already, or cannot be created.
    pub fn new(source: S, path: impl Into<PathBuf>) -> Result<Recorder<S>, Error> {
        let path = path.into();
        let file = File::create_new(&path).map_err(|cause| {
            let why = match cause.kind() {
                ErrorKind::AlreadyExists => "it is there already; name a new file".into(),
                _ => cause.to_string(),
            };
            let cause = io::Error::new(cause.kind(), format!("cannot be recorded into: {why}"));
            Error::File { path: path.clone(), cause }
        })?;
        let header = Header {
            format: FORMAT.into(),
            version: VERSION,
            program: concat!("lockbydir ", env!("CARGO_PKG_VERSION")).into(),
        };
        let mut recorder = Recorder { source, path, file: BufWriter::new(file) };
        recorder.write(&[header])?;
        Ok(recorder)
    }

    fn write(&mut self, lines: &[impl Serialize]) -> Result<(), Error> {
        let failed = |cause| Error::File { path: self.path.clone(), cause };
        for line in lines {
            serde_json::to_writer(&mut self.file, line).map_err(|error| failed(error.into()))?;
            self.file.write_all(b"\n").map_err(failed)?;
        }
        // Flushes so that the file is complete up to now, whatever ends the program.
        self.file.flush().map_err(failed)
    }
}

impl<S: Source> Source for Recorder<S> {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let events = self.source.next(up_to)?;
        self.write(&events)?;
        Ok(events)
    }

    fn now(&self) -> f64 {
        self.source.now()
    }

    fn is_over(&self) -> bool {
        self.source.is_over()
    }
}

/// A recording as a source, at any speed.
#[derive(Debug)]
pub struct Replay {
    rest: Rest,
    /// The event that is due next.
    next: Option<Event>,
    only_lock: Option<String>,
    torn: Option<usize>,
    speed: f64,
    /// The time of the recording at the instant `since`.
    at: f64,
    since: Instant,
}

/// The events that follow the next one. A large file is read a second time for them, since it may
/// be larger than memory; a small one is kept in memory, and so is what can be read only once, such
/// as a pipe.
#[derive(Debug)]
enum Rest {
    File(Events),
    Kept(VecDeque<Event>),
}

impl Rest {
    fn next(&mut self) -> Result<Option<Event>, Error> {
        match self {
            Rest::File(events) => events.next(),
            Rest::Kept(events) => Ok(events.pop_front()),
        }
    }

    /// Returns how many bytes of the file have been read in the second pass.
    fn bytes(&self) -> u64 {
        match self {
            Rest::File(events) => events.lines.bytes,
            Rest::Kept(_) => 0,
        }
    }
}

impl Replay {
    /// Opens a recording, to be replayed `speed` times as fast as it was recorded.
    ///
    /// # Errors
    /// When it cannot be read or is not a recording; the error names the line.
    pub fn open(path: impl AsRef<Path>, speed: f64) -> Result<Replay, Error> {
        let mut events = Events::of(path.as_ref())?;
        let (mut kept, mut locks) = (VecDeque::new(), Locks::None);
        let is_small = |lines: &Lines| !lines.is_read_again || lines.bytes <= MAX_KEPT;
        while let Some(event) = events.next()? {
            locks.add(&event.lock);
            if is_small(&events.lines) {
                kept.push_back(event);
            } else {
                kept = VecDeque::new();
            }
        }
        let torn = events.torn;
        let mut rest = match !is_small(&events.lines) {
            true => Rest::File(Events::of(path.as_ref())?),
            false => Rest::Kept(kept),
        };
        let next = rest.next()?;
        let at = next.as_ref().map_or(0.0, |event| event.at);
        let only_lock = locks.only();
        Ok(Replay { rest, next, only_lock, torn, speed, at, since: Instant::now() })
    }

    /// Returns the name of the lock that all events belong to, if there is exactly one.
    #[must_use]
    pub fn only_lock(&self) -> Option<&str> {
        self.only_lock.as_deref()
    }

    /// Returns the number of the last line if that was cut off; it is left out.
    #[must_use]
    pub fn torn(&self) -> Option<usize> {
        self.torn
    }
}

/// Whether a recording has events of no lock, of one, or of several.
enum Locks {
    None,
    One(String),
    Several,
}

impl Locks {
    fn add(&mut self, lock: &str) {
        match self {
            _ if lock.is_empty() => {}
            Locks::None => *self = Locks::One(lock.to_owned()),
            Locks::One(other) if other != lock => *self = Locks::Several,
            Locks::One(_) | Locks::Several => {}
        }
    }

    fn only(self) -> Option<String> {
        match self {
            Locks::One(lock) => Some(lock),
            Locks::None | Locks::Several => None,
        }
    }
}

/// The events of a file, in order.
#[derive(Debug)]
struct Events {
    lines: Lines,
    /// The recorded time of the last event. Where the clock was set back, later events are shifted
    /// by `set_back` seconds, so that time never runs backwards.
    last: f64,
    set_back: f64,
    /// The number of the last line if that was cut off.
    torn: Option<usize>,
}

impl Events {
    fn of(path: &Path) -> Result<Events, Error> {
        let mut lines = Lines::of(path)?;
        let header = lines.next()?.and_then(|(line, _)| serde_json::from_slice(&line).ok());
        let header: Header = header
            .filter(|header: &Header| header.format == FORMAT)
            .ok_or_else(|| lines.wrong("no recording of lockbydir; `--record FILE` makes one"))?;
        if header.version != VERSION {
            let Header { version, program, .. } = header;
            return Err(lines.wrong(format!(
                "{program} wrote it in version {version} of the format; this program reads {VERSION}"
            )));
        }
        Ok(Events { lines, last: 0.0, set_back: 0.0, torn: None })
    }

    fn next(&mut self) -> Result<Option<Event>, Error> {
        let Some((line, is_whole)) = self.lines.next()? else { return Ok(None) };
        let event = serde_json::from_slice::<Event>(&line).map_err(|error| error.to_string());
        match event.and_then(Event::checked) {
            Ok(mut event) => {
                self.set_back += f64::max(self.last - event.at, 0.0);
                self.last = event.at;
                event.at += self.set_back;
                Ok(Some(event))
            }
            Err(_) if !is_whole => {
                self.torn = Some(self.lines.number);
                Ok(None)
            }
            Err(why) => Err(self.lines.wrong(why)),
        }
    }
}

/// A file, line by line.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    number: usize,
    bytes: u64,
    /// Whether its content can be read again by opening it again.
    is_read_again: bool,
}

impl Lines {
    fn of(path: &Path) -> Result<Lines, Error> {
        let failed = |cause| unreadable(path, &cause);
        let file = File::open(path).map_err(failed)?;
        let is_read_again = file.metadata().map_err(failed)?.is_file();
        Ok(Lines {
            path: path.into(),
            file: BufReader::new(file),
            number: 0,
            bytes: 0,
            is_read_again,
        })
    }

    /// Returns the next line, and whether it ends in a newline.
    fn next(&mut self) -> Result<Option<(Vec<u8>, bool)>, Error> {
        let mut line = Vec::new();
        self.number += 1;
        let read = self.file.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        let read = read.map_err(|cause| unreadable(&self.path, &cause))?;
        self.bytes += read as u64;
        match read {
            0 => Ok(None),
            _ if line.last() == Some(&b'\n') => Ok(Some((line, true))),
            length if length as u64 == LONGEST => {
                Err(self.wrong(format!("longer than {LONGEST} bytes; no recording has such lines")))
            }
            _ => Ok(Some((line, false))),
        }
    }

    /// Returns an error about the current line. `why` may quote the file, which may contain
    /// anything, so it is made printable.
    fn wrong(&self, why: impl Into<String>) -> Error {
        let why = lockbydir::printable(why.into());
        Error::Recording { path: self.path.clone(), line: self.number, why }
    }
}

fn unreadable(path: &Path, cause: &io::Error) -> Error {
    let cause = io::Error::new(cause.kind(), format!("cannot be read: {cause}"));
    Error::File { path: path.into(), cause }
}

impl Source for Replay {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let until = self.now() + up_to.as_secs_f64() * self.speed;
        let due = self.next.as_ref().map_or(until, |event| event.at.min(until));
        let wait = ((due - self.now()) / self.speed).max(0.0);
        std::thread::sleep(Duration::try_from_secs_f64(wait).unwrap_or(up_to).min(up_to));
        let now = self.now();
        let (mut events, begun) = (Vec::new(), self.rest.bytes());
        while self.rest.bytes() - begun < BATCH
            && let Some(event) = self.next.take_if(|event| event.at <= now)
        {
            events.push(event);
            self.next = self.rest.next()?;
        }
        Ok(events)
    }

    fn now(&self) -> f64 {
        self.at + self.since.elapsed().as_secs_f64() * self.speed
    }

    fn is_over(&self) -> bool {
        self.next.is_none()
    }
}
