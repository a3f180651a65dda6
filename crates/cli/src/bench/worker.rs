//! A worker: one real process that locks on command. It reads commands, one a line, and writes the
//! results, one a line with its own number in front. It measures; it judges nothing.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::stdio::{stdin, stdout};

use super::locks::{Held, Locks, Outcome, clock};
use super::report::Engine;
use super::{alone, calls};
use crate::exit::{Failure, IO, SIGNAL};

/// The longest line in bytes that a pipe takes as a whole while others write, too (`PIPE_BUF`).
const ATOMIC: usize = 4096;

/// Hidden: what `bench` starts.
#[derive(clap::Args)]
pub(crate) struct Worker {
    /// Its parent; 0: unknown to the bench.
    parent: i32,
    number: usize,
    folder: PathBuf,
}

struct State {
    number: usize,
    folder: PathBuf,
    /// The lock that is held, and when it was asked for.
    held: Option<(Held, i64)>,
}

/// Executes commands until there are no more.
pub(crate) fn work(args: &Worker) -> Result<u8, Failure> {
    let gone = || Failure::new(SIGNAL, "the bench that started this worker is gone");
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|_| gone())?;
    if args.parent != 0 && getppid() != Pid::from_raw(args.parent) {
        return Err(gone());
    }
    let mut state = State { number: args.number, folder: args.folder.clone(), held: None };
    state.reply("ready");
    while let Some(command) = command() {
        if let Err(message) = state.execute(&command) {
            let message: String = message.chars().take(1000).collect();
            state.reply(&format!("failed {}", message.replace('\n', " ")));
            return Err(Failure::new(IO, message));
        }
    }
    Ok(0)
}

/// Reads the next line of standard input. It reads byte by byte, since `poll` must see all that follows
/// the line.
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

/// Reads the next line as two moments.
fn moments() -> Outcome<(i64, i64)> {
    let line = command().unwrap_or_default();
    let moments = line.split_once(' ').map(|(start, end)| (start.parse(), end.parse()));
    match moments {
        Some((Ok(start), Ok(end))) => Ok((start, end)),
        _ => Err(bad(&line)),
    }
}

/// Waits up to this long for a command; returns whether there is one.
fn is_called(up_to: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: i64::try_from(up_to.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(up_to.subsec_nanos()),
    };
    let input = stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    poll(&mut polled, Some(&timeout)).is_ok_and(|count| count > 0)
}

impl State {
    fn reply(&self, words: &str) {
        // An error is ignored: there is no other way to report that the reader is gone.
        let _ = rustix::io::write(stdout(), format!("{} {words}\n", self.number).as_bytes());
    }

    /// Writes many numbers, in as few lines as possible.
    fn reply_numbers(&self, word: &str, numbers: impl IntoIterator<Item = String>) {
        let mut line = word.to_owned();
        for number in numbers {
            if line.len() + number.len() + 32 > ATOMIC {
                self.reply(&line);
                line.truncate(word.len());
            }
            let _ = write!(line, " {number}");
        }
        if line.len() > word.len() {
            self.reply(&line);
        }
    }

    fn execute(&mut self, command: &str) -> Outcome<()> {
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
            "calls" => calls::repeat(&self.folder),
            // It may arrive late, when the turns have already ended.
            "stop" => Ok(()),
            _ => Err(bad(command)),
        }
    }

    /// Acquires the lock and keeps it; reports when that was, and when it expires.
    fn hold(&mut self, locks: Locks, engine: Engine, timeout: Duration) -> Outcome<()> {
        let locks = Locks { ours: locks.ours.timeout(timeout), ..locks };
        self.reply("asking");
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
        self.reply(&format!("held {asked} {acquired} {expiry} {deadline}"));
        Ok(())
    }

    /// Takes turns with the others, holding and pausing each time, until a command arrives.
    fn turns(
        &mut self,
        locks: &Locks,
        engine: Engine,
        hold: Duration,
        pause: Duration,
    ) -> Outcome<()> {
        let mut turns: Vec<[i64; 3]> = Vec::new();
        let mut asked = clock();
        self.reply("asking");
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
        self.reply_numbers("turns", turns);
        self.reply("done");
        Ok(())
    }

    /// Acquires and releases as often as it can, and counts the acquisitions between two moments, which it
    /// reads when it first holds the lock.
    fn hammer(&mut self, locks: &Locks, engine: Engine) -> Outcome<()> {
        self.reply("asking");
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
        self.reply(&format!("done {count}"));
        Ok(())
    }

    fn alone(&mut self, for_time: Duration) -> Outcome<()> {
        let found = alone::compete(&self.folder, for_time);
        for (contestant, outcome) in found {
            match outcome {
                Ok(times) => {
                    let times = times.iter().map(|time| format!("{time:.1}"));
                    self.reply_numbers(&format!("cost {contestant}"), times);
                }
                Err(message) => self.reply(&format!("without {contestant} {message}")),
            }
        }
        self.reply("done");
        Ok(())
    }
}

fn bad(command: &str) -> String {
    format!("a worker does not know `{command}`")
}
