//! A worker process of the proofs.
//!
//! `lockbydir-worker loop FOLDER WORKER OPTION=NUMBER...` locks again and again, and notes its
//! history (see `lockbydir_proof::judge`); it begins when its standard input ends, which is one
//! moment for all that share a pipe. `lockbydir-worker puppet` does what its standard input says.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lockbydir::{Broken, ErrorKind, Guard, How, Interrupt, Lock};
use lockbydir_proof::{chance::Dice, clock, rival};
use rustix::process::{Signal, getpid, kill_process};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn how(guard: &Guard) -> &'static str {
    match guard.how() {
        How::Free => "free",
        How::HandedOver(_) => "handed-over",
        How::AfterLapse(_) => "after-lapse",
        How::AfterDeath(_) => "after-death",
        _ => "unknown",
    }
}

/// A history file; every line is one write.
struct History(File);

impl History {
    fn note(&self, line: &str) {
        (&self.0).write_all(format!("{line}\n").as_bytes()).expect("a history can be written");
    }
}

/// What `loop` is told.
struct Plan {
    count: u64,
    timeout: Duration,
    patience: Duration,
    linger: Duration,
    fenced: bool,
    counting: bool,
    renewing: bool,
    /// Everyone has a lock of its own, which excludes nobody: to show that a test bites.
    alone: bool,
    /// A hold lasts a random time up to this.
    hold: u64,
    /// One hold in so many is killed, or stopped.
    kill_one_in: u64,
    stop_one_in: u64,
    /// Not in a hold, but at a random moment up to this after the wait began.
    fate: u64,
    /// One wait in so many is interrupted, after a random time up to the same.
    interrupt_one_in: u64,
    /// Patience is a random time up to `patience`, and may be over.
    hasty: bool,
    /// It ends after this time, whatever the count.
    time: Duration,
    /// A refused acquisition or release is no reason to end: somebody attacks.
    undaunted: bool,
    /// Permissions of the lock directory, as a decimal number.
    mode: u32,
}

impl Plan {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut plan = Self {
            count: 0,
            timeout: Duration::from_secs(30),
            patience: Duration::from_secs(300),
            linger: Duration::ZERO,
            fenced: false,
            counting: false,
            renewing: false,
            alone: false,
            hold: 0,
            kill_one_in: 0,
            stop_one_in: 0,
            fate: 0,
            interrupt_one_in: 0,
            hasty: false,
            time: Duration::MAX,
            undaunted: false,
            mode: 0o700,
        };
        for argument in arguments {
            let (name, value) = argument.split_once('=').ok_or("OPTION=NUMBER")?;
            let number: u64 = value.parse()?;
            match name {
                "count" => plan.count = number,
                "timeout_ms" => plan.timeout = Duration::from_millis(number),
                "patience_ms" => plan.patience = Duration::from_millis(number),
                "linger_ms" => plan.linger = Duration::from_millis(number),
                "fenced" => plan.fenced = number > 0,
                "counting" => plan.counting = number > 0,
                "renewing" => plan.renewing = number > 0,
                "alone" => plan.alone = number > 0,
                "hold_us" => plan.hold = number * 1_000,
                "kill_one_in" => plan.kill_one_in = number,
                "stop_one_in" => plan.stop_one_in = number,
                "fate_us" => plan.fate = number * 1_000,
                "interrupt_one_in" => plan.interrupt_one_in = number,
                "hasty" => plan.hasty = number > 0,
                "time_ms" => plan.time = Duration::from_millis(number),
                "undaunted" => plan.undaunted = number > 0,
                "mode" => plan.mode = u32::try_from(number)?,
                _ => return Err(format!("no such option: {name}").into()),
            }
        }
        Ok(plan)
    }
}

/// After a random moment, from a thread of its own, this process is killed or stopped.
fn meet_fate(history: &Arc<History>, word: &'static str, signal: Signal, delay: u64) {
    let history = Arc::clone(history);
    thread::spawn(move || {
        clock::spin_until(clock::now() + delay);
        history.note(&format!("{word} {}", clock::now()));
        kill_process(getpid(), signal).expect("a process may signal itself");
    });
}

fn increment(counter: &Path) -> Outcome<()> {
    // Where another meddles it may be found empty: that is lost, and the sum will show it.
    let number: u64 = fs::read_to_string(counter)?.trim().parse().unwrap_or(0);
    thread::yield_now();
    fs::write(counter, format!("{}\n", number + 1))?;
    Ok(())
}

/// A hold's deadline, not later than the true one and not earlier. The former is none when nothing
/// remains: a process that was stopped inside of the call cannot tell when its hold ended.
fn deadline(guard: &Guard) -> (Option<u64>, u64) {
    let before = clock::now();
    let remaining = u64::try_from(guard.remaining().as_nanos()).unwrap_or(u64::MAX / 2);
    let earliest = (remaining > 0).then_some(before + remaining);
    (earliest, clock::now() + remaining)
}

