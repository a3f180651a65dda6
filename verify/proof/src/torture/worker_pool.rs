//! The workers of a run: real processes that are started, killed, stopped and replaced, and the pipe into
//! which they all write their histories.

use std::{
    io::{self, PipeWriter},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lockbydir_nfs_lab::Name;
use rustix::process::Signal;

use super::{
    Plan,
    contender::Outcome,
    fault::Fault,
    histories::Histories,
    worker::{LockUnderTest, Orders, Proc},
    worker_process::WorkerProcess,
};
use crate::{chance::Dice, clock, scripted_worker::step_clock, store::Store};

/// The largest difference of stepped clocks, in seconds.
const HOUR: u64 = 3600;

/// The time for which a stop or kill tries to catch a worker that holds.
const CATCH_TIME: Duration = Duration::from_secs(3);

/// A worker and its place in the pool.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) process: WorkerProcess,
    pub(crate) name: String,
    /// Never killed, stopped or restless: so somebody always waits.
    spared: bool,
    pub(crate) killed: bool,
    /// When it continues, while it is stopped.
    pub(crate) wake: Option<Instant>,
}

/// All workers.
pub(crate) struct WorkerPool<'a> {
    plan: &'a Plan,
    pub(crate) orders: Orders,
    pub(crate) members: Vec<Member>,
    pub(crate) histories: Arc<Histories>,
    dice: Dice,
    births: usize,
    pipe: PipeWriter,
    listener: JoinHandle<()>,
    /// The guest that does not answer now: frozen, or without power.
    pub(crate) away: Option<Name>,
}

/// Returns for how long a holder is stopped so that it sleeps beyond its deadline.
pub(crate) fn beyond_deadline(timeout: Duration, dice: &mut Dice) -> Duration {
    timeout.mul_f64(1.25 + dice.share() * 1.75)
}

/// Returns for how long a server is out of order.
pub(crate) fn some_seconds(dice: &mut Dice) -> Duration {
    Duration::from_secs_f64(1.0 + dice.share() * 2.0)
}

impl<'a> WorkerPool<'a> {
    /// Starts all workers.
    pub(crate) fn start(plan: &'a Plan, orders: Orders) -> Outcome<Self> {
        let (listening, pipe) = io::pipe()?;
        let histories = Arc::new(Histories::default());
        let reader = Arc::clone(&histories);
        let listener = thread::spawn(move || reader.listen(listening));
        let dice = Dice::seeded(plan.seed ^ 1);
        let mut pool = Self {
            plan,
            orders,
            members: Vec::new(),
            histories,
            dice,
            births: 0,
            pipe,
            listener,
            away: None,
        };
        for place in 0..plan.processes {
            let member = pool.spawn(place)?;
            pool.members.push(member);
        }
        Ok(pool)
    }

    /// Starts a new worker for this place.
    fn spawn(&mut self, place: usize) -> Outcome<Member> {
        self.births += 1;
        let spared = place < self.plan.spared();
        let name = format!("{place}.{}", self.births);
        let ahead_s = if self.plan.has(Fault::Namespace) && self.dice.once_in(4) {
            1 + self.dice.below(HOUR)
        } else {
            0
        };
        let step = if self.plan.has(Fault::Clock) && self.dice.once_in(2) {
            (self.dice.below(2 * HOUR).cast_signed() - HOUR.cast_signed())
                .min(self.plan.most_ahead())
        } else {
            0
        };
        let pids = if self.plan.has(Fault::Pids) && self.dice.once_in(2) {
            Some(if self.dice.once_in(2) { Proc::Own } else { Proc::Outer })
        } else {
            None
        };
        let orders = Orders {
            name: name.clone(),
            lock: self.lock(place),
            pids,
            restless: self.orders.restless && !spared,
            ahead_s,
            seed: self.plan.seed ^ (self.births as u64).rotate_left(32),
            ..self.orders.clone()
        };
        let process = match &self.plan.lab {
            Some(lab) => {
                let json = serde_json::to_string(&orders)?;
                let command = [self.plan.guest_program(), "worker", &json];
                let store = Store::open(&orders.store)?;
                let guest = lab.guest(client(place));
                WorkerProcess::in_guest(&guest, &command, self.pipe.try_clone()?, store)?
            }
            None => self.spawn_here(&orders, step)?,
        };
        self.histories.note(&name, &format!("born {} {}", clock::now(), process.pid()));
        Ok(Member { process, name, spared, killed: false, wake: None })
    }

