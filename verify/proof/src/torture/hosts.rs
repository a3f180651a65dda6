//! The torture between two hosts: an NFS server and two clients in QEMU, the workers in the
//! clients, and what happens to guests, network and workers, one thing at a time.

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
    faults::Fault,
    round::Round,
    torment::{Done, Torment},
    worker_pool::{WorkerPool, beyond_deadline, client, some_seconds},
};
use crate::{
    chance::Dice,
    clock,
    history::{Record, Span},
};

/// Names that are not the lock's, though they look like it.
const BYSTANDERS: [&str; 2] = ["contended.lockdir.notes", "contended.lockdi"];
/// Where those stand who wait.
const LINE: &str = "contended.lockdir.queue";
/// Of what the server sends, so much is lost while answers are.
const LOSS: f64 = 0.05;
/// The server's answers are held back for so long before its plug is pulled, half of the time: what
/// it did last, nobody was told.
const MUTE: Duration = Duration::from_millis(300);

/// Something that is not well.
struct ActiveFault {
    fault: Fault,
    guest: Name,
    begun: u64,
    /// When it is put in order.
    until: Instant,
}

/// Who does it.
pub(crate) struct HostsTormentor<'a> {
    plan: &'a Plan,
    lab: Arc<Lab>,
    /// The folder of the run, as the clients see it.
    pub(crate) folder: String,
    dice: Dice,
    next: Instant,
    round: Round,
    trouble: Option<ActiveFault>,
    done: Done,
    /// What the hosts had asked of the server before.
    called: u64,
}

/// A lab whose guests have this program.
///
/// # Errors
/// When it cannot be had here.
pub fn lab(plan: &Plan) -> Outcome<Arc<Lab>> {
    let programs = vec![plan.program.clone()];
    let options = Options { programs, ..Options::default() };
    Ok(Arc::new(Lab::start(&options).map_err(|error| error.to_string())?))
}

