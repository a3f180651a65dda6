//! The workers of a run: real processes, born, killed, stopped and born again, and the pipe into
//! which they all tell their histories.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, PipeReader, PipeWriter},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lockbydir_nfs_lab::Name;
use rustix::process::Signal;

use super::{
    Plan,
    contender::Outcome,
    faults::Fault,
    worker::{LockUnderTest, Orders, Proc},
    worker_process::WorkerProcess,
};
use crate::{chance::Dice, clock, history::Record, store::Store};

/// As far as clocks are off, in seconds.
const HOUR: u64 = 3600;

/// As long one tries to catch somebody who holds.
const CATCHING: Duration = Duration::from_secs(3);

/// So many lines before and after a fault are shown.
const SOME: usize = 8;

/// What is told, as it comes.
#[derive(Debug, Default)]
pub(crate) struct Told {
    histories: Mutex<BTreeMap<String, String>>,
    /// Holds so far, and those of them that were waited for while another held.
    pub(crate) holds: AtomicU64,
    pub(crate) contended: AtomicU64,
    /// The place of the one who got the lock last.
    pub(crate) holder: AtomicUsize,
    /// The place of the one who has not said yet that its hold is over, and one more; 0 for nobody.
    holding: AtomicUsize,
}

impl Told {
    fn histories(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of the one who holds, as far as it was told.
    pub(crate) fn holding(&self) -> Option<usize> {
        self.holding.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Adds a line to somebody's history.
    pub(crate) fn note(&self, name: &str, line: &str) {
        let mut histories = self.histories();
        let history = match histories.get_mut(name) {
            Some(history) => history,
            None => histories.entry(name.to_owned()).or_default(),
        };
        history.push_str(line);
        history.push('\n');
    }

    /// What somebody told shortly before and after a moment.
    pub(crate) fn around(&self, name: &str, moment: u64) -> Vec<String> {
        let histories = self.histories();
        let lines: Vec<&str> = histories.get(name).map_or("", String::as_str).lines().collect();
        let is_before = |line: &&&str| {
            let told = line.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
            told.is_none_or(|told| told <= moment)
        };
        let middle = lines.iter().take_while(is_before).count();
        let from = middle.saturating_sub(SOME);
        let shown = lines.iter().skip(from).take(2 * SOME);
        shown.map(|line| format!("{name} {line}")).collect()
    }

    /// All that was told so far.
    pub(crate) fn record(&self) -> Record {
        let mut record = Record::default();
        for (name, history) in &*self.histories() {
            record.add(name, history);
        }
        record
    }

    fn listen(&self, pipe: PipeReader) {
        let mut ended = 0;
        for line in BufReader::with_capacity(1 << 16, pipe).lines().map_while(Result::ok) {
            let Some((name, line)) = line.split_once(' ') else {
                self.note("unknown", &format!("lie {line}"));
                continue;
            };
            self.note(name, line);
            let mut words = line.split(' ');
            let word = words.next().unwrap_or_default();
            let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
            let place = name.split('.').next().and_then(|place| place.parse::<usize>().ok());
            let holding = place.map_or(0, |place| place + 1);
            if word == "start" {
                self.holds.fetch_add(1, Ordering::Relaxed);
                let waited_for = number(words.nth(4)).is_some_and(|since| since < ended);
                self.contended.fetch_add(u64::from(waited_for), Ordering::Relaxed);
                if let Some(place) = place {
                    self.holder.store(place, Ordering::Relaxed);
                    self.holding.store(holding, Ordering::Relaxed);
                }
            } else if matches!(word, "end" | "lost") {
                // Another may have begun before this one said that it is over.
                let (order, of) = (Ordering::Relaxed, &self.holding);
                let _ = of.compare_exchange(holding, 0, order, order);
            }
            if word == "end" {
                ended = ended.max(number(words.next()).unwrap_or(0));
            }
        }
    }
}

/// One worker, and its place in the crew.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) body: WorkerProcess,
    pub(crate) name: String,
    /// Never killed, never stopped, never hasty: so somebody always waits.
    spared: bool,
    pub(crate) killed: bool,
    /// When it is to go on, while it is stopped.
    pub(crate) wake: Option<Instant>,
}

/// All workers.
pub(crate) struct WorkerPool<'a> {
    plan: &'a Plan,
    pub(crate) orders: Orders,
    pub(crate) members: Vec<Member>,
    pub(crate) told: Arc<Told>,
    dice: Dice,
    births: usize,
    pipe: PipeWriter,
    listener: JoinHandle<()>,
    /// The guest that does not answer just now: frozen, or without power.
    pub(crate) away: Option<Name>,
}

