//! The torture between two hosts: an NFS server and two clients in QEMU, the workers in the clients, and
//! the faults of guests, network and workers, one at a time.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lockbydir_nfs_lab::{Lab, MOUNTED, Name, Options};
use rustix::process::Signal;

use super::{
    Plan,
    contender::Outcome,
    done::Done,
    fault::Fault,
    round::Round,
    torment::Torment,
    worker_pool::{WorkerPool, beyond_deadline, client, some_seconds},
};
use crate::{chance::Dice, clock, history::Span};

/// Names that do not belong to the lock, though they look like its names.
const BYSTANDERS: [&str; 2] = ["contended.lockdir.notes", "contended.lockdi"];
/// The name of the queue's directory.
const QUEUE: &str = "contended.lockdir.queue";
/// The fraction of the server's packets that is lost while replies are lost.
const LOSS: f64 = 0.05;
/// The time for which the server's replies are held back before its power is cut, half of the time: so
/// that nobody receives the replies to its last operations.
const MUTE: Duration = Duration::from_millis(300);

/// A fault of a guest or of the network, from its start until it is repaired.
struct ActiveFault {
    fault: Fault,
    guest: Name,
    begun: u64,
    /// When it is repaired.
    until: Instant,
}

/// Injects the faults.
pub(crate) struct HostsTormentor<'a> {
    plan: &'a Plan,
    lab: Arc<Lab>,
    /// The folder of the run, as the clients see it.
    pub(crate) folder: String,
    dice: Dice,
    next: Instant,
    round: Round,
    active_fault: Option<ActiveFault>,
    done: Done,
    /// The number of calls by both hosts to the server before the run.
    called: u64,
}

/// Starts a lab whose guests have this program.
///
/// # Errors
/// If the lab cannot be started here.
pub fn lab(plan: &Plan) -> Outcome<Arc<Lab>> {
    let programs = vec![plan.program.clone()];
    let options = Options { programs, ..Options::default() };
    Ok(Arc::new(Lab::start(&options).map_err(|error| error.to_string())?))
}

impl<'a> HostsTormentor<'a> {
    /// Makes a fresh folder, mounted according to the plan.
    pub(crate) fn start(plan: &'a Plan, lab: &Arc<Lab>) -> Outcome<Self> {
        let folder = format!("{MOUNTED}/torture-{}", clock::now());
        lab.mount(&plan.mount).map_err(|error| error.to_string())?;
        shell(lab, Name::Client1, &format!("mkdir -m 700 {folder}"))?;
        for name in BYSTANDERS {
            shell(
                lab,
                Name::Client1,
                &format!("cd {folder}; mkdir {name}; echo no > {name}/note"),
            )?;
        }
        let _ = lab.clock().stops();
        Ok(Self {
            plan,
            lab: Arc::clone(lab),
            folder,
            dice: Dice::seeded(plan.seed),
            next: Instant::now() + plan.every,
            round: Round::default(),
            active_fault: None,
            done: Done::default(),
            called: calls(lab)?,
        })
    }

    /// Returns how long this fault lasts.
    fn lasts(&mut self, fault: Fault) -> Duration {
        match fault {
            Fault::Freeze => beyond_deadline(self.plan.timeout, &mut self.dice),
            Fault::Replies => Duration::from_secs_f64(5.0 + self.dice.share() * 5.0),
            _ => some_seconds(&mut self.dice),
        }
    }

    /// Injects the fault. Returns false if no worker was caught in the middle of holding.
    fn strike(&mut self, fault: Fault, pool: &mut WorkerPool<'_>) -> Outcome<bool> {
        let guest = match fault {
            Fault::Kill | Fault::Stop => return Ok(pool.strike(fault, &mut self.dice)),
            Fault::Freeze | Fault::Power => match pool.catch_holding() {
                Some(place) => client(place),
                None => return Ok(false),
            },
            Fault::Server | Fault::Replies => Name::Server,
            other => return Err(format!("`{}` is nothing for hosts", other.word()).into()),
        };
        let begun = clock::now();
        match fault {
            Fault::Freeze => {
                pool.note_all(guest, "stopped");
                pool.away = Some(guest);
                self.lab.guest(guest).freeze().map_err(|error| error.to_string())?;
                self.done.frozen += 1;
            }
            Fault::Power => {
                self.lab.switch().cut(guest, true);
                pool.note_all(guest, "killed");
                // Their output up to here must be read, though they are gone.
                pool.signal_all(guest, Signal::KILL);
                pool.away = Some(guest);
                self.lab.guest(guest).kill().map_err(|error| error.to_string())?;
                self.done.powered_off += 1;
            }
            Fault::Server => {
                if self.dice.once_in(2) {
                    self.lab.switch().mute(guest, true);
                    // Not to synchronise: for this time nobody receives a reply.
                    thread::sleep(MUTE);
                }
                self.lab.guest(guest).kill().map_err(|error| error.to_string())?;
                self.done.servers += 1;
            }
            _ => {
                self.lab.switch().lose(guest, LOSS);
                self.done.losses += 1;
            }
        }
        let until = Instant::now() + self.lasts(fault);
        self.active_fault = Some(ActiveFault { fault, guest, begun, until });
        Ok(true)
    }