    /// Starts a worker as a child of this process.
    fn spawn_here(&self, orders: &Orders, step: i64) -> Outcome<WorkerProcess> {
        let mut command = self.command(orders)?;
        if step != 0 {
            step_clock(&mut command, &self.plan.stepped_clock(), step);
        }
        // In a process group of its own: a signal reaches it also if another program started it.
        command.stdin(Stdio::piped()).stdout(self.pipe.try_clone()?).process_group(0);
        let child = command.spawn().map_err(|error| format!("no worker starts: {error}"))?;
        Ok(WorkerProcess::Local(child))
    }

    /// Returns the lock's name for the worker of this place.
    fn lock(&self, place: usize) -> PathBuf {
        let lock = &self.orders.lock;
        if self.plan.alone {
            return lock.with_file_name(format!("alone-{place}"));
        }
        let ways = self.plan.also.len() + 1;
        match (place % ways).checked_sub(1) {
            None => lock.clone(),
            Some(way) => {
                let within = lock.strip_prefix(&self.plan.dir).unwrap_or(lock);
                self.plan.also[way].join(within)
            }
        }
    }

    /// Returns the program with its instructions.
    fn command(&self, orders: &Orders) -> Outcome<Command> {
        let json = serde_json::to_string(orders)?;
        if orders.contestant == LockUnderTest::ProperLockfile {
            let mut command = Command::new("node");
            command.arg(self.plan.node_worker()).arg(json);
            command.env("RIVALS_NODE_MODULES", self.plan.node_modules());
            return Ok(command);
        }
        let mut command = if orders.ahead_s > 0 || orders.pids.is_some() {
            let mut command = Command::new("unshare");
            command.args(["--fork", "--kill-child"]);
            if orders.ahead_s > 0 {
                command.arg("--time").arg("--boottime").arg(orders.ahead_s.to_string());
            }
            if let Some(proc) = orders.pids {
                command.arg("--pid");
                command.args((proc == Proc::Own).then_some("--mount-proc"));
            }
            if let Some(user) = self.plan.user() {
                command.arg(format!("--setgid={user}")).arg(format!("--setuid={user}"));
            }
            command.arg(&self.plan.program);
            command
        } else {
            let mut command = Command::new(&self.plan.program);
            if let Some(user) = self.plan.user() {
                command.uid(user).gid(user);
            }
            command
        };
        command.arg("worker").arg(json);
        Ok(command)
    }

    /// Kills a worker, after recording it in its history.
    pub(crate) fn kill(&mut self, place: usize) {
        let member = &mut self.members[place];
        member.killed = true;
        self.histories.note(&member.name, &format!("killed {}", clock::now()));
        member.process.signal(Signal::KILL);
    }

    /// Stops a worker until `wake`, after recording it in its history.
    pub(crate) fn stop(&mut self, place: usize, wake: Instant) {
        let member = &mut self.members[place];
        self.histories.note(&member.name, &format!("stopped {}", clock::now()));
        member.process.signal(Signal::STOP);
        member.wake = Some(wake);
    }

    /// Stops the holder in the middle of its hold, until it is continued or killed; returns `None` if no
    /// holder was caught in [`CATCH_TIME`].
    pub(crate) fn catch_holding(&mut self) -> Option<usize> {
        let begun = Instant::now();
        while begun.elapsed() < CATCH_TIME {
            let Some(place) = self.histories.holding() else {
                thread::yield_now();
                continue;
            };
            let Some(member) = self.members.get_mut(place).filter(|member| member.may_be_hit())
            else {
                thread::yield_now();
                continue;
            };
            member.process.stop(CATCH_TIME.saturating_sub(begun.elapsed()));
            if self.histories.holding() == Some(place) {
                return Some(place);
            }
            member.process.signal(Signal::CONT);
        }
        None
    }

