//! The workers as processes: starts them, sends them commands, receives their replies, stops and ends
//! them. All write into one pipe, so that one thread reads the replies of hundreds.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

use super::locks::{Locks, clock};
use super::report::Engine;
use super::run::{Bench, Halt};

/// How much longer than expected a step may take before it counts as a stall.
const SLACK: Duration = Duration::from_secs(30);
/// The pause between two updates of the progress and checks for signals.
const TICK: Duration = Duration::from_millis(100);

/// A line that a worker wrote.
pub(super) struct Reply {
    pub(super) from: usize,
    pub(super) word: String,
    pub(super) rest: String,
}

impl Reply {
    /// Returns the numbers in it.
    pub(super) fn numbers(&self) -> Vec<i64> {
        self.rest.split(' ').filter_map(|word| word.parse().ok()).collect()
    }
}

/// When a worker asked for the lock and acquired it, and when the holding expires and passes its deadline.
#[derive(Clone, Copy)]
pub(super) struct Holding {
    pub(super) asked: i64,
    pub(super) acquired: i64,
    pub(super) expiry: i64,
    pub(super) deadline: i64,
}

/// Worker processes, which are killed when this is dropped.
pub(super) struct Pool<'a> {
    bench: &'a Bench,
    workers: Vec<Child>,
    output: OwnedFd,
    replies: Receiver<Reply>,
}

impl<'a> Pool<'a> {
    /// Starts this many workers and waits until all are ready.
    pub(super) fn start(bench: &'a Bench, count: usize) -> Result<Pool<'a>, Halt> {
        let failed =
            |error: rustix::io::Errno| Halt::Failed(format!("cannot make a pipe: {error}"));
        let (input, output) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let (sender, replies) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(std::fs::File::from(input)).lines();
            for line in lines.map_while(Result::ok) {
                let mut parts = line.splitn(3, ' ').map(str::to_owned);
                let from = parts.next().and_then(|number| number.parse().ok());
                if let (Some(from), Some(word)) = (from, parts.next()) {
                    let rest = parts.next().unwrap_or_default();
                    if sender.send(Reply { from, word, rest }).is_err() {
                        break;
                    }
                }
            }
        });
        let mut pool = Pool { bench, workers: Vec::new(), output, replies };
        for _ in 0..count {
            bench.check_stop()?;
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
        let output = self.output.try_clone().map_err(failed)?;
        let child = Command::new("/proc/self/exe")
            .arg0("lockbydir")
            .args(["bench-worker", &std::process::id().to_string(), &number.to_string()])
            .arg(self.bench.place.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::from(output))
            .stderr(Stdio::null())
            // A terminal's Ctrl-C is for the bench alone, which then ends the workers.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        self.workers.push(child);
        Ok(number)
    }

    /// Starts one more worker, and returns its number when it is ready.
    pub(super) fn add(&mut self) -> Result<usize, Halt> {
        let number = self.spawn()?;
        self.expect("ready", self.within(Duration::ZERO))?;
        Ok(number)
    }

    /// Returns the time at which a step that should take this long counts as a stall.
    pub(super) fn within(&self, time: Duration) -> Instant {
        Instant::now() + time + SLACK
    }

    /// Sends a command to a worker.
    pub(super) fn send(&mut self, who: usize, command: &str) -> Result<(), Halt> {
        let stdin = self.workers[who].stdin.as_mut();
        stdin
            .ok_or_else(|| Halt::Failed("a worker has no standard input".into()))?
            .write_all(format!("{command}\n").as_bytes())
            .map_err(|error| Halt::Failed(format!("worker {who} has ended: {error}")))
    }

    /// Receives the next reply of any worker. A worker's failure is returned as an error.
    pub(super) fn receive(&self, end: Instant) -> Result<Reply, Halt> {
        loop {
            self.bench.check_stop()?;
            match self.replies.recv_timeout(TICK) {
                Ok(reply) if reply.word == "failed" => return Err(Halt::Failed(reply.rest)),
                Ok(reply) => return Ok(reply),
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(_) => {
                    return Err(Halt::Failed(format!(
                        "a stall: a worker printed nothing for more than {} s",
                        SLACK.as_secs()
                    )));
                }
            }
        }
    }

    /// Receives the next reply, which must begin with this word.
    pub(super) fn expect(&self, word: &str, end: Instant) -> Result<Reply, Halt> {
        let reply = self.receive(end)?;
        match reply.word == word {
            true => Ok(reply),
            false => {
                Err(Halt::Failed(format!("a worker said `{}` instead of `{word}`", reply.word)))
            }
        }
    }

    /// Receives the next reply of a worker that holds the lock.
    pub(super) fn held(&self, end: Instant) -> Result<Holding, Halt> {
        match self.expect("held", end)?.numbers()[..] {
            [asked, acquired, expiry, deadline] => {
                Ok(Holding { asked, acquired, expiry, deadline })
            }
            _ => Err(Halt::Failed("a worker's `held` line is malformed".into())),
        }
    }

    pub(super) fn pid(&self, who: usize) -> u32 {
        self.workers[who].id()
    }

    pub(super) fn signal(&self, who: usize, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.workers[who]), signal);
    }

    /// Kills a worker and waits for its end.
    pub(super) fn end(&mut self, who: usize) {
        let _ = self.workers[who].kill();
        let _ = self.workers[who].wait();
    }

    /// Waits until each of these workers sleeps while it waits for the lock. Those that wait for ours must also
    /// be in its queue. They need not all sleep at once: each looks at the lock now and then.
    pub(super) fn settle(
        &self,
        who: std::ops::Range<usize>,
        engine: Engine,
        name: &str,
    ) -> Result<(), Halt> {
        let locks = Locks::new(self.bench.place.folder(), name);
        let end = self.within(self.bench.starting(who.len()));
        // Seen asleep once, it may be between two short sleeps.
        let mut awake: Vec<(usize, u8)> = who.clone().map(|who| (who, 2)).collect();
        while !awake.is_empty() {
            self.bench.check_stop()?;
            if Instant::now() >= end {
                return Err(Halt::Failed(format!(
                    "a stall: {} of {} waiters were not asleep after {} s",
                    awake.len(),
                    who.len(),
                    SLACK.as_secs()
                )));
            }
            thread::sleep(Duration::from_millis(5));
            let in_queue = || match engine {
                Engine::Flock => true,
                Engine::Lockbydir => {
                    locks.ours.status().is_ok_and(|status| status.queue.len() == who.len())
                }
            };
            if in_queue() {
                awake.retain_mut(|(who, times)| {
                    *times = if is_asleep(self.pid(*who)) { *times - 1 } else { 2 };
                    *times > 0
                });
            }
        }
        Ok(())
    }

    /// Sleeps; returns early if a signal asks to stop.
    pub(super) fn sleep(&self, time: Duration) -> Result<(), Halt> {
        let end = clock() + i64::try_from(time.as_nanos()).unwrap_or(i64::MAX / 2);
        loop {
            self.bench.check_stop()?;
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
