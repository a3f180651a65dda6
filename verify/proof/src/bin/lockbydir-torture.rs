//! Tortures a lock with real processes, and judges exactly what happened.

use std::{
    io::IsTerminal,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use lockbydir_proof::{
    durations,
    torture::{
        self, Ground, LEAST_RATE, Plan,
        contender::Outcome,
        fault::Fault,
        hosts,
        report::{Conclusion, Report},
        set::Care,
        worker::{self, LockUnderTest},
    },
};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Tortures a lock with real processes, and judges exactly what happened.
///
/// Many processes wait for one lock, hold it for a moment, write to a store that checks fencing
/// tokens, and let go. Meanwhile they are killed, stopped beyond their deadline, and worse, by
/// dice. Each reports what it did, and when, on the boot clock. At the end a judge looks for two that
/// held at once, for numbers that did not grow, for a time in which nobody held though somebody
/// waited, and for a late write that the store let through.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Exit codes: 0 all promises were kept; 1 a promise was broken (it is named, with the two holds around
the first fault); 2 the run is not valid: it could not be done here, or it has shown nothing (fewer
than 200 acquisitions a second, a fault that never happened).

Examples:
  lockbydir-torture --seconds 10
  lockbydir-torture --dir /dev/shm --handoffs 100000 --faults kill,stop,remove
  lockbydir-torture --lock first-version --faults kill,stop --until-broken --seconds 120
  lockbydir-torture --etcd --dir /dev/shm --seconds 300 --set tokens
  lockbydir-torture --nfs vers=4.2 --nfs vers=3,actimeo=60 --handoffs 200"
)]
struct Command {
    #[command(flatten)]
    dials: Dials,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Works as one of the processes of a run.
    #[command(hide = true)]
    Worker {
        /// Its orders, as JSON.
        orders: String,
    },
}

#[derive(Args)]
struct Dials {
    /// Lock on three members of etcd, made for the run, each in a network of its own (root; etcd,
    /// etcdctl, ip). One fault at a time
    #[arg(long)]
    etcd: bool,
    /// Lock in a folder of an NFS server, between two hosts that mount it with these options, such as
    /// `vers=4.2,actimeo=60`; server and hosts are booted for the run, in QEMU. May be given several
    /// times: one run each. One fault at a time
    #[arg(long, value_name = "OPTIONS", conflicts_with = "etcd")]
    nfs: Vec<String>,
    /// How often a fault happens, with --etcd or --nfs
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = durations::duration)]
    every: Duration,
    /// Each hold also adds to a set: it reads all of it, and writes all of it back. What is lost of
    /// it is counted, and may not be where numbers are looked at
    #[arg(long, value_name = "CARE", value_enum)]
    set: Option<Care>,
    /// Where to lock: a folder for the run is made in it, and removed again. With --etcd, where the
    /// members' data are
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The same folder by another path, another mount for example; may be said more than once.
    /// Workers take turns at the paths
    #[arg(long, value_name = "DIR")]
    also: Vec<PathBuf>,
    /// End after so many seconds, or a little later if a fault has put nothing to the test by then;
    /// at the latest with --handoffs [default: 10, or 600 with --handoffs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// End after so many contended handoffs, once each fault has put something to the test
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    handoffs: Option<u64>,
    /// End as soon as two held at once, or numbers did not grow
    #[arg(long)]
    until_broken: bool,
    /// How many processes; a quarter of them is spared all faults, so that somebody always waits
    /// [default: 16, or 8 with --etcd or --nfs]
    #[arg(long, value_name = "N", value_parser = processes)]
    processes: Option<usize>,
    /// What happens to them, separated by commas [default: kill,stop,remove;
    /// kill,stop,member,leader,cut with --etcd; kill,stop,freeze,power,server,replies with --nfs]
    #[arg(long, value_name = "FAULTS", value_delimiter = ',', value_parser = fault_words())]
    faults: Vec<Faults>,
    /// Of the dice: the same seed, the same faults at the same times [default: another each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long the lock lasts unless renewed, such as 100ms or 2s [default: 100ms, or the least
    /// that the lock can; 2s with --etcd or --nfs]
    #[arg(long, value_name = "DUR", value_parser = durations::duration)]
    timeout: Option<Duration>,
    /// A hold lasts a random time up to this; one in 32 lasts up to 100 times as long [default:
    /// 200us, 1ms with --etcd, or 5ms with --nfs]
    #[arg(long, value_name = "DUR", value_parser = durations::duration)]
    hold: Option<Duration>,
    /// With fewer acquisitions a second nothing is shown, and the run does not count [default: 200,
    /// or outside of faults 50 with --etcd, and none with --nfs]
    #[arg(long, value_name = "N")]
    least_rate: Option<u32>,
    /// How often a waiter looks where nothing reports a change [default: 50ms]
    #[arg(long, value_name = "DUR", value_parser = durations::duration)]
    poll_interval: Option<Duration>,
    /// A lock whose directory is kept for its number; always so with the fault `clock`
    #[arg(long)]
    fenced: bool,
    /// Which lock: ours, or one that is known to be bad
    #[arg(long, value_name = "LOCK", default_value = "lockbydir", value_enum)]
    lock: LockUnderTest,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// The faults that one word of `--faults` means.
#[derive(Clone)]
struct Faults(Vec<Fault>);

