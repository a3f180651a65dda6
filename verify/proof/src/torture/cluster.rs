//! The torture on etcd: three members, each in a network of its own, and what happens to them and
//! to the workers, one thing at a time.

use std::{
    thread,
    time::{Duration, Instant},
};

use lockbydir_etcd_lab::{Cluster, Options};

use super::{
    NAME, Plan,
    contender::Outcome,
    faults::Fault,
    round::Round,
    torment::{Done, Torment},
    worker_pool::{WorkerPool, some_seconds},
};
use crate::{chance::Dice, clock};

/// Keys that are not the lock's, though they look like it.
const BYSTANDERS: [&str; 2] = ["contended.lockdir.notes", "contended.lockdi"];

/// A member that is not well, and since when.
struct ActiveFault {
    fault: Fault,
    member: usize,
    begun: u64,
    /// When it is put in order.
    until: Instant,
    /// It was, and need only come to itself.
    mended: bool,
}

/// Who does it.
pub(crate) struct ClusterTormentor<'a> {
    plan: &'a Plan,
    pub(crate) cluster: Cluster,
    dice: Dice,
    next: Instant,
    round: Round,
    trouble: Option<ActiveFault>,
    done: Done,
}

impl<'a> ClusterTormentor<'a> {
    /// A fresh cluster. The calling thread is moved to where its clients are.
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
            trouble: None,
            done: Done::default(),
        })
    }

    fn strike(&mut self, fault: Fault, crew: &mut WorkerPool<'_>) -> Outcome<bool> {
        match fault {
            Fault::Kill | Fault::Stop => return Ok(crew.strike(fault, &mut self.dice)),
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
        self.trouble = Some(ActiveFault { fault, member, begun, until, mended: false });
        Ok(true)
    }

    /// Puts the member in order again, and sees whether it has come to itself.
    fn mend(&mut self, crew: &WorkerPool<'_>) -> Outcome<()> {
        let Some(trouble) = &mut self.trouble else { return Ok(()) };
        let member = trouble.member;
        if !trouble.mended {
            let mended = match trouble.fault {
                Fault::Member => self.cluster.member(member).restart_begin(),
                Fault::Leader => self.cluster.member(member).go_on(),
                _ => self.cluster.heal(member),
            };
            mended.map_err(|error| error.to_string())?;
            trouble.mended = true;
        }
        if self.cluster.members()[member].is_well() {
            let (begun, now) = (trouble.begun, clock::now());
            crew.told.note("hand", &format!("fault {begun} {now}"));
            self.trouble = None;
        }
        Ok(())
    }
}

impl Torment for ClusterTormentor<'_> {
    fn torment(&mut self, crew: &mut WorkerPool<'_>) -> Outcome<()> {
        if let Some(trouble) = &self.trouble {
            if trouble.until <= Instant::now() {
                self.mend(crew)?;
            }
            return Ok(());
        }
        if self.next > Instant::now() || self.plan.faults.is_empty() {
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
        while self.trouble.is_some() {
            self.mend(crew)?;
            // Not to synchronise: how often one looks whether the member is well.
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn done(&self) -> &Done {
        &self.done
    }

    /// Of the dead a key stays until its lease ends, and no longer.
    fn left_behind(&self) -> Outcome<Vec<String>> {
        let begun = Instant::now();
        loop {
            let keys = control(&self.cluster, &["get", "--prefix", "--keys-only", NAME])?;
            let of_the_lock = |key: &&str| !key.is_empty() && !BYSTANDERS.contains(key);
            let left: Vec<String> = keys.lines().filter(of_the_lock).map(str::to_owned).collect();
            if left.is_empty() || begun.elapsed() > self.plan.longest_stall() {
                return Ok(left);
            }
            // Not to synchronise: how often one looks.
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
