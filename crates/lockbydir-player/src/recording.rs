//! A recording: a file of JSON lines. The first tells what it is, each other one is an [`Event`].

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
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
        let failed = |cause| Error::File { path: path.clone(), cause };
        let file = File::create_new(&path).map_err(failed)?;
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
        let path = path.as_ref();
        let file = File::open(path).map_err(|cause| Error::File { path: path.into(), cause })?;
        let wrong = |line: usize, why: String| Error::Recording { path: path.into(), line, why };
        let mut lines = BufReader::new(file).lines().enumerate().map(|(number, line)| {
            line.map(|line| (number + 1, line))
                .map_err(|error| wrong(number + 1, format!("cannot be read: {error}")))
        });
        let (_, first) = lines.next().unwrap_or_else(|| Err(wrong(1, "it is empty".into())))?;
        let header = serde_json::from_str::<Header>(&first).ok();
        let header = header.filter(|header| header.format == FORMAT);
        let header = header.ok_or_else(|| {
            wrong(1, "this is no recording of lockbydir; `play --record` makes one".into())
        })?;
        if header.version > VERSION {
            let Header { version, program, .. } = header;
            let why =
                format!("{program} wrote it in format {version}; this program reads {VERSION}");
            return Err(wrong(1, why));
        }
        let events: VecDeque<Event> = lines
            .map(|line| {
                let (number, line) = line?;
                serde_json::from_str(&line).map_err(|error| wrong(number, error.to_string()))
            })
            .collect::<Result<_, Error>>()?;
        let at = events.front().map_or(0.0, |event| event.at);
        Ok(Replay { events, speed, at, since: Instant::now() })
    }
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