/// Reads a word of `--faults`: the name of a fault, `all` or `none`.
fn fault_words() -> impl TypedValueParser<Value = Faults> {
    let named = Fault::value_variants().iter().filter_map(Fault::to_possible_value);
    let sets = [
        PossibleValue::new("all").help("All of those that happen to folders"),
        PossibleValue::new("none").help("None of these"),
    ];
    PossibleValuesParser::new(named.chain(sets)).map(|word| match Fault::from_str(&word, false) {
        Ok(fault) => Faults(vec![fault]),
        Err(_) if word == "all" => Faults(Fault::ALL.to_vec()),
        Err(_) => Faults(Vec::new()),
    })
}

/// The defaults of options that are not given.
struct Defaults {
    processes: usize,
    faults: Vec<Fault>,
    timeout: Duration,
    hold: Duration,
    least_rate: u32,
}

fn processes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (4..=1000).contains(&number) => Ok(number),
        _ => Err("4 to 1000 processes".to_owned()),
    }
}

fn fresh_seed() -> u64 {
    // Short enough to be typed again.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 % 1_000_000_000
}

impl Dials {
    fn ground(&self) -> Ground {
        match (self.etcd, self.nfs.is_empty()) {
            (true, _) => Ground::Etcd,
            (false, false) => Ground::Nfs,
            (false, true) => Ground::Folder,
        }
    }

    fn defaults(&self, calm: &Plan) -> Defaults {
        let timeout = Duration::from_secs(2);
        match self.ground() {
            Ground::Folder => Defaults {
                processes: calm.processes,
                faults: vec![Fault::Kill, Fault::Stop, Fault::Remove],
                timeout: match self.lock {
                    LockUnderTest::ProperLockfile => timeout,
                    _ => calm.timeout,
                },
                hold: calm.hold,
                least_rate: LEAST_RATE,
            },
            Ground::Etcd => Defaults {
                processes: 8,
                faults: Fault::OF_A_CLUSTER.to_vec(),
                timeout,
                hold: Duration::from_millis(1),
                least_rate: 50,
            },
            Ground::Nfs => Defaults {
                processes: 8,
                faults: match self.lock {
                    LockUnderTest::Lockbydir => Fault::OF_HOSTS.to_vec(),
                    _ => vec![Fault::Kill, Fault::Stop],
                },
                timeout,
                hold: Duration::from_millis(5),
                // Its guests are emulated, so no speed can be required.
                least_rate: 0,
            },
        }
    }

    fn plan(self) -> Outcome<Plan> {
        let plan = Plan::new(std::env::current_exe()?, self.dir.canonicalize()?);
        let defaults = self.defaults(&plan);
        let mut faults: Vec<Fault> = self.faults.iter().flat_map(|word| word.0.clone()).collect();
        if self.faults.is_empty() {
            faults = defaults.faults;
        }
        faults.sort();
        faults.dedup();
        let seconds = self.seconds.unwrap_or(if self.handoffs.is_some() { 600 } else { 10 });
        Ok(Plan {
            ground: self.ground(),
            also: self.also,
            contestant: self.lock,
            processes: self.processes.unwrap_or(defaults.processes),
            time: Duration::from_secs(seconds),
            handoffs: self.handoffs.unwrap_or(u64::MAX),
            until_broken: self.until_broken,
            faults,
            every: self.every,
            set: self.set,
            timeout: self.timeout.unwrap_or(defaults.timeout),
            hold: self.hold.unwrap_or(defaults.hold),
            least_rate: self.least_rate.unwrap_or(defaults.least_rate),
            poll_interval: self.poll_interval,
            fenced: self.fenced,
            seed: self.seed.unwrap_or_else(fresh_seed),
            progress: std::io::stderr().is_terminal().then_some(progress),
            ..plan
        })
    }
}

fn progress(time: Duration, holds: u64) {
    eprint!("\r{:.0} s, {holds} acquisitions ", time.as_secs_f64());
}

fn torture(dials: Dials) -> Outcome<ExitCode> {
    let (json, mounts) = (dials.json, dials.nfs.clone());
    let mut plan = dials.plan()?;
    if let Some(why) = plan.refusal()? {
        return Err(why.into());
    }
    // A worker that is stopped at that moment must not stay stopped.
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&plan.over))?;
    }
    if mounts.is_empty() {
        return Ok(print_report(&torture::run(&plan)?, json));
    }
    plan.lab = Some(hosts::lab(&plan)?);
    let mut worst = ExitCode::SUCCESS;
    for mount in mounts {
        if plan.over.load(Ordering::Relaxed) {
            break;
        }
        plan.mount = mount;
        let code = print_report(&torture::run(&plan)?, json);
        if worst == ExitCode::SUCCESS {
            worst = code;
        }
    }
    Ok(worst)
}

/// Prints the report of a run, and returns its exit code.
fn print_report(report: &Report, json: bool) -> ExitCode {
    if std::io::stderr().is_terminal() {
        // Overwrites the line of the progress.
        eprint!("\r{:40}\r", "");
    }
    if json {
        println!("{:#}", report.json());
    } else {
        println!("{report}");
    }
    match report.conclusion() {
        Conclusion::Kept => ExitCode::SUCCESS,
        Conclusion::Broken(..) => ExitCode::from(1),
        Conclusion::Invalid(_) => ExitCode::from(2),
    }
}

fn main() -> ExitCode {
    let command = Command::parse();
    let outcome = match command.verb {
        Some(Verb::Worker { orders }) => serde_json::from_str(&orders)
            .map_err(Into::into)
            .and_then(|orders| worker::work(&orders))
            .map(|()| ExitCode::SUCCESS),
        None => torture(command.dials),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("lockbydir-torture: {error}");
        ExitCode::from(2)
    })
}
