//! The lock on etcd, compared with the bare calls that it consists of, and with `etcdctl lock`: all on the
//! same server, in one run, taking turns.
//!
//! `cargo bench -p lockbydir-bench --bench etcd`. It starts its own server, with its data in memory (or in
//! DIR: `-- --dir DIR`; a cluster: `-- --members 3`), and needs `etcd` and `etcdctl`. The other options are
//! `-- --rounds 31` and `-- --waiters 200`. Only ratios are meaningful on other machines.
//!
//! * Acquire and release, compared with three calls one after another: grant a lease, put a key under it,
//!   revoke the lease. There is no contention, so ours keeps its lease, and makes two calls.
//! * Handoff between two processes that both already run: from just before one is asked to release (ours by
//!   a line, `etcdctl lock` by SIGINT, its way of releasing) until the other's line that reports that it
//!   holds is read. Starting a process counts for neither.
//! * Many processes in the queue: the requests to the server and the messages that it sends, for each
//!   release.

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use lockbydir::Lock;
use lockbydir_bench::{Aim, Ratio, median};
use lockbydir_etcd::api::{
    Channel, Client, Endpoint, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
};
use lockbydir_etcd_lab::{Cluster, Options, Server};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::{Builder, Runtime};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The timeout of the locks: long enough that nothing is renewed during a measurement.
const TIMEOUT: Duration = Duration::from_secs(60);
const TTL: i64 = 60;
/// The number of acquisitions in a round.
const TURNS: u32 = 20;
/// The number of releases while many are in the queue.
const RELEASES: u32 = 20;

/// The subject of the measurements, and their size.
struct Bench {
    runtime: Runtime,
    client: Client,
    endpoints: String,
    cluster: Option<Cluster>,
    server: Option<Server>,
    rounds: usize,
    waiters: usize,
}

/// A process that holds, or waits until it does.
struct User {
    child: Child,
    commands: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    Etcdctl,
}