/// So long a holder is stopped to sleep beyond its deadline.
pub(crate) fn beyond_deadline(timeout: Duration, dice: &mut Dice) -> Duration {
    timeout.mul_f64(1.25 + dice.share() * 1.75)
}

/// So long a server is out of order.
pub(crate) fn some_seconds(dice: &mut Dice) -> Duration {
    Duration::from_secs_f64(1.0 + dice.share() * 2.0)
}

impl<'a> WorkerPool<'a> {
    /// Starts them all.
    pub(crate) fn start(plan: &'a Plan, orders: Orders) -> Outcome<Self> {
        let (listening, pipe) = io::pipe()?;
        let told = Arc::new(Told::default());
        let ear = Arc::clone(&told);
        let listener = thread::spawn(move || ear.listen(listening));
        let dice = Dice::seeded(plan.seed ^ 1);
        let mut crew = Self {
            plan,
            orders,
            members: Vec::new(),
            told,
            dice,
            births: 0,
            pipe,
            listener,
            away: None,
        };
        for place in 0..plan.processes {
            let member = crew.spawn(place)?;
            crew.members.push(member);
        }
        Ok(crew)
    }

    /// A new worker for this place.
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
        let body = match &self.plan.lab {
            Some(lab) => {
                let told = serde_json::to_string(&orders)?;
                let command = [self.plan.guest_program(), "worker", &told];
                let store = Store::open(&orders.store)?;
                let guest = lab.guest(client(place));
                WorkerProcess::in_guest(&guest, &command, self.pipe.try_clone()?, store)?
            }
            None => self.bear_here(&orders, step)?,
        };
        self.told.note(&name, &format!("born {} {}", clock::now(), body.pid()));
        Ok(Member { body, name, spared, killed: false, wake: None })
    }

    /// A child of ours.
    fn bear_here(&self, orders: &Orders, step: i64) -> Outcome<WorkerProcess> {
        let mut command = self.command(orders)?;
        if step != 0 {
            command.env("LD_PRELOAD", self.plan.stepped_clock());
            command.env(crate::scripted_worker::STEP, step.to_string());
        }
        // A group of its own: a signal reaches it also behind another program.
        command.stdin(Stdio::piped()).stdout(self.pipe.try_clone()?).process_group(0);
        let child = command.spawn().map_err(|error| format!("no worker starts: {error}"))?;
        Ok(WorkerProcess::LocalContext(child))
    }

    /// The lock's name, as this place knows it.
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

    /// The program, and what it is told.
    fn command(&self, orders: &Orders) -> Outcome<Command> {
        let told = serde_json::to_string(orders)?;
        if orders.contestant == LockUnderTest::ProperLockfile {
            let mut command = Command::new("node");
            command.arg(self.plan.node_worker()).arg(told);
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
        command.arg("worker").arg(told);
        Ok(command)
    }

    /// Kills one. Its history says so first.
    pub(crate) fn kill(&mut self, place: usize) {
        let member = &mut self.members[place];
        member.killed = true;
        self.told.note(&member.name, &format!("killed {}", clock::now()));
        member.body.signal(Signal::KILL);
    }

    /// Stops one until then. Its history says so first.
    pub(crate) fn stop(&mut self, place: usize, wake: Instant) {
        let member = &mut self.members[place];
        self.told.note(&member.name, &format!("stopped {}", clock::now()));
        member.body.signal(Signal::STOP);
        member.wake = Some(wake);
    }

    /// Stops whoever holds, in the middle of it, until it is told to go on or is killed; none if
    /// nobody was caught at it in some seconds.
    pub(crate) fn catch_holding(&mut self) -> Option<usize> {
        let begun = Instant::now();
        while begun.elapsed() < CATCHING {
            let Some(place) = self.told.holding() else {
                thread::yield_now();
                continue;
            };
            let Some(member) = self.members.get_mut(place).filter(|member| member.may_be_hit())
            else {
                thread::yield_now();
                continue;
            };
            member.body.stop(CATCHING.saturating_sub(begun.elapsed()));
            if self.told.holding() == Some(place) {
                return Some(place);
            }
            member.body.signal(Signal::CONT);
        }
        None
    }

    /// Kills or stops one, and notes it down. It hits who holds, but for some of those that are
    /// killed. False if nobody was caught in the middle of holding.
    pub(crate) fn strike(&mut self, fault: Fault, dice: &mut Dice) -> bool {
        let hit = if fault == Fault::Kill && dice.once_in(4) {
            let random = usize::try_from(dice.below(self.members.len() as u64)).unwrap_or(0);
            self.members[random].may_be_hit().then_some(random)
        } else {
            self.catch_holding()
        };
        let Some(place) = hit else { return false };
        let now = clock::now();
        self.told.note("hand", &format!("fault {now} {now}"));
        if fault == Fault::Kill {
            self.kill(place);
        } else {
            self.stop(place, Instant::now() + beyond_deadline(self.plan.timeout, dice));
        }
        true
    }

    /// How many are stopped.
    pub(crate) fn stopped(&self) -> usize {
        self.members.iter().filter(|member| member.wake.is_some()).count()
    }

    /// Wakes whose stop is over, and gives a successor to each who is gone.
    pub(crate) fn tend(&mut self) -> Outcome<()> {
        for place in 0..self.members.len() {
            if self.away.is_some_and(|away| self.plan.lab.is_some() && away == client(place)) {
                continue;
            }
            let member = &mut self.members[place];
            if let Some(ended) = member.body.ended()? {
                // Nobody ends by itself.
                if let (false, ended) = (member.killed, ended.err().unwrap_or_default()) {
                    return Err(format!("worker {} failed: {ended}", member.name).into());
                }
                self.members[place] = self.spawn(place)?;
            } else if member.wake.is_some_and(|wake| wake <= Instant::now()) {
                member.body.signal(Signal::CONT);
                member.wake = None;
            }
        }
        Ok(())
    }

    /// Tells all to end, and waits for it; then everything has been told.
    pub(crate) fn end(self) -> Outcome<Arc<Told>> {
        let Self { mut members, pipe, listener, told, .. } = self;
        for member in &mut members {
            member.body.signal(Signal::CONT);
            member.body.tell_to_end();
        }
        for member in &mut members {
            if let (Err(why), false) = (member.body.wait()?, member.killed) {
                return Err(format!("worker {} failed: {why}", member.name).into());
            }
        }
        drop(pipe);
        listener.join().map_err(|_| "the histories could not be heard")?;
        Ok(told)
    }

    /// What one worker more is told, for the last acquisition of all.
    pub(crate) fn last(&self) -> Outcome<Last> {
        let patience_ms = self.orders.timeout_ms * 20 + 5_000;
        let orders = Orders { last: true, patience_ms, ..self.orders.clone() };
        Ok(match self.plan.lab {
            Some(_) => Last::There(serde_json::to_string(&orders)?),
            None => Last::LocalContext(Box::new(self.command(&orders)?)),
        })
    }
}

/// The last acquisition of all.
pub(crate) enum Last {
    /// On this machine.
    LocalContext(Box<Command>),
    /// In a guest: what it is told.
    There(String),
}

impl Last {
    /// Does it, and says why it could not.
    pub(crate) fn acquire(self, plan: &Plan) -> Outcome<Result<(), String>> {
        match (self, &plan.lab) {
            (Self::There(orders), Some(lab)) => {
                let command = [plan.guest_program(), "worker", &orders];
                let ran = lab.guest(Name::Client1).run(&command);
                Ok(ran.map(drop).map_err(|error| error.to_string()))
            }
            (Self::LocalContext(mut command), _) => {
                let output = command.output()?;
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Ok(if output.status.success() { Ok(()) } else { Err(why) })
            }
            (Self::There(_), None) => Err("no guest".into()),
        }
    }
}

/// The guest of those in this place.
pub(crate) fn client(place: usize) -> Name {
    Name::CLIENTS[place % Name::CLIENTS.len()]
}

impl Member {
    /// Neither spared nor dead nor stopped.
    pub(crate) fn may_be_hit(&self) -> bool {
        !self.spared && !self.killed && self.wake.is_none()
    }
}
