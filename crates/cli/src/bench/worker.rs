//! A worker: one real process that locks as it is told. It reads commands, a line each, and says
//! what came of them, a line each with its number in front. It measures; it judges nothing.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir::{Guard, Lock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::stdio::{stdin, stdout};
use rustix::time::{ClockId, clock_gettime};

use super::alone;
use super::report::Engine;
use crate::exit::{Failure, IO, SIGNAL};

/// Longer than any run: only what is said to expire expires.
const LONG: Duration = Duration::from_secs(3600);
/// Who waits longer than this was forgotten.
const PATIENCE: Duration = Duration::from_secs(120);
/// A line that is written as a whole, whoever else writes.
const ATOMIC: usize = 4096;

/// Hidden: what `bench` starts.
#[derive(clap::Args)]
pub(crate) struct Worker {
    parent: i32,
    number: usize,
    folder: PathBuf,
}

/// Nanoseconds on the clock that all processes of this machine share.
pub(super) fn clock() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// A lock that is held.
enum Held {
    Ours(Guard),
    Flock(OwnedFd),
}

type Outcome<T> = Result<T, String>;

/// Two ways to the same.
pub(super) struct Locks {
    ours: Lock,
    file: PathBuf,
}

impl Locks {
    /// The lock of this name in a folder, and the file beside it for flock.
    pub(super) fn new(folder: &Path, name: &str) -> Locks {
        let lock = Lock::new(folder.join(name));
        Locks {
            ours: lock.timeout(LONG).patience(PATIENCE),
            file: folder.join(format!("{name}.flock")),
        }
    }

    pub(super) fn ours(&self) -> &Lock {
        &self.ours
    }

    pub(super) fn flock(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.file, flags, Mode::RUSR | Mode::WUSR)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                done => return done.map(|()| file),
            }
        }
    }

    fn acquire(&self, engine: Engine) -> Outcome<Held> {
        match engine {
            Engine::Lockbydir => self.ours.acquire().map(Held::Ours).map_err(|e| e.to_string()),
            Engine::Flock => self.flock().map(Held::Flock).map_err(|e| format!("flock: {e}")),
        }
    }
}

impl Held {
    fn release(self) -> Outcome<()> {
        match self {
            Held::Ours(guard) => guard.release().map_err(|error| error.to_string()),
            Held::Flock(file) => unlock(file).map_err(|error| format!("flock: {error}")),
        }
    }
}

pub(super) fn unlock(file: OwnedFd) -> rustix::io::Result<()> {
    flock(file, FlockOperation::Unlock)
}

struct Desk {
    number: usize,
    folder: PathBuf,
    /// What is held, and when it was asked for.
    held: Option<(Held, i64)>,
}

/// Works until there are no more commands.
pub(crate) fn work(args: &Worker) -> Result<u8, Failure> {
    let gone = || Failure::new(SIGNAL, "the bench that started this worker is gone");
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|_| gone())?;
    if getppid() != Pid::from_raw(args.parent) {
        return Err(gone());
    }
    let mut desk = Desk { number: args.number, folder: args.folder.clone(), held: None };
    desk.say("ready");
    while let Some(command) = command() {
        if let Err(message) = desk.obey(&command) {
            let message: String = message.chars().take(1000).collect();
            desk.say(&format!("failed {}", message.replace('\n', " ")));
            return Err(Failure::new(IO, message));
        }
    }
    Ok(0)
}

/// The next line of standard input. Read byte by byte: what has not been read must be seen by
/// `poll`.
fn command() -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match rustix::io::read(stdin(), &mut byte) {
            Ok(1) if byte[0] == b'\n' => return String::from_utf8(line).ok(),
            Ok(1) => line.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            _ => return None,
        }
    }
}

/// The next line, as two moments.
fn moments() -> Outcome<(i64, i64)> {
    let line = command().unwrap_or_default();
    let moments = line.split_once(' ').map(|(start, end)| (start.parse(), end.parse()));
    match moments {
        Some((Ok(start), Ok(end))) => Ok((start, end)),
        _ => Err(bad(&line)),
    }
}

/// Waits up to this long; true when a command has come.
fn is_called(up_to: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: i64::try_from(up_to.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(up_to.subsec_nanos()),
    };
    let input = stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    poll(&mut polled, Some(&timeout)).is_ok_and(|count| count > 0)
}

impl Desk {
    fn say(&self, words: &str) {
        // Nobody is there to be told that nobody listens.
        let _ = rustix::io::write(stdout(), format!("{} {words}\n", self.number).as_bytes());
    }