impl User {
    /// Starts a process that acquires the lock immediately.
    fn start(kind: Kind, endpoints: &str, name: &str) -> Outcome<Self> {
        let mut command = match kind {
            Kind::Ours => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["user", &format!("etcd://{endpoints}/{name}")]);
                command
            }
            Kind::Etcdctl => {
                let mut command = Command::new("etcdctl");
                command.env("ETCDCTL_API", "3").args(["--endpoints", endpoints, "lock"]);
                // Ours keeps its queue at this key.
                command.args(["--ttl", &TTL.to_string(), &format!("{name}.lockdir")]);
                command
            }
        };
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // `etcdctl` reports there that it was interrupted.
        let mut child = piped.stderr(Stdio::null()).spawn()?;
        let commands = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().ok_or("it was piped")?);
        Ok(Self { child, commands, lines })
    }

    /// Waits until it reports that it holds.
    fn holds(&mut self) -> Outcome<()> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err("a process ended instead of holding the lock".into());
        }
        Ok(())
    }

    fn release(&mut self, kind: Kind) -> Outcome<()> {
        match kind {
            Kind::Ours => drop(self.commands.take()),
            Kind::Etcdctl => {
                let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
                kill_process(pid.ok_or("a process number")?, Signal::INT)?;
            }
        }
        Ok(())
    }

    fn end(mut self) -> Outcome<()> {
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The main function of such a process: holds until its standard input ends.
fn user(url: &str) -> Outcome<()> {
    lockbydir_etcd::register(lockbydir_etcd::Access::default());
    let guard = Lock::new(url).timeout(TIMEOUT).patience(Duration::from_secs(600)).acquire()?;
    println!("{}", guard.token());
    std::io::stdin().read_line(&mut String::new())?;
    Ok(guard.release()?)
}

impl Bench {
    fn microseconds(begun: Instant, turns: u32) -> f64 {
        begun.elapsed().as_secs_f64() * 1e6 / f64::from(turns)
    }

    /// Measures the three calls, one after another.
    fn bare(&mut self) -> Outcome<f64> {
        let begun = Instant::now();
        for _ in 0..TURNS {
            self.runtime.block_on(async {
                let lease = self.client.call(LeaseGrantRequest { id: 0, ttl: TTL }).await?.id;
                let (key, value) = ("bare".into(), "held".into());
                self.client.call(PutRequest { key, value, lease }).await?;
                self.client.call(LeaseRevokeRequest { id: lease }).await
            })?;
        }
        Ok(Self::microseconds(begun, TURNS))
    }

    fn ours(&self) -> Outcome<f64> {
        let lock = Lock::new(format!("etcd://{}/alone", self.endpoints)).timeout(TIMEOUT);
        let begun = Instant::now();
        for _ in 0..TURNS {
            lock.acquire()?.release()?;
        }
        Ok(Self::microseconds(begun, TURNS))
    }

    fn costs(&mut self) -> Outcome<()> {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for round in 0..=self.rounds {
            let times = (self.bare()?, self.ours()?);
            // The first round warms up.
            if round > 0 {
                bare.push(times.0);
                ours.push(times.1);
            }
        }
        let aim = Some(Aim::AtMost(1.1));
        print_ratio("acquire + release", median(&ours), "grant + put + revoke", median(&bare), aim);
        Ok(())
    }

    /// Returns the number of processes in the queue, the holder included.
    fn in_queue(&mut self, name: &str) -> Outcome<i64> {
        let prefix = RangeRequest::prefix(format!("{name}.lockdir/"));
        let counting = self.client.call(RangeRequest { count_only: true, ..prefix });
        Ok(self.runtime.block_on(counting)?.count)
    }

    fn await_in_queue(&mut self, name: &str, number: usize) -> Outcome<()> {
        let begun = Instant::now();
        while self.in_queue(name)? < i64::try_from(number)? {
            if begun.elapsed() > Duration::from_secs(120) {
                return Err(format!("no {number} in the queue for {name}").into());
            }
            // Not to synchronise: the interval between two looks.
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Returns the microseconds of one handoff.
    fn handoff(&mut self, kind: Kind, name: &str) -> Outcome<f64> {
        let mut holder = User::start(kind, &self.endpoints, name)?;
        holder.holds()?;
        let mut waiter = User::start(kind, &self.endpoints, name)?;
        self.await_in_queue(name, 2)?;
        // Not to synchronise: a process that has joined the queue needs time until it waits.
        thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        holder.release(kind)?;
        waiter.holds()?;
        let took = Self::microseconds(begun, 1);
        waiter.release(kind)?;
        holder.end()?;
        waiter.end()?;
        Ok(took)
    }

    fn handoffs(&mut self) -> Outcome<()> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            let name = format!("pair{round}");
            ours.push(self.handoff(Kind::Ours, &name)?);
            theirs.push(self.handoff(Kind::Etcdctl, &name)?);
        }
        print_ratio("handoff", median(&ours), "etcdctl lock's", median(&theirs), None);
        Ok(())
    }

    fn counter(&self, name: &str, label: &str) -> Outcome<f64> {
        let members = self.cluster.iter().flat_map(|cluster| cluster.members());
        let mut sum = 0.0;
        for member in members.chain(&self.server) {
            sum += member.counter(name, label).map_err(|error| error.to_string())?;
        }
        Ok(sum)
    }

    /// Returns the number of requests that read or write, and of messages sent to watchers.
    fn traffic(&self) -> Outcome<[f64; 2]> {
        let mut calls = 0.0;
        for method in ["Txn", "Range", "Put", "DeleteRange", "LeaseRevoke"] {
            let label = format!("grpc_method=\"{method}\"");
            calls += self.counter("grpc_server_msg_received_total", &label)?;
        }
        Ok([calls, self.counter("grpc_server_msg_sent_total", "grpc_method=\"Watch\"")?])
    }

    fn crowd(&mut self, kind: Kind, waiters: usize) -> Outcome<[f64; 3]> {
        let name = format!("crowd{waiters}-{kind:?}");
        let mut queue = Vec::new();
        for at in 0..=waiters {
            queue.push(User::start(kind, &self.endpoints, &name)?);
            // One after another, so that the order is known.
            self.await_in_queue(&name, at + 1)?;
        }
        queue[0].holds()?;
        // Not to synchronise: a process that has joined the queue needs time until it waits.
        thread::sleep(Duration::from_secs(1));
        let before = self.traffic()?;
        let mut times = Vec::new();
        for at in 0..RELEASES as usize {
            let begun = Instant::now();
            queue[at].release(kind)?;
            queue[at + 1].holds()?;
            times.push(Self::microseconds(begun, 1));
        }
        let after = self.traffic()?;
        let each = |at: usize| (after[at] - before[at]) / f64::from(RELEASES);
        Ok([each(0), each(1), median(&times)])
    }

    fn crowds(&mut self) -> Outcome<()> {
        let few = 1 + RELEASES as usize;
        println!("  for each release, with so many in the queue:");
        println!("  {:24}{:>10}{:>18}{:>14}", "", "calls", "notifications", "handoff");
        for kind in [Kind::Ours, Kind::Etcdctl] {
            let many = (self.waiters > few).then_some(self.waiters);
            for waiters in [few].into_iter().chain(many) {
                let [calls, messages, took] = self.crowd(kind, waiters)?;
                let who = if kind == Kind::Ours { "ours" } else { "etcdctl lock" };
                println!("  {who:16}{waiters:>8}{calls:>10.1}{messages:>18.1}{took:>11.0} us");
            }
        }
        Ok(())
    }
}

fn print_ratio(of: &'static str, value: f64, to: &'static str, other: f64, aim: Option<Aim>) {
    println!("  {of:<28} {value:>10.0} us");
    println!("  {to:<28} {other:>10.0} us");
    println!("{}\n", Ratio { of, to, value: value / other, aim });
}

fn main() -> Outcome<()> {
    let (mut dir, mut members, mut rounds, mut waiters, mut measures) = (None, 1, 31, 200, false);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} takes a value"));
        match argument.as_str() {
            "user" => return user(&value()?),
            "--dir" => dir = Some(PathBuf::from(value()?)),
            "--members" => members = value()?.parse()?,
            "--rounds" => rounds = value()?.parse()?,
            "--waiters" => waiters = value()?.parse()?,
            "--bench" => measures = true,
            _ => {
                return Err(
                    "usage: etcd [--dir DIR] [--members 3] [--rounds 31] [--waiters 200]".into()
                );
            }
        }
    }
    if !measures {
        println!("Nothing measured: that is for `cargo bench`, which says --bench.");
        return Ok(());
    }
    lockbydir_etcd::register(lockbydir_etcd::Access::default());
    let options = Options { parent: dir, ..Options::default() };
    let text = |error: Box<dyn Error + Send + Sync>| error.to_string();
    let (cluster, server) = match members {
        1 => (None, Some(Server::start_with(&options).map_err(text)?)),
        3 => (Some(Cluster::on_loopback(&options).map_err(text)?), None),
        _ => return Err("1 or 3 members".into()),
    };
    let ends = cluster.as_ref().map(Cluster::endpoints);
    let endpoints = ends.or(server.as_ref().map(Server::endpoint)).unwrap_or_default();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let hosts = endpoints.split(',').map(|host| Endpoint::from_shared(format!("http://{host}")));
    let hosts: Vec<Endpoint> = hosts.collect::<Result<_, _>>()?;
    let channel = runtime.block_on(async { Channel::balance_list(hosts.into_iter()) });
    let client = Client::new(channel, None);
    println!("etcd, {members} member(s); medians of {rounds} rounds; only ratios compare.\n");
    let mut bench = Bench { runtime, client, endpoints, cluster, server, rounds, waiters };
    bench.costs()?;
    bench.handoffs()?;
    bench.crowds()
}