    /// Kills or stops a worker, and records it. It hits the holder, except for some of the kills. Returns
    /// false if no worker was caught in the middle of holding.
    pub(crate) fn strike(&mut self, fault: Fault, dice: &mut Dice) -> bool {
        let hit = if fault == Fault::Kill && dice.once_in(4) {
            let random = usize::try_from(dice.below(self.members.len() as u64)).unwrap_or(0);
            self.members[random].may_be_hit().then_some(random)
        } else {
            self.catch_holding()
        };
        let Some(place) = hit else { return false };
        let now = clock::now();
        self.histories.note("hand", &format!("fault {now} {now}"));
        if fault == Fault::Kill {
            self.kill(place);
        } else {
            self.stop(place, Instant::now() + beyond_deadline(self.plan.timeout, dice));
        }
        true
    }

    /// Returns the number of stopped workers.
    pub(crate) fn stopped(&self) -> usize {
        self.members.iter().filter(|member| member.wake.is_some()).count()
    }

    /// Continues workers whose stop is over, and replaces each worker that is gone.
    pub(crate) fn tend(&mut self) -> Outcome<()> {
        for place in 0..self.members.len() {
            if self.away.is_some_and(|away| self.plan.lab.is_some() && away == client(place)) {
                continue;
            }
            let member = &mut self.members[place];
            if let Some(ended) = member.process.ended()? {
                // No worker ends by itself.
                if let (false, ended) = (member.killed, ended.err().unwrap_or_default()) {
                    return Err(format!("worker {} failed: {ended}", member.name).into());
                }
                self.members[place] = self.spawn(place)?;
            } else if member.wake.is_some_and(|wake| wake <= Instant::now()) {
                member.process.signal(Signal::CONT);
                member.wake = None;
            }
        }
        Ok(())
    }

    /// Asks all workers to end and waits until they have; then the histories are complete.
    pub(crate) fn end(self) -> Outcome<Arc<Histories>> {
        let Self { mut members, pipe, listener, histories, .. } = self;
        for member in &mut members {
            member.process.signal(Signal::CONT);
            member.process.request_end();
        }
        for member in &mut members {
            if let (Err(why), false) = (member.process.wait()?, member.killed) {
                return Err(format!("worker {} failed: {why}", member.name).into());
            }
        }
        drop(pipe);
        listener.join().map_err(|_| "the histories could not be heard")?;
        Ok(histories)
    }

    /// Returns the last acquisition of all, by an additional worker.
    pub(crate) fn last(&self) -> Outcome<Last> {
        let patience_ms = self.orders.timeout_ms * 20 + 5_000;
        let orders = Orders { last: true, patience_ms, ..self.orders.clone() };
        Ok(match self.plan.lab {
            Some(_) => Last::InGuest(serde_json::to_string(&orders)?),
            None => Last::Local(Box::new(self.command(&orders)?)),
        })
    }
}

/// The last acquisition of all.
pub(crate) enum Last {
    /// On this machine.
    Local(Box<Command>),
    /// In a guest, with these instructions.
    InGuest(String),
}

impl Last {
    /// Runs it, and returns why it failed.
    pub(crate) fn acquire(self, plan: &Plan) -> Outcome<Result<(), String>> {
        match (self, &plan.lab) {
            (Self::InGuest(orders), Some(lab)) => {
                let command = [plan.guest_program(), "worker", &orders];
                let ran = lab.guest(Name::Client1).run(&command);
                Ok(ran.map(drop).map_err(|error| error.to_string()))
            }
            (Self::Local(mut command), _) => {
                let output = command.output()?;
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Ok(if output.status.success() { Ok(()) } else { Err(why) })
            }
            (Self::InGuest(_), None) => Err("no guest".into()),
        }
    }
}

/// Returns the guest of the worker in this place.
pub(crate) fn client(place: usize) -> Name {
    Name::CLIENTS[place % Name::CLIENTS.len()]
}

impl Member {
    /// Whether it may be killed or stopped: it is neither spared nor dead nor stopped.
    pub(crate) fn may_be_hit(&self) -> bool {
        !self.spared && !self.killed && self.wake.is_none()
    }
}