    /// Repairs the fault.
    fn repair(&mut self, pool: &mut WorkerPool<'_>) -> Outcome<()> {
        let Some(ActiveFault { fault, guest, begun, .. }) = self.active_fault.take() else {
            return Ok(());
        };
        match fault {
            Fault::Freeze => {
                self.lab.guest(guest).thaw().map_err(|error| error.to_string())?;
                pool.away = None;
                // A worker that was caught continues to hold, as far as it knows.
                pool.signal_all(guest, Signal::CONT);
            }
            Fault::Power => {
                self.lab.boot(guest).map_err(|error| error.to_string())?;
                pool.away = None;
            }
            Fault::Server => {
                self.lab.boot(guest).map_err(|error| error.to_string())?;
                // Nobody could lock until both clients can change something there again.
                for name in Name::CLIENTS {
                    let probe = format!("{}/probe-{}", self.folder, name.word());
                    shell(&self.lab, name, &format!("mkdir {probe}; rmdir {probe}"))?;
                }
                pool.histories.note("hand", &format!("hindered {begun} {}", clock::now()));
            }
            _ => self.lab.switch().lose(guest, 0.0),
        }
        pool.histories.note("hand", &format!("fault {begun} {}", clock::now()));
        Ok(())
    }

    fn listing(&self) -> Outcome<Vec<String>> {
        let output = shell(&self.lab, Name::Client2, &format!("ls -A {}", self.folder))?;
        Ok(output.lines().map(str::to_owned).collect())
    }
}

impl Torment for HostsTormentor<'_> {
    fn torment(&mut self, pool: &mut WorkerPool<'_>) -> Outcome<()> {
        if let Some(active_fault) = &self.active_fault {
            if active_fault.until <= Instant::now() {
                self.repair(pool)?;
                self.next = self.next.max(Instant::now() + self.plan.every / 2);
            }
            return Ok(());
        }
        if self.next > Instant::now() || self.plan.faults.is_empty() || pool.stopped() > 0 {
            return Ok(());
        }
        self.next = Instant::now() + self.plan.every;
        let fault = self.round.draw(&self.plan.faults, &mut self.dice);
        if !self.strike(fault, pool)? {
            self.round.put_back(fault);
        }
        Ok(())
    }

    fn relieve(&mut self, pool: &mut WorkerPool<'_>) -> Outcome<()> {
        self.repair(pool)
    }

    fn done(&self) -> &Done {
        &self.done
    }

    fn conclude(&mut self) {
        let now = calls(&self.lab).ok().filter(|_| self.done.powered_off == 0);
        self.done.calls = now.map(|now| now.saturating_sub(self.called));
        let stops = self.lab.clock().stops();
        self.done.stops = stops.into_iter().map(|(from, to)| Span { from, to }).collect();
    }

    fn left_behind(&self) -> Outcome<Vec<String>> {
        let mut left = self.listing()?;
        left.retain(|name| !BYSTANDERS.contains(&name.as_str()));
        // Tickets of a host without power stay for an hour, because nobody can know whether it lives. Beside
        // them there may be pipes that it still had open when it removed them.
        if let Some(at) = left.iter().position(|name| name == QUEUE)
            && self.done.powered_off > 0
        {
            let command = format!("ls -A {}/{QUEUE}", self.folder);
            let output = shell(&self.lab, Name::Client2, &command)?;
            let may_stay = |name: &str| name.starts_with("t1.") || name.starts_with(".nfs");
            if output.lines().all(|name| may_stay(name) || name == "bell") {
                left.swap_remove(at);
            }
        }
        Ok(left)
    }

    fn bystanders_gone(&self) -> Outcome<Vec<String>> {
        let left = self.listing()?;
        let is_gone = |name: &&str| !left.iter().any(|found| found == name);
        Ok(BYSTANDERS.into_iter().filter(is_gone).map(str::to_owned).collect())
    }
}

impl Drop for HostsTormentor<'_> {
    fn drop(&mut self) {
        // Restores the network: another run may follow.
        self.lab.switch().lose(Name::Server, 0.0);
    }
}

/// Returns how many calls both hosts have sent to a server since they booted.
fn calls(lab: &Lab) -> Outcome<u64> {
    let mut all = 0;
    for name in Name::CLIENTS {
        let output = shell(lab, name, "grep ^rpc /proc/net/rpc/nfs")?;
        let calls = output.split_whitespace().nth(1).ok_or("a client counts no calls")?;
        all += calls.parse::<u64>()?;
    }
    Ok(all)
}

fn shell(lab: &Lab, name: Name, line: &str) -> Outcome<String> {
    lab.guest(name).shell(line).map_err(|error| error.to_string().into())
}

impl WorkerPool<'_> {
    /// Adds this word with the present time to the histories of all workers in a guest.
    fn note_all(&mut self, guest: Name, word: &str) {
        let now = clock::now();
        for (place, member) in self.members.iter_mut().enumerate() {
            if client(place) == guest {
                member.killed |= word == "killed";
                self.histories.note(&member.name, &format!("{word} {now}"));
            }
        }
    }

    /// Sends a signal to all workers in a guest; their output before its arrival is read.
    fn signal_all(&self, guest: Name, signal: Signal) {
        let there = self.members.iter().enumerate().filter(|(place, _)| client(*place) == guest);
        there.for_each(|(_, member)| member.process.signal(signal));
    }
}
