//! A worker process of the tests: it executes commands from its standard input, one per line (see
//! `lockbydir_proof::scripted_worker`).

use std::{
    io::{self, BufRead, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lockbydir::{Broken, Guard, Lock};
use lockbydir_proof::{
    clock,
    known_bad::{FirstVersion, Rival},
    torture::contender::{Outcome, how},
};

/// The reported reasons for which locks with automatic renewal were lost.
type Losses = Arc<Mutex<Vec<String>>>;

/// The lock that a worker uses, and its guard.
#[derive(Default)]
struct Worker {
    losses: Losses,
    lock: Option<Lock>,
    guard: Option<Guard>,
}

impl Worker {
    fn execute(&mut self, words: &[&str], path: &str) -> Outcome<String> {
        if let ["lock", options @ ..] = words {
            self.guard = None;
            self.lock = Some(build_lock(path, options, &self.losses)?);
            return Ok("ok".to_owned());
        }
        let number = || -> Outcome<u64> { Ok(words.get(1).ok_or("a number is missing")?.parse()?) };
        let lock = || self.lock.as_ref().ok_or("no lock was named");
        let guard = || self.guard.as_ref().ok_or("nothing is held");
        Ok(match words.first().copied().unwrap_or_default() {
            "pid" => std::process::id().to_string(),
            "wall" => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().to_string(),
            "boot" => (clock::now() / 1_000_000_000).to_string(),
            "acquire" => self.acquired(lock()?.acquire().map(Some)),
            "try" => self.acquired(lock()?.try_acquire()),
            "try-at" => {
                clock::spin_until(number()?);
                self.acquired(lock()?.try_acquire())
            }
            "rival-at" => {
                let directory = PathBuf::from(path);
                clock::spin_until(number()?);
                let rival = FirstVersion { directory, timeout: Duration::from_secs(30) };
                if rival.try_acquire()? { "held".to_owned() } else { "no".to_owned() }
            }
            "is-held" => guard()?.is_held().to_string(),
            "renew" => done(guard()?.renew()),
            "losses" => {
                let losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
                format!("losses{}", losses.concat())
            }
            "release" => {
                let guard = self.guard.take().ok_or("nothing is held")?;
                done(guard.release())
            }
            // Drops the lock, and so removes a lingering lock.
            "forget" => {
                self.lock = None;
                "ok".to_owned()
            }
            "break-expired" => broken(lock()?.break_stale()),
            "break-by-force" => broken(lock()?.break_by_force()),
            "changes" => lockbydir::simulated::operations().to_string(),
            "crash-before" => {
                lockbydir::simulated::crash_before(number()?);
                "ok".to_owned()
            }
            "stop-before" => {
                lockbydir::simulated::stop_before(number()?);
                "ok".to_owned()
            }
            "fork" => self.fork()?,
            // The child has the PID of this process, if it is the first of its namespace.
            "unshare-and-fork" => {
                #[expect(deprecated, reason = "descriptors, which make it unsafe, stay shared")]
                rustix::thread::unshare(rustix::thread::UnshareFlags::NEWPID)?;
                self.fork()?
            }
            // Ends as in a crash: no guard is dropped.
            "exit" => std::process::exit(9),
            other => return Err(format!("no such command: {other}").into()),
        })
    }

    /// Forks a child that uses its parent's guard in every way.
    fn fork(&mut self) -> Outcome<String> {
        match fork::fork()? {
            fork::Fork::Parent(child) => Ok(match fork::waitpid(child)? {
                0 => "ok".to_owned(),
                status => format!("a child holds its parent's lock ({status:#x})"),
            }),
            fork::Fork::Child => {
                let guard = self.guard.take().ok_or("nothing is held")?;
                let signs = [
                    guard.renew().is_ok(),
                    guard.set_timeout(Duration::from_secs(5)).is_ok(),
                    guard.is_held(),
                    !guard.remaining().is_zero(),
                    guard.lost().is_none(),
                    !guard.wait_lost(Duration::ZERO),
                    guard.release().is_err(),
                ];
                let bits = signs.iter().rev().fold(0, |bits, sign| bits << 1 | i32::from(*sign));
                std::process::exit(bits);
            }
        }
    }

    fn acquired(&mut self, result: Result<Option<Guard>, lockbydir::Error>) -> String {
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

fn build_lock(name: &str, options: &[&str], losses: &Losses) -> Outcome<Lock> {
    let mut lock = Lock::new(name);
    for option in options {
        let (option, value) = option.split_once('=').ok_or("OPTION=NUMBER")?;
        let number: u64 = value.parse()?;
        let time = Duration::from_millis(number);
        lock = match option {
            "timeout_ms" => lock.timeout(time),
            "patience_ms" => lock.patience(time),
            "linger_ms" => lock.linger(time),
            "renew" => {
                let (losses, is_auto) = (losses.clone(), number > 0);
                let on_lost = move |error: &lockbydir::Error| {
                    let mut losses = losses.lock().unwrap_or_else(PoisonError::into_inner);
                    losses.extend(error.lost_reason().map(|reason| format!(" {reason:?}")));
                };
                lock.renew_automatically(is_auto).on_lost(on_lost)
            }
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

fn main() -> Outcome<()> {
    let mut worker = Worker::default();
    for line in io::stdin().lock().lines() {
        let line = line?;
        // A path may contain spaces: it follows a tab.
        let (words, path) = line.split_once('\t').unwrap_or((&line, ""));
        let answer = worker
            .execute(&words.split_whitespace().collect::<Vec<_>>(), path)
            .unwrap_or_else(|error| format!("error {error}"));
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
