//! The workers as processes: started, told, heard, stopped, ended. All say what they say into one
//! pipe, so that one thread hears hundreds.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

use super::Bench;
use super::report::Engine;
use super::worker::{Locks, clock};

/// How much longer than expected something may take before it counts as a stall.
const SLACK: Duration = Duration::from_secs(30);
/// Between two looks at the progress and at signals.
const TICK: Duration = Duration::from_millis(100);

/// Why measuring stops.
pub(super) enum Halt {
    /// A signal came.
    Stopped,
    /// It did not work; the next measure may.
    Failed(String),
}

/// What a worker said.
pub(super) struct Said {
    pub(super) from: usize,
    pub(super) word: String,
    pub(super) rest: String,
}

impl Said {
    /// The numbers in it.
    pub(super) fn numbers(&self) -> Vec<i64> {
        self.rest.split(' ').filter_map(|word| word.parse().ok()).collect()
    }
}

/// When a worker asked for the lock, had it, and began to give it back; and when that expires.
#[derive(Clone, Copy)]
pub(super) struct Holding {
    pub(super) asked: i64,
    pub(super) acquired: i64,
    pub(super) expiry: i64,
    pub(super) deadline: i64,
}

/// Workers; they end with it.
pub(super) struct Pool<'a> {
    bench: &'a Bench,
    workers: Vec<Child>,
    tongue: OwnedFd,
    said: Receiver<Said>,
}

impl<'a> Pool<'a> {
    /// Starts this many and waits until all are ready.
    pub(super) fn start(bench: &'a Bench, count: usize) -> Result<Pool<'a>, Halt> {
        let failed =
            |error: rustix::io::Errno| Halt::Failed(format!("cannot make a pipe: {error}"));
        let (ear, tongue) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let (tell, said) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(std::fs::File::from(ear)).lines();
            for line in lines.map_while(Result::ok) {
                let mut parts = line.splitn(3, ' ').map(str::to_owned);
                let from = parts.next().and_then(|number| number.parse().ok());
                if let (Some(from), Some(word)) = (from, parts.next()) {
                    let rest = parts.next().unwrap_or_default();
                    if tell.send(Said { from, word, rest }).is_err() {
                        break;
                    }
                }
            }
        });
        let mut pool = Pool { bench, workers: Vec::new(), tongue, said };
        for _ in 0..count {
            bench.go_on()?;
            pool.spawn()?;
        }
        let end = pool.within(Duration::ZERO);
        for _ in 0..count {
            pool.expect("ready", end)?;
        }
        Ok(pool)
    }

    fn spawn(&mut self) -> Result<usize, Halt> {
        let number = self.workers.len();
        let failed =
            |error: std::io::Error| Halt::Failed(format!("cannot start worker {number}: {error}"));
        let tongue = self.tongue.try_clone().map_err(failed)?;
        let child = Command::new("/proc/self/exe")
            .arg0("lockbydir")
            .args(["bench-worker", &std::process::id().to_string(), &number.to_string()])
            .arg(self.bench.place.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::from(tongue))
            .stderr(Stdio::null())
            // A terminal's Ctrl-C is for us alone: we end them.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        self.workers.push(child);
        Ok(number)
    }

    /// One more.
    pub(super) fn add(&mut self) -> Result<usize, Halt> {
        let number = self.spawn()?;
        self.expect("ready", self.within(Duration::ZERO))?;
        Ok(number)
    }

    /// When something that should take this long counts as a stall.
    pub(super) fn within(&self, time: Duration) -> Instant {
        Instant::now() + time + SLACK
    }

    pub(super) fn tell(&mut self, who: usize, command: &str) -> Result<(), Halt> {
        let stdin = self.workers[who].stdin.as_mut();
        stdin
            .ok_or_else(|| Halt::Failed("a worker has no ear".into()))?
            .write_all(format!("{command}\n").as_bytes())
            .map_err(|error| Halt::Failed(format!("worker {who} has ended: {error}")))
    }

    /// The next thing that any of them says; a failure of theirs is ours.
    pub(super) fn hear(&self, end: Instant) -> Result<Said, Halt> {
        loop {
            self.bench.go_on()?;
            match self.said.recv_timeout(TICK) {
                Ok(said) if said.word == "failed" => return Err(Halt::Failed(said.rest)),
                Ok(said) => return Ok(said),
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(_) => {
                    return Err(Halt::Failed(format!(
                        "a stall: a worker has said nothing for more than {} s",
                        SLACK.as_secs()
                    )));
                }
            }
        }
    }

    /// The next word, which must be this one.
    pub(super) fn expect(&self, word: &str, end: Instant) -> Result<Said, Halt> {
        let said = self.hear(end)?;
        match said.word == word {
            true => Ok(said),
            false => {
                Err(Halt::Failed(format!("a worker said `{}` instead of `{word}`", said.word)))
            }
        }
    }

    /// The next one who holds.
    pub(super) fn held(&self, end: Instant) -> Result<Holding, Halt> {
        match self.expect("held", end)?.numbers()[..] {
            [asked, acquired, expiry, deadline] => {
                Ok(Holding { asked, acquired, expiry, deadline })
            }
            _ => Err(Halt::Failed("a worker said `held` in other words".into())),
        }
    }

    pub(super) fn pid(&self, who: usize) -> u32 {
        self.workers[who].id()
    }

    pub(super) fn signal(&self, who: usize, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.workers[who]), signal);
    }

    /// Ends one for good.
    pub(super) fn end(&mut self, who: usize) {
        let _ = self.workers[who].kill();
        let _ = self.workers[who].wait();
    }

    /// Waits until these sleep in wait for the lock, and for ours also queue.
    pub(super) fn settle(
        &self,
        who: std::ops::Range<usize>,
        engine: Engine,
        name: &str,
    ) -> Result<(), Halt> {
        let locks = Locks::new(self.bench.place.folder(), name);
        let end = self.within(Duration::ZERO);
        let mut rested = 0;
        while rested < 2 {
            self.bench.go_on()?;
            if Instant::now() >= end {
                return Err(Halt::Failed(format!(
                    "a stall: {} waiters did not come to rest in {} s",
                    who.len(),
                    SLACK.as_secs()
                )));
            }
            thread::sleep(Duration::from_millis(5));
            let in_queue = || match engine {
                Engine::Flock => true,
                Engine::Lockbydir => {
                    locks.ours().status().is_ok_and(|status| status.queue.len() == who.len())
                }
            };
            let is_settled = who.clone().all(|who| is_asleep(self.pid(who))) && in_queue();
            rested = if is_settled { rested + 1 } else { 0 };
        }
        Ok(())
    }

    /// Sleeps, but not through a signal.
    pub(super) fn sleep(&self, time: Duration) -> Result<(), Halt> {
        let end = clock() + i64::try_from(time.as_nanos()).unwrap_or(i64::MAX / 2);
        loop {
            self.bench.go_on()?;
            let rest = Duration::from_nanos((end - clock()).max(0).unsigned_abs());
            if rest.is_zero() {
                return Ok(());
            }
            thread::sleep(rest.min(TICK));
        }
    }
}

fn is_asleep(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.kill();
        }
        for worker in &mut self.workers {
            let _ = worker.wait();
        }
    }
}