    /// Says many numbers, in as few lines as may be.
    fn say_numbers(&self, word: &str, numbers: impl IntoIterator<Item = String>) {
        let mut line = word.to_owned();
        for number in numbers {
            if line.len() + number.len() + 32 > ATOMIC {
                self.say(&line);
                line.truncate(word.len());
            }
            let _ = write!(line, " {number}");
        }
        if line.len() > word.len() {
            self.say(&line);
        }
    }

    fn obey(&mut self, command: &str) -> Outcome<()> {
        let words: Vec<&str> = command.split(' ').collect();
        let number = |at: usize| -> Outcome<i64> {
            words.get(at).and_then(|word| word.parse().ok()).ok_or_else(|| bad(command))
        };
        let time = |at: usize| number(at).map(|nanos| Duration::from_nanos(nanos.unsigned_abs()));
        let engine = || {
            let word = words.get(2).copied().unwrap_or_default();
            Engine::ALL.into_iter().find(|engine| engine.name() == word).ok_or_else(|| bad(command))
        };
        let locks = || Locks::new(&self.folder, words.get(1).copied().unwrap_or_default());
        match words.first().copied().unwrap_or_default() {
            "hold" => self.hold(locks(), engine()?, time(3)?),
            "turns" => self.turns(&locks(), engine()?, time(3)?, time(4)?),
            "hammer" => self.hammer(&locks(), engine()?),
            "alone" => self.alone(time(1)?),
            // Comes late, when the turns had ended already.
            "stop" => Ok(()),
            _ => Err(bad(command)),
        }
    }

    /// Acquires, says when, and when that expires, and keeps it.
    fn hold(&mut self, locks: Locks, engine: Engine, timeout: Duration) -> Outcome<()> {
        let locks = Locks { ours: locks.ours.timeout(timeout), ..locks };
        self.say("asking");
        let asked = clock();
        let held = locks.acquire(engine)?;
        let acquired = clock();
        let (mut expiry, mut deadline) = (0, 0);
        if let Held::Ours(guard) = &held {
            let status = locks.ours.status().map_err(|error| error.to_string())?;
            let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX / 2);
            expiry = clock() + nanos(status.remaining.unwrap_or_default());
            deadline = clock() + nanos(guard.remaining());
        }
        self.held = Some((held, asked));
        self.say(&format!("held {asked} {acquired} {expiry} {deadline}"));
        Ok(())
    }

    /// Takes turns with the others, holding and pausing each time, until told to stop.
    fn turns(
        &mut self,
        locks: &Locks,
        engine: Engine,
        hold: Duration,
        pause: Duration,
    ) -> Outcome<()> {
        let mut turns: Vec<[i64; 3]> = Vec::new();
        let mut asked = clock();
        self.say("asking");
        loop {
            let held = match self.held.take() {
                Some((held, since)) => {
                    asked = since;
                    held
                }
                None => locks.acquire(engine)?,
            };
            let acquired = clock();
            let is_last = is_called(hold);
            let released = clock();
            held.release()?;
            turns.push([asked, acquired, released]);
            if is_last || is_called(pause) {
                break;
            }
            asked = clock();
        }
        let turns = turns.into_iter().map(|[asked, acquired, released]| {
            format!("{asked},{},{}", acquired - asked, released - acquired)
        });
        self.say_numbers("turns", turns);
        self.say("done");
        Ok(())
    }

    /// Acquires and releases as often as it can, and counts those between two moments, of which
    /// it is told when all have come.
    fn hammer(&mut self, locks: &Locks, engine: Engine) -> Outcome<()> {
        self.say("asking");
        let mut moments = None;
        let mut count = 0;
        loop {
            let held = match self.held.take() {
                Some((held, _)) => held,
                None => locks.acquire(engine)?,
            };
            let acquired = clock();
            let (start, end) = match moments {
                Some(moments) => moments,
                None => *moments.insert(self::moments()?),
            };
            held.release()?;
            if acquired >= end {
                break;
            }
            if acquired >= start {
                count += 1;
            }
        }
        self.say(&format!("done {count}"));
        Ok(())
    }

    fn alone(&mut self, for_time: Duration) -> Outcome<()> {
        let found = alone::compete(&self.folder, for_time);
        for (contestant, outcome) in found {
            match outcome {
                Ok(times) => {
                    let times = times.iter().map(|time| format!("{time:.1}"));
                    self.say_numbers(&format!("cost {contestant}"), times);
                }
                Err(message) => self.say(&format!("without {contestant} {message}")),
            }
        }
        self.say("done");
        Ok(())
    }
}

fn bad(command: &str) -> String {
    format!("a worker does not know `{command}`")
}
