//! Twelve sailors, one helm, and a storm: what happens to a lock when everything goes wrong.
//!
//! Real processes take the helm in turn, again and again. Some are hasty, and give up soon; some
//! forget the release. The storm strikes: it kills the process at the helm, or stops it until its
//! timeout has long passed. A lock must always do two things then: admit nobody beside a holder,
//! and still admit the next one.
//!
//! Each sailor notes, on a clock that all share, since when and until when it holds the lock for
//! certain. At the end these times are compared: no two may overlap, and each token must be larger
//! than the one before. The exit code is 1 when the verdict is bad.
//!
//! `--scale 0.5` makes all times half as long; `--processes 20` starts more; `--seed 7` strikes the
//! same way again, as far as the storm decides that; `--folder DIR` puts the helm there.

mod clock;

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{env, thread};

use lockbydir::{Lock, Owner, State};

use self::clock::clock;

/// These are in seconds.
const STORM: f64 = 15.0;
const TIMEOUT: f64 = 1.0;
const TURN: f64 = 0.15;
const BETWEEN_BLOWS: f64 = 1.6;

/// The kinds of sailors, determined by their numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Steady,
    Hasty,
    Forgetful,
}

impl Kind {
    fn of(number: usize) -> Kind {
        match number % 4 {
            0 => Kind::Forgetful,
            1 => Kind::Hasty,
            _ => Kind::Steady,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Steady => "steady",
            Kind::Hasty => "hasty",
            Kind::Forgetful => "forgetful",
        }
    }
}

/// The parameters that the storm and its sailors share.
struct Weather {
    scale: f64,
    folder: PathBuf,
    /// The end of the storm, on the common clock.
    over: Duration,
    dice: Dice,
}

/// Random numbers; the same for the same seed.
struct Dice(u64);

impl Dice {
    /// Returns a number in 0..1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Weather {
    fn time(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds * self.scale)
    }

    fn time_between(&mut self, low: f64, high: f64) -> Duration {
        let part = self.dice.roll();
        self.time(low + (high - low) * part)
    }

    fn helm(&self) -> Lock {
        Lock::new(self.folder.join("helm")).timeout(self.time(TIMEOUT))
    }
}