impl<'a> HostsTormentor<'a> {
    /// A fresh folder, mounted as the plan says.
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
            trouble: None,
            done: Done::default(),
            called: calls(lab)?,
        })
    }

    /// How long this one lasts.
    fn lasts(&mut self, fault: Fault) -> Duration {
        match fault {
            Fault::Freeze => beyond_deadline(self.plan.timeout, &mut self.dice),
            Fault::Replies => Duration::from_secs_f64(5.0 + self.dice.share() * 5.0),
            _ => some_seconds(&mut self.dice),
        }
    }

    /// False if nobody was caught in the middle of holding.
    fn strike(&mut self, fault: Fault, crew: &mut WorkerPool<'_>) -> Outcome<bool> {
        let guest = match fault {
            Fault::Kill | Fault::Stop => return Ok(crew.strike(fault, &mut self.dice)),
            Fault::Freeze | Fault::Power => match crew.catch_holding() {
                Some(place) => client(place),
                None => return Ok(false),
            },
            Fault::Server | Fault::Replies => Name::Server,
            other => return Err(format!("`{}` is nothing for hosts", other.word()).into()),
        };
        let begun = clock::now();
        match fault {
            Fault::Freeze => {
                crew.note_all(guest, "stopped");
                crew.away = Some(guest);
                self.lab.guest(guest).freeze().map_err(|error| error.to_string())?;
                self.done.frozen += 1;
            }
            Fault::Power => {
                self.lab.switch().cut(guest, true);
                crew.note_all(guest, "killed");
                // What they told is to be heard, though they are gone.
                crew.signal_all(guest, Signal::KILL);
                crew.away = Some(guest);
                self.lab.guest(guest).kill().map_err(|error| error.to_string())?;
                self.done.powered_off += 1;
            }
            Fault::Server => {
                if self.dice.once_in(2) {
                    self.lab.switch().mute(guest, true);
                    // Not to synchronise: so long nobody hears an answer.
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
        self.trouble = Some(ActiveFault { fault, guest, begun, until });
        Ok(true)
    }

    /// Puts it in order again.
    fn mend(&mut self, crew: &mut WorkerPool<'_>) -> Outcome<()> {
        let Some(ActiveFault { fault, guest, begun, .. }) = self.trouble.take() else {
            return Ok(());
        };
        match fault {
            Fault::Freeze => {
                self.lab.guest(guest).thaw().map_err(|error| error.to_string())?;
                crew.away = None;
                // Whoever was caught goes on holding, as far as it knows.
                crew.signal_all(guest, Signal::CONT);
            }
            Fault::Power => {
                self.lab.boot(guest).map_err(|error| error.to_string())?;
                crew.away = None;
            }
            Fault::Server => {
                self.lab.boot(guest).map_err(|error| error.to_string())?;
                // Until both can change something there again, nobody could lock.
                for name in Name::CLIENTS {
                    let probe = format!("{}/probe-{}", self.folder, name.word());
                    shell(&self.lab, name, &format!("mkdir {probe}; rmdir {probe}"))?;
                }
                crew.told.note("hand", &format!("hindered {begun} {}", clock::now()));
            }
            _ => self.lab.switch().lose(guest, 0.0),
        }
        crew.told.note("hand", &format!("fault {begun} {}", clock::now()));
        Ok(())
    }

    fn listing(&self) -> Outcome<Vec<String>> {
        let told = shell(&self.lab, Name::Client2, &format!("ls -A {}", self.folder))?;
        Ok(told.lines().map(str::to_owned).collect())
    }
}

impl Torment for HostsTormentor<'_> {
    fn torment(&mut self, crew: &mut WorkerPool<'_>) -> Outcome<()> {
        if let Some(trouble) = &self.trouble {
            if trouble.until <= Instant::now() {
                self.mend(crew)?;
                self.next = self.next.max(Instant::now() + self.plan.every / 2);
            }
            return Ok(());
        }
        if self.next > Instant::now() || self.plan.faults.is_empty() || crew.stopped() > 0 {
            return Ok(());
        }
        self.next = Instant::now() + self.plan.every;
        let fault = self.round.draw(&self.plan.faults, &mut self.dice);
        if !self.strike(fault, crew)? {
            self.round.put_back(fault);
        }
        Ok(())
    }

    fn relieve(&mut self, crew: &mut WorkerPool<'_>) -> Outcome<()> {
        self.mend(crew)
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
        // Tickets of a host without power stay for an hour, for nobody can tell whether it lives.
        // Beside them there may be pipes that it still had open when it removed them.
        if let Some(at) = left.iter().position(|name| name == LINE)
            && self.done.powered_off > 0
        {
            let line = format!("ls -A {}/{LINE}", self.folder);
            let told = shell(&self.lab, Name::Client2, &line)?;
            let may_stay = |name: &str| name.starts_with("t1.") || name.starts_with(".nfs");
            if told.lines().all(|name| may_stay(name) || name == "bell") {
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
        // As it was before: another run may follow.
        self.lab.switch().lose(Name::Server, 0.0);
    }
}

/// How often both hosts have called a server since they booted.
fn calls(lab: &Lab) -> Outcome<u64> {
    let mut all = 0;
    for name in Name::CLIENTS {
        let told = shell(lab, name, "grep ^rpc /proc/net/rpc/nfs")?;
        all += told.split_whitespace().nth(1).ok_or("a client counts no calls")?.parse::<u64>()?;
    }
    Ok(all)
}

fn shell(lab: &Lab, name: Name, line: &str) -> Outcome<String> {
    lab.guest(name).shell(line).map_err(|error| error.to_string().into())
}

impl WorkerPool<'_> {
    /// Adds the same to the histories of all in a guest, with this moment.
    fn note_all(&mut self, guest: Name, word: &str) {
        let now = clock::now();
        for (place, member) in self.members.iter_mut().enumerate() {
            if client(place) == guest {
                member.killed |= word == "killed";
                self.told.note(&member.name, &format!("{word} {now}"));
            }
        }
    }

    /// A signal for all in a guest; what they told before they felt it is heard.
    fn signal_all(&self, guest: Name, signal: Signal) {
        let there = self.members.iter().enumerate().filter(|(place, _)| client(*place) == guest);
        there.for_each(|(_, member)| member.body.signal(signal));
    }
}

/// From when a holder began to let go until one who waited had the lock, sorted: on the same host,
/// and between two.
#[must_use]
pub fn handoffs(record: &Record) -> [Vec<Duration>; 2] {
    let mut by_start: Vec<_> = record.holds.iter().filter(|hold| hold.end > hold.start).collect();
    by_start.sort_by_key(|hold| hold.start);
    let place = |worker: &str| worker.split('.').next().and_then(|place| place.parse().ok());
    let host = |worker: &str| place(worker).map(client);
    let mut between = [Vec::new(), Vec::new()];
    for pair in by_start.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        // Who came when it was free already is no measure, nor who follows upon a fault.
        let is_calm =
            !record.faults.iter().any(|fault| fault.from <= after.start && before.end <= fault.to);
        if after.since < before.end
            && before.end <= after.start
            && is_calm
            && after.how != "after-expiry"
        {
            let other = usize::from(host(&before.worker) != host(&after.worker));
            between[other].push(Duration::from_nanos(after.start - before.end));
        }
    }
    between.iter_mut().for_each(|gaps| gaps.sort());
    between
}