fn work(folder: &Path, worker: &str, plan: &Plan) -> Outcome<()> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(format!("{worker}.history")))?;
    let history = Arc::new(History(file));
    let counter = folder.join("counter");
    let name = if plan.alone { worker } else { "contended" };
    let lock = Lock::new(folder.join(name))
        .timeout(plan.timeout)
        .patience(plan.patience)
        .linger(plan.linger)
        .mode(plan.mode)
        .fenced(plan.fenced);
    let mut dice = Dice::default();
    io::stdin().read_to_end(&mut Vec::new())?;

    let begun = Instant::now();
    for _ in 0..plan.count {
        if begun.elapsed() >= plan.time {
            break;
        }
        let mut waiting = lock.clone();
        if plan.hasty {
            waiting = waiting.patience(plan.patience.mul_f64(dice.below(1000) as f64 / 1000.0));
        }
        if plan.fate > 0 {
            let moment = dice.below(plan.fate);
            if plan.kill_one_in > 0 && dice.below(plan.kill_one_in) == 0 {
                meet_fate(&history, "killed", Signal::KILL, moment);
            } else if plan.stop_one_in > 0 && dice.below(plan.stop_one_in) == 0 {
                meet_fate(&history, "stopped", Signal::STOP, moment);
            } else if plan.interrupt_one_in > 0 && dice.below(plan.interrupt_one_in) == 0 {
                let interrupt = Interrupt::new();
                waiting = waiting.interrupt(interrupt.clone());
                thread::spawn(move || {
                    clock::spin_until(clock::now() + moment);
                    interrupt.raise();
                });
            }
        }
        let guard = match waiting.acquire() {
            Err(error) if error.is_patience_over() || error.kind() == ErrorKind::Interrupted => {
                history.note("gave-up");
                continue;
            }
            Err(_) if plan.undaunted => {
                history.note("gave-up");
                continue;
            }
            got => got?,
        };
        let start = clock::now();
        let (earliest, mut latest) = deadline(&guard);
        let earliest = earliest.unwrap_or(start);
        history.note(&format!("start {start} {earliest} {} {}", guard.token(), how(&guard)));
        // Somewhere in the hold, its release, or the next acquisition.
        let moment = dice.below(plan.hold + 300_000);
        if plan.fate > 0 {
            // It was met, or not, while waiting.
        } else if plan.kill_one_in > 0 && dice.below(plan.kill_one_in) == 0 {
            meet_fate(&history, "killed", Signal::KILL, moment);
        } else if plan.stop_one_in > 0 && dice.below(plan.stop_one_in) == 0 {
            meet_fate(&history, "stopped", Signal::STOP, moment);
        }

        if plan.counting {
            increment(&counter)?;
        }
        clock::spin_until(start + dice.below(plan.hold));

        let asked = clock::now();
        let held = guard.is_held();
        if asked > latest && held {
            history.note("lie is_held after the deadline");
        } else if !held && clock::now() > latest {
            history.note("outlived");
        }
        // Sometimes it is the renewal that is told of a loss, sometimes the release.
        if plan.renewing && dice.below(2) == 0 {
            match guard.renew() {
                Ok(()) => {
                    let (earliest, later) = deadline(&guard);
                    latest = later;
                    if let Some(earliest) = earliest {
                        history.note(&format!("renew {earliest}"));
                    }
                }
                Err(error) if error.is_lost() => {
                    // Where somebody attacks, a loss may be told before the deadline: it ends the
                    // hold.
                    if plan.undaunted {
                        history.note(&format!("end {}", clock::now()));
                    }
                    history.note("lost");
                    if guard.is_held() {
                        history.note("lie is_held after a loss");
                    }
                    continue;
                }
                Err(_) if plan.undaunted => {}
                Err(error) => return Err(error.into()),
            }
        }
        history.note(&format!("end {}", clock::now()));
        match guard.release() {
            Ok(()) => history.note("released"),
            Err(error) if error.is_lost() && clock::now() > latest => history.note("lost"),
            Err(_) if plan.undaunted => {}
            Err(error) => {
                history.note(&format!("lie {} at release", error.to_string().replace('\n', " ")));
            }
        }
    }
    Ok(())
}

/// The lock a puppet plays with, and what it holds of it.
#[derive(Default)]
struct Toy {
    lock: Option<Lock>,
    guard: Option<Guard>,
}

