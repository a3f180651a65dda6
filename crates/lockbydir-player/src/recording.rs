//! A recording: a file of JSON lines. The first tells what it is, each other one is an [`Event`].

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::event::Event;
use crate::source::Source;

/// What the first line says.
const FORMAT: &str = "lockbydir events";
/// Larger when old readers would misread what is written.
const VERSION: u32 = 1;
/// No line is longer, in bytes.
const LONGEST: u64 = 1 << 16;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    program: String,
}

/// Writes down what a source tells, and passes it on.
pub struct Recorder<S> {
    source: S,
    path: PathBuf,
    file: BufWriter<File>,
}

impl<S: Source> Recorder<S> {
    /// Into a file that is not there yet.
    ///
    /// # Errors
    /// When it is there, or cannot be made.
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
        // So that it is whole up to now, whatever ends the program.
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

/// Tells what was recorded, at any speed.
#[derive(Debug)]
pub struct Replay {
    events: VecDeque<Event>,
    torn: Option<usize>,
    speed: f64,
    /// Where the recording was at this instant.
    at: f64,
    since: Instant,
}

impl Replay {
    /// Of a file, so many times as fast as it was.
    ///
    /// # Errors
    /// When it cannot be read or is no recording; the error names the line.
    pub fn open(path: impl AsRef<Path>, speed: f64) -> Result<Replay, Error> {
        let mut lines = Lines::of(path.as_ref())?;
        let header = lines.next()?.and_then(|(line, _)| serde_json::from_slice(&line).ok());
        let header: Header = header
            .filter(|header: &Header| header.format == FORMAT)
            .ok_or_else(|| lines.wrong("no recording of lockbydir; `--record FILE` makes one"))?;
        if header.version != VERSION {
            let Header { version, program, .. } = header;
            let program = lockbydir::printable(program);
            return Err(lines.wrong(format!(
                "{program} wrote it in version {version} of the format; this program reads {VERSION}"
            )));
        }
        let (mut events, mut torn) = (VecDeque::new(), None);
        // A clock that was set back goes on from where it was.
        let (mut last, mut set_back) = (0.0, 0.0);
        while let Some((line, is_whole)) = lines.next()? {
            let event = serde_json::from_slice::<Event>(&line).map_err(|error| error.to_string());
            match event.and_then(Event::checked) {
                Ok(mut event) => {
                    set_back += f64::max(last - event.at, 0.0);
                    last = event.at;
                    event.at += set_back;
                    events.push_back(event);
                }
                Err(_) if !is_whole => torn = Some(lines.number),
                Err(why) => return Err(lines.wrong(why)),
            }
        }
        let at = events.front().map_or(0.0, |event| event.at);
        Ok(Replay { events, torn, speed, at, since: Instant::now() })
    }

    /// The lock that all of it is about, if that is one.
    #[must_use]
    pub fn only_lock(&self) -> Option<&str> {
        let mut locks = self.events.iter().map(|event| event.lock.as_str());
        let lock = locks.find(|lock| !lock.is_empty())?;
        locks.all(|other| other.is_empty() || other == lock).then_some(lock)
    }

    /// The number of the last line, if that was cut off: it is left out.
    #[must_use]
    pub fn torn(&self) -> Option<usize> {
        self.torn
    }
}

/// A file, line by line.
struct Lines<'a> {
    path: &'a Path,
    file: BufReader<File>,
    number: usize,
}

impl Lines<'_> {
    fn of(path: &Path) -> Result<Lines<'_>, Error> {
        let file = File::open(path).map_err(|cause| unreadable(path, &cause))?;
        Ok(Lines { path, file: BufReader::new(file), number: 0 })
    }

    /// The next line, and whether it has its end.
    fn next(&mut self) -> Result<Option<(Vec<u8>, bool)>, Error> {
        let mut line = Vec::new();
        self.number += 1;
        let read = self.file.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        match read.map_err(|cause| unreadable(self.path, &cause))? {
            0 => Ok(None),
            _ if line.last() == Some(&b'\n') => Ok(Some((line, true))),
            length if length as u64 == LONGEST => {
                Err(self.wrong(format!("longer than {LONGEST} bytes; no recording has such lines")))
            }
            _ => Ok(Some((line, false))),
        }
    }

    fn wrong(&self, why: impl Into<String>) -> Error {
        Error::Recording { path: self.path.into(), line: self.number, why: why.into() }
    }
}

fn unreadable(path: &Path, cause: &io::Error) -> Error {
    let cause = io::Error::new(cause.kind(), format!("cannot be read: {cause}"));
    Error::File { path: path.into(), cause }
}

impl Source for Replay {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let until = self.now() + up_to.as_secs_f64() * self.speed;
        let due = self.events.front().map_or(until, |event| event.at.min(until));
        let wait = ((due - self.now()) / self.speed).max(0.0);
        std::thread::sleep(Duration::try_from_secs_f64(wait).unwrap_or(up_to).min(up_to));
        let now = self.now();
        let count = self.events.iter().take_while(|event| event.at <= now).count();
        Ok(self.events.drain(..count).collect())
    }

    fn now(&self) -> f64 {
        self.at + self.since.elapsed().as_secs_f64() * self.speed
    }

    fn is_over(&self) -> bool {
        self.events.is_empty()
    }
}