/// Runs one sailor, which prints a line for each of its actions for the storm to read.
fn sailor(weather: &mut Weather, number: usize) -> Result<(), Box<dyn Error>> {
    let kind = Kind::of(number);
    let patience = if kind == Kind::Hasty { TURN * 2.0 } else { TIMEOUT * 20.0 };
    let helm =
        weather.helm().label(format!("{} {number}", kind.name())).patience(weather.time(patience));
    // A forgetful sailor leaves a lock that no process owns: otherwise the lock would be free when
    // its process ends.
    let helm = if kind == Kind::Forgetful { helm.owner(Owner::Nobody) } else { helm };
    let report = |line: String| io::stdout().write_all(format!("{number} {line}\n").as_bytes());

    while clock() < weather.over {
        let guard = match helm.acquire() {
            Ok(guard) => guard,
            Err(error) if error.is_patience_over() => {
                report("gave-up".into())?;
                // It returns after a pause.
                thread::sleep(weather.time_between(TURN, TURN + 1.0));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let since = clock();
        let until = since + guard.remaining();
        report(format!("holds {} {} {}", guard.token(), since.as_nanos(), until.as_nanos()))?;
        thread::sleep(weather.time_between(TURN * 0.5, TURN * 1.5));
        if kind == Kind::Forgetful && weather.dice.roll() < 0.25 {
            let _forgotten = guard.keep();
            report("forgets".into())?;
        } else {
            // Printed before the release, so that a sailor struck down in between has reported it.
            report(format!("lets-go {}", clock().as_nanos()))?;
            match guard.release() {
                Err(error) if error.is_lost() => report("lost".into())?,
                done => done?,
            }
        }
        thread::sleep(weather.time_between(0.0, TURN));
    }
    Ok(())
}

/// A time at the helm for certain: nobody else may have been there.
struct Turn {
    token: u64,
    since: Duration,
    until: Duration,
}

/// The state of a sailor as the storm knows it.
struct Seen {
    number: usize,
    child: Child,
    /// The index of its last turn in the log.
    turn: Option<usize>,
    is_at_helm: bool,
    /// When it is continued, if it is stopped.
    wakes: Option<Duration>,
    is_killed: bool,
}

#[derive(Default)]
struct Log {
    turns: Vec<Turn>,
    killed: usize,
    stopped: usize,
    forgot: usize,
    lost: usize,
    gave_up: usize,
    failed: usize,
}

struct Storm {
    weather: Weather,
    begun: Duration,
    crew: Vec<Seen>,
    log: Log,
}

/// Stops or continues a process.
#[cfg(unix)]
fn stop(child: &Child, is_stopped: bool) {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = if is_stopped { Signal::STOP } else { Signal::CONT };
    let _ = kill_process(Pid::from_child(child), signal);
}

/// On this system no process can be stopped.
#[cfg(not(unix))]
fn stop(_: &Child, _: bool) {}

impl Storm {
    fn say(&self, text: &str) {
        println!("{:7.3} s  {text}", (clock() - self.begun).as_secs_f64());
    }

    fn name(&self, at: usize) -> String {
        let Seen { number, child, .. } = &self.crew[at];
        format!("{} {number} (process {})", Kind::of(*number).name(), child.id())
    }

    /// Strikes until the storm is over, then waits for all sailors.
    fn blow(&mut self, lines: &Receiver<String>) -> Result<(), Box<dyn Error>> {
        let mut next = clock() + self.weather.time(BETWEEN_BLOWS);
        let mut is_kill = false;
        loop {
            let now = clock();
            self.wake(now);
            let is_over = now >= self.weather.over;
            if !is_over && now >= next {
                // Only a sailor at the helm is struck.
                if let Some(at) = self
                    .crew
                    .iter()
                    .position(|seen| seen.is_at_helm && !seen.is_killed && seen.wakes.is_none())
                {
                    self.strike(at, is_kill)?;
                    is_kill = !is_kill;
                    next = now + self.weather.time(BETWEEN_BLOWS);
                }
            }
            match lines.recv_timeout(Duration::from_millis(2)) {
                Ok(line) => self.handle(&line)?,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(_) => break,
            }
        }
        for seen in &mut self.crew {
            let is_good = seen.child.wait()?.success() || seen.is_killed;
            self.log.failed += usize::from(!is_good);
        }
        Ok(())
    }

    fn strike(&mut self, at: usize, is_kill: bool) -> io::Result<()> {
        let now = clock();
        if is_kill {
            // From here on it does not hold the helm for certain.
            self.leaves(at, now);
            self.crew[at].child.kill()?;
            self.crew[at].is_killed = true;
            self.log.killed += 1;
            self.say(&format!("{} is swept overboard: killed at the helm", self.name(at)));
        } else if cfg!(unix) {
            stop(&self.crew[at].child, true);
            self.crew[at].wakes = Some(now + self.weather.time(TIMEOUT * 1.5));
            self.log.stopped += 1;
            self.say(&format!("{} is knocked out: stopped at the helm", self.name(at)));
        }
        Ok(())
    }

    fn wake(&mut self, now: Duration) {
        for at in 0..self.crew.len() {
            if self.crew[at].wakes.is_some_and(|wakes| now >= wakes) {
                self.crew[at].wakes = None;
                stop(&self.crew[at].child, false);
                self.say(&format!("{} comes to again", self.name(at)));
            }
        }
    }

    fn leaves(&mut self, at: usize, end: Duration) {
        self.crew[at].is_at_helm = false;
        if let Some(turn) = self.crew[at].turn {
            let turn = &mut self.log.turns[turn];
            turn.until = turn.until.min(end);
        }
    }

    /// Handles a line of a sailor. The line of a killed sailor may arrive after its death, and is
    /// still true.
    fn handle(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| -> Result<u64, Box<dyn Error>> {
            Ok(words.get(at).ok_or_else(|| format!("`{line}` is not understood"))?.parse()?)
        };
        let time = |at: usize| number(at).map(Duration::from_nanos);
        let at = usize::try_from(number(0)?)? - 1;
        match words.get(1).copied().unwrap_or_default() {
            "holds" => {
                self.crew[at].turn = Some(self.log.turns.len());
                self.crew[at].is_at_helm = true;
                let (token, since, until) = (number(2)?, time(3)?, time(4)?);
                self.log.turns.push(Turn { token, since, until });
            }
            "gave-up" => self.log.gave_up += 1,
            "forgets" => {
                self.log.forgot += 1;
                self.crew[at].is_at_helm = false;
                self.say(&format!("{} forgets the helm", self.name(at)));
            }
            "lets-go" => self.leaves(at, time(2)?),
            "lost" => {
                self.log.lost += 1;
                self.say(&format!("{} learns that its helm was lost", self.name(at)));
            }
            _ => return Err(format!("`{line}` is not understood").into()),
        }
        Ok(())
    }

    /// Prints the verdict; returns true if it is good.
    fn judge(&mut self) -> Result<bool, Box<dyn Error>> {
        let Storm { weather, log, .. } = self;
        // The last holder may have forgotten the release.
        let helm = weather.helm().patience(weather.time(TIMEOUT * 5.0));
        let moves = helm.acquire().and_then(lockbydir::Guard::release).is_ok();
        let left: Vec<_> = std::fs::read_dir(&weather.folder)?.collect::<Result<_, _>>()?;
        let is_free = helm.status()?.state == State::Free && left.is_empty();

        log.turns.sort_by_key(|turn| turn.since);
        let pairs = || log.turns.windows(2);
        let alone = pairs().all(|two| two[0].until <= two[1].since);
        let grow = pairs().all(|two| two[0].token < two[1].token);
        let longest = pairs().map(|two| two[1].since - two[0].since).max().unwrap_or_default();
        println!(
            "\n{} turns at the helm; {} killed, {} stopped, {} forgot; {} gave up, {} learned of a loss.",
            log.turns.len(),
            log.killed,
            log.stopped,
            log.forgot,
            log.gave_up,
            log.lost
        );
        println!(
            "The longest time without a new one: {:.3} s; the timeout is {:.3} s.",
            longest.as_secs_f64(),
            weather.time(TIMEOUT).as_secs_f64()
        );
        println!(
            "Verdict: {} at the helm; the numbers {}; the lock {}; {}.",
            if alone { "never were two" } else { "there WERE TWO" },
            if grow { "grow" } else { "DO NOT GROW" },
            if moves { "moved on" } else { "is STUCK" },
            match (log.failed, is_free) {
                (0, true) => "nothing is left".to_owned(),
                (0, false) => "something IS LEFT".to_owned(),
                (failed, _) => format!("{failed} sailors FAILED"),
            }
        );
        Ok(alone && grow && moves && is_free && log.failed == 0 && log.turns.len() > 1)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        for seen in &mut self.crew {
            let _ = seen.child.kill();
            let _ = seen.child.wait();
        }
    }
}

fn storm(weather: Weather, count: usize, myself: Myself) -> Result<bool, Box<dyn Error>> {
    println!(
        "{count} sailors, 1 helm, {:?} of storm. A turn takes about {:?}; the helm opens by itself\n\
         {:?} after it was taken.\n",
        weather.time(STORM),
        weather.time(TURN),
        weather.time(TIMEOUT)
    );
    let (sender, receiver) = channel();
    let mut storm = Storm { weather, begun: clock(), crew: Vec::new(), log: Log::default() };
    for number in 1..=count {
        let weather = &mut storm.weather;
        let mut child = myself()?
            .args(["--scale", &weather.scale.to_string()])
            .args(["--seed", &((weather.dice.roll() * 1e15) as u64).to_string()])
            .args(["--over", &weather.over.as_nanos().to_string()])
            .args(["--sailor", &number.to_string()])
            .arg("--folder")
            .arg(&weather.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("a sailor has no voice")?).lines();
        let sender = sender.clone();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        storm.crew.push(Seen {
            number,
            child,
            turn: None,
            is_at_helm: false,
            wakes: None,
            is_killed: false,
        });
    }
    drop(sender);
    storm.blow(&receiver)?;
    storm.judge()
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    play(&|| env::current_exe().map(Command::new), env::args_os().skip(1))
}

/// Returns the command that starts this program again, as another process.
type Myself<'a> = &'a dyn Fn() -> io::Result<Command>;

pub(crate) fn play(
    myself: Myself,
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<ExitCode, Box<dyn Error>> {
    let (mut count, mut scale, mut over, mut number) = (12, 1.0, None, None);
    let mut seed = RandomState::new().build_hasher().finish();
    let mut folder = None;
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("every option takes a value")?;
        let text = value.to_str().unwrap_or_default();
        match argument.to_str() {
            Some("--scale") => scale = text.parse()?,
            Some("--processes") => count = text.parse()?,
            Some("--seed") => seed = text.parse()?,
            Some("--folder") => folder = Some(PathBuf::from(value)),
            // The storm passes these two to its sailors.
            Some("--over") => over = Some(Duration::from_nanos(text.parse()?)),
            Some("--sailor") => number = Some(text.parse()?),
            _ => {
                return Err(
                    "usage: storm [--scale 1] [--processes 12] [--seed N] [--folder DIR]".into()
                );
            }
        }
    }
    let (folder, _fresh) = match folder {
        Some(folder) => (folder, None),
        None => {
            let fresh = tempfile::Builder::new().prefix("lockbydir-").tempdir()?;
            (fresh.path().to_path_buf(), Some(fresh))
        }
    };
    let over = over.unwrap_or_else(|| clock() + Duration::from_secs_f64(STORM * scale));
    let mut weather = Weather { scale, folder, over, dice: Dice(seed) };
    if let Some(number) = number {
        sailor(&mut weather, number)?;
        return Ok(ExitCode::SUCCESS);
    }
    let good = storm(weather, count, myself)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
