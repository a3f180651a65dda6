//! The torture on etcd: three members, each in its own network, and the faults of members and workers,
//! one at a time.

use std::{
    thread,
    time::{Duration, Instant},
};

use lockbydir_etcd_lab::{Cluster, Options};

use super::{
    Plan,
    contender::Outcome,
    done::Done,
    fault::Fault,
    plan::NAME,
    round::Round,
    torment::Torment,
    worker_pool::{WorkerPool, some_seconds},
};
use crate::{chance::Dice, clock};

/// Keys that do not belong to the lock, though their names look like its keys.
const BYSTANDERS: [&str; 2] = ["contended.lockdir.notes", "contended.lockdi"];

/// A fault of a member, from its start until the member is well again.
struct ActiveFault {
    fault: Fault,
    member: usize,
    begun: u64,
    /// When it is repaired.
    until: Instant,
    /// It is repaired, and the member only has to recover.
    repaired: bool,
}

/// Injects the faults.
pub(crate) struct ClusterTormentor<'a> {
    plan: &'a Plan,
    pub(crate) cluster: Cluster,
    dice: Dice,
    next: Instant,
    round: Round,
    active_fault: Option<ActiveFault>,
    done: Done,
}

impl<'a> ClusterTormentor<'a> {
    /// Starts a fresh cluster. Moves the calling thread to the network of the cluster's clients.
    pub(crate) fn start(plan: &'a Plan) -> Outcome<Self> {
        let options = Options { parent: Some(plan.dir.clone()), ..Options::default() };
        let cluster = Cluster::in_namespaces(&options).map_err(|error| error.to_string())?;
        cluster.enter().map_err(|error| error.to_string())?;
        for name in BYSTANDERS {
            control(&cluster, &["put", name, "not to be touched"])?;
        }
        Ok(Self {
            plan,
            cluster,
            dice: Dice::seeded(plan.seed),
            next: Instant::now() + plan.every,
            round: Round::default(),
            active_fault: None,
            done: Done::default(),
        })
    }

    fn strike(&mut self, fault: Fault, pool: &mut WorkerPool<'_>) -> Outcome<bool> {
        match fault {
            Fault::Kill | Fault::Stop => return Ok(pool.strike(fault, &mut self.dice)),
            Fault::Member | Fault::Leader | Fault::Cut => {}
            other => return Err(format!("`{}` is nothing for etcd", other.word()).into()),
        }
        let leader = self.cluster.leader().map_err(|error| error.to_string())?;
        let other = (leader + 1 + usize::from(self.dice.once_in(2))) % 3;
        let member = if fault == Fault::Leader || self.dice.once_in(2) { leader } else { other };
        let begun = clock::now();
        let struck = match fault {
            Fault::Member => self.cluster.member(member).kill(),
            Fault::Leader => self.cluster.member(member).stop(),
            _ => self.cluster.cut(member),
        };
        struck.map_err(|error| error.to_string())?;
        match fault {
            Fault::Member => self.done.members += 1,
            Fault::Leader => self.done.leaders += 1,
            _ => self.done.cuts += 1,
        }
        let until = Instant::now() + some_seconds(&mut self.dice);
        self.active_fault = Some(ActiveFault { fault, member, begun, until, repaired: false });
        Ok(true)
    }

    /// Repairs the member, and checks whether it has recovered.
    fn repair(&mut self, pool: &WorkerPool<'_>) -> Outcome<()> {
        let Some(active_fault) = &mut self.active_fault else { return Ok(()) };
        let member = active_fault.member;
        if !active_fault.repaired {
            let repaired = match active_fault.fault {
                Fault::Member => self.cluster.member(member).restart_begin(),
                Fault::Leader => self.cluster.member(member).go_on(),
                _ => self.cluster.heal(member),
            };
            repaired.map_err(|error| error.to_string())?;
            active_fault.repaired = true;
        }
        if self.cluster.members()[member].is_well() {
            let (begun, now) = (active_fault.begun, clock::now());
            pool.histories.note("hand", &format!("fault {begun} {now}"));
            self.active_fault = None;
        }
        Ok(())
    }
}

impl Torment for ClusterTormentor<'_> {
    fn torment(&mut self, pool: &mut WorkerPool<'_>) -> Outcome<()> {
        if let Some(active_fault) = &self.active_fault {
            if active_fault.until <= Instant::now() {
                self.repair(pool)?;
            }
            return Ok(());
        }
        if self.next > Instant::now() || self.plan.faults.is_empty() {
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
        while self.active_fault.is_some() {
            self.repair(pool)?;
            // Not to synchronise: the interval between checks of the member.
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn done(&self) -> &Done {
        &self.done
    }

    /// The key of a dead worker stays until its lease ends, and no longer.
    fn left_behind(&self) -> Outcome<Vec<String>> {
        let begun = Instant::now();
        loop {
            let keys = control(&self.cluster, &["get", "--prefix", "--keys-only", NAME])?;
            let of_the_lock = |key: &&str| !key.is_empty() && !BYSTANDERS.contains(key);
            let left: Vec<String> = keys.lines().filter(of_the_lock).map(str::to_owned).collect();
            if left.is_empty() || begun.elapsed() > self.plan.longest_stall() {
                return Ok(left);
            }
            // Not to synchronise: the interval between two listings.
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn bystanders_gone(&self) -> Outcome<Vec<String>> {
        let keys = control(&self.cluster, &["get", "--prefix", "--keys-only", NAME])?;
        let gone = BYSTANDERS.iter().filter(|name| !keys.lines().any(|key| key == **name));
        Ok(gone.map(|&name| name.to_owned()).collect())
    }
}

fn control(cluster: &Cluster, arguments: &[&str]) -> Outcome<String> {
    cluster.members()[0].control(arguments).map_err(|error| error.to_string().into())
}