impl Toy {
    fn obey(&mut self, words: &[&str]) -> Outcome<String> {
        if let ["lock", name, options @ ..] = words {
            self.guard = None;
            self.lock = Some(toy(name, options)?);
            return Ok("ok".to_owned());
        }
        let number = || -> Outcome<u64> { Ok(words.get(1).ok_or("a number is missing")?.parse()?) };
        let lock = || self.lock.as_ref().ok_or("no lock was named");
        let guard = || self.guard.as_ref().ok_or("nothing is held");
        Ok(match words.first().copied().unwrap_or_default() {
            "pid" => std::process::id().to_string(),
            "wall" => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().to_string(),
            "boot" => (clock::now() / 1_000_000_000).to_string(),
            "acquire" => self.took(lock()?.acquire().map(Some)),
            "try" => self.took(lock()?.try_acquire()),
            "try-at" => {
                clock::spin_until(number()?);
                self.took(lock()?.try_acquire())
            }
            "rival-at" => {
                let directory = PathBuf::from(words.get(2).ok_or("a path is missing")?);
                clock::spin_until(number()?);
                let won = rival::try_acquire(&directory, Duration::from_secs(30))?;
                if won { "held".to_owned() } else { "no".to_owned() }
            }
            "is-held" => guard()?.is_held().to_string(),
            "renew" => done(guard()?.renew()),
            "release" => {
                let guard = self.guard.take().ok_or("nothing is held")?;
                done(guard.release())
            }
            // Drops the lock, and so removes what lingers.
            "forget" => {
                self.lock = None;
                "ok".to_owned()
            }
            "break-lapsed" => broken(lock()?.break_lapsed()),
            "break-by-force" => broken(lock()?.break_by_force()),
            "changes" => lockbydir::testing::operations().to_string(),
            "crash-before" => {
                lockbydir::testing::crash_before(number()?);
                "ok".to_owned()
            }
            "stop-before" => {
                lockbydir::testing::stop_before(number()?);
                "ok".to_owned()
            }
            // A forked child that tries to renew, release and drop what its parent holds.
            "fork" => match fork::fork()? {
                fork::Fork::Parent(child) => {
                    let status = fork::waitpid(child)?;
                    if status == 0 { "ok".to_owned() } else { format!("renewed ({status})") }
                }
                fork::Fork::Child => {
                    let guard = self.guard.take();
                    let renewed = guard.as_ref().is_some_and(|guard| guard.renew().is_ok());
                    drop(guard);
                    std::process::exit(i32::from(renewed));
                }
            },
            // As a crash: no guard is dropped.
            "exit" => std::process::exit(9),
            other => return Err(format!("no such command: {other}").into()),
        })
    }

    fn took(&mut self, result: Result<Option<Guard>, lockbydir::Error>) -> String {
        match result {
            Ok(Some(guard)) => {
                let answer = format!("held {} {} {}", guard.token(), clock::now(), how(&guard));
                self.guard = Some(guard);
                answer
            }
            Ok(None) => "no".to_owned(),
            Err(error) if error.is_patience_over() => "patience-over".to_owned(),
            Err(error) => format!("error {error}"),
        }
    }
}

fn toy(name: &str, options: &[&str]) -> Outcome<Lock> {
    let mut lock = Lock::new(name);
    for option in options {
        let (option, value) = option.split_once('=').ok_or("OPTION=NUMBER")?;
        let number: u64 = value.parse()?;
        let time = Duration::from_millis(number);
        lock = match option {
            "timeout_ms" => lock.timeout(time),
            "patience_ms" => lock.patience(time),
            "linger_ms" => lock.linger(time),
            "fenced" => lock.fenced(number > 0),
            "mode" => lock.mode(u32::try_from(number)?),
            _ => return Err(format!("no such option: {option}").into()),
        };
    }
    Ok(lock)
}

fn done(result: Result<(), lockbydir::Error>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) if error.is_lost() => "lost".to_owned(),
        Err(error) => format!("error {error}"),
    }
}

fn broken(result: Result<Broken, lockbydir::Error>) -> String {
    match result {
        Ok(Broken::Removed(_)) => "removed".to_owned(),
        Ok(Broken::WasFree) => "was-free".to_owned(),
        Ok(Broken::StillHeld(_)) => "still-held".to_owned(),
        Ok(_) => "unknown".to_owned(),
        Err(error) => format!("error {error}"),
    }
}

fn play() -> Outcome<()> {
    let mut toy = Toy::default();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let answer = toy
            .obey(&line.split_whitespace().collect::<Vec<_>>())
            .unwrap_or_else(|error| format!("error {error}"));
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("puppet") => play(),
        Some("loop") if arguments.len() >= 3 => {
            work(Path::new(&arguments[1]), &arguments[2], &Plan::parse(&arguments[3..])?)
        }
        _ => Err("usage: lockbydir-worker puppet | loop FOLDER WORKER OPTION=NUMBER...".into()),
    }
}
