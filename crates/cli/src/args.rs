//! The command line as clap parses it, and the settings derived from it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Parser, Subcommand, ValueHint};
use lockbydir::engine::{is_url, shown};
use lockbydir::{Lock, MAX_SLOTS, Patience};

use crate::duration::{parse, parse_patience, parse_timeout};
use crate::exit::{Failure, USAGE};
use crate::flock::Flock;
use crate::render::short;

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  CMD's own, or 128+signal   CMD ran
   1  `is-locked`: free; `break`: a living holder's lock was not broken; `doctor`: not safe
  64  wrong usage
  69  etcd servers unreachable, or a command that this build does not have
  73  the lock directory can't be made (parent missing, read-only, something else in its place,
      a file system on which no lock is safe)
  74  input/output error
  75  patience ran out, or a deadlock (`run -E CODE` sets another)
  76  lock lost: timed out or taken; a KEY that no longer holds
  77  permission denied, a lock of another user, or raised privileges (set-user-ID)
 126  CMD can't be run
 127  CMD is not found";

const RUN_EXAMPLES: &str = "\
Examples:
  lockbydir run --patience 5m nightly -- ./backup.sh
  lockbydir run nightly ./backup.sh --full
  lockbydir run accounts orders -- ./transfer.sh
  lockbydir run -c './fetch && ./build' nightly";

const ACQUIRE_EXAMPLE: &str = "\
Example; its exit code is that of the first command that fails:
  key=$(lockbydir acquire -t 10m deploy) || exit
  ./deploy.sh; code=$?
  lockbydir release deploy \"$key\" || exit
  exit $code

With `--pid $$` the lock is also free as soon as that shell ends, however it ends.";

/// Lock across processes by the existence and age of a directory.
///
/// NAME.lockdir exists and is recent = locked. The holder's timeout is stored in the lock and everybody
/// obeys it; a waiter has patience; a timed-out or dead holder is replaced atomically. For several
/// machines a NAME may be the URL of a lock on etcd.
#[derive(Parser)]
#[command(name = "lockbydir", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lock, run a command, unlock
    ///
    /// The lock is renewed while CMD runs. If it is lost, CMD and every process it started are ended before
    /// others may enter. CMD finds LOCKBYDIR_NAME and LOCKBYDIR_TOKEN in its environment, and in
    /// LOCKBYDIR_HELD the keys of all locks that it runs under. The lock is released when CMD itself ends,
    /// whatever it leaves running in the background, unless --wait-children is given.
    ///
    /// Several NAMEs before a `--` are locked all or none, in an order that is the same for everybody,
    /// within one patience. If one of them is lost, CMD is ended. LOCKBYDIR_NAME and LOCKBYDIR_TOKEN
    /// then have a line for each, in the order given.
    ///
    /// Signals that `lockbydir` gets are passed on to CMD. One that is sent to the whole process group
    /// (`kill -TERM -PGID`) or to every process of a service reaches CMD twice, directly and passed
    /// on; send it to `lockbydir` alone (systemd: KillMode=mixed). Ctrl-C reaches CMD once.
    #[command(
        override_usage = "lockbydir run [OPTIONS] <NAME> [--] <CMD> [ARG]...\n       lockbydir run [OPTIONS] <NAME>... -- <CMD> [ARG]...\n       lockbydir run [OPTIONS] -c <TEXT> <NAME>",
        after_help = format!("{RUN_EXAMPLES}\n\n{}", crate::flock::HELP)
    )]
    Run(Run),
    /// Lock without a process, for scripts; prints the KEY
    #[command(after_help = ACQUIRE_EXAMPLE)]
    Acquire(Acquire),
    /// Renew the lock that a KEY holds
    Renew(Renew),
    /// Release the lock that a KEY holds
    Release(Release),
    /// Show who holds a lock, when it expires, and who waits
    Status(Status),
    /// Exit 0 if locked, 1 if free; prints nothing
    IsLocked(IsLocked),
    /// Show every lock below a folder
    List(List),
    /// Watch locks, their holders and their queues, live
    ///
    /// On a terminal, until `q`: each lock with its holder, the time left, its waiters, and how often
    /// it is taken; locks in trouble come first. Enter shows one lock and what each
    /// contender did over time; `h` lists the keys. Watching takes no lock, and hardly slows one down.
    #[cfg(feature = "player")]
    #[command(after_help = crate::watch::HELP)]
    Watch(crate::watch::Args),
    /// Watch locks, their holders and their queues, live (not in this build)
    #[cfg(not(feature = "player"))]
    #[command(hide = true)]
    Watch(crate::missing::Missing),
    /// Remove an expired or dead holder's lock
    Break(Break),
    /// Remove leftovers of crashes below a folder
    Clean(Clean),
    /// Check whether a folder is safe to lock in
    ///
    /// In a folder of its own, with another process, tries what a lock needs from the file system,
    /// and reports what it saw and what that means. Exit 0: safe, possibly with remarks; 1: not safe.
    #[command(after_help = crate::doctor::HELP)]
    Doctor(crate::doctor::Args),
    /// What `doctor` starts
    #[command(hide = true)]
    DoctorAssistant(crate::doctor::Assistant),
    /// Measure what locking costs in a folder, beside flock and the raw calls
    #[cfg(all(feature = "bench", target_os = "linux"))]
    #[command(after_help = crate::bench::HELP)]
    Bench(crate::bench::Args),
    /// Measure what locking costs in a folder (not in this build)
    #[cfg(not(all(feature = "bench", target_os = "linux")))]
    #[command(hide = true)]
    Bench(crate::missing::Missing),
    /// What `bench` starts
    #[cfg(all(feature = "bench", target_os = "linux"))]
    #[command(hide = true)]
    BenchWorker(crate::bench::Worker),
    /// Show every lock below a folder as a page in a browser, live
    ///
    /// Locks are cards; holders and waiters are lanes over time. The page is read-only: nobody
    /// can change a lock by it. It is served until interrupted.
    #[cfg(feature = "player")]
    #[command(after_help = crate::serve::HELP)]
    Serve(crate::serve::Args),
    /// Show every lock below a folder as a page in a browser (not in this build)
    #[cfg(not(feature = "player"))]
    #[command(hide = true)]
    Serve(crate::missing::Missing),
    /// Run an example with real processes, and watch it live
    ///
    /// Shows how locks work: who waits, who holds, who gives up, who dies. Without an EXAMPLE, four
    /// sleepers share one bed. --replay shows a recording instead.
    #[cfg(feature = "player")]
    #[command(
        after_help = crate::play::HELP,
        mut_arg("listen", |listen| listen.requires("web")),
        mut_arg("hosts", |hosts| hosts.requires("web"))
    )]
    Play(crate::play::Args),
    /// Run an example with real processes, and watch it live (not in this build)
    #[cfg(not(feature = "player"))]
    #[command(hide = true)]
    Play(crate::missing::Missing),
    /// What `play` starts
    #[cfg(feature = "player")]
    #[command(hide = true)]
    PlayStage(crate::play::Stage),
    /// What the stage of `play` starts, and what that starts
    #[cfg(feature = "player")]
    #[command(hide = true)]
    PlayPart(crate::play::Part),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Command to print the page of
        command: Option<String>,
    },
}

#[derive(clap::Args)]
pub(crate) struct Named {
    /// The lock: a path without its `.lockdir`, or a URL like etcd://host:2379,host2:2379/jobs
    #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().map(PathBuf::from), value_hint = ValueHint::FilePath)]
    name: PathBuf,
    #[command(flatten)]
    dir: Dir,
}

impl Named {
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    pub(crate) fn lock(&self) -> Lock {
        self.dir.lock(&self.name)
    }
}

#[derive(clap::Args)]
pub(crate) struct Dir {
    /// Where a relative NAME begins [default: the current directory]
    #[arg(long, value_name = "DIR", env = "LOCKBYDIR_DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

impl Dir {
    fn lock(&self, name: &Path) -> Lock {
        match &self.dir {
            // An empty name stays empty, so that it is refused as an empty name.
            Some(dir) if !name.as_os_str().is_empty() && !is_url(name) => Lock::new(dir.join(name)),
            _ => Lock::new(name),
        }
    }
}

/// How long a lock lasts without `--timeout`.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a waiter waits without `--patience`.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to hold and how to wait.
#[derive(clap::Args)]
pub(crate) struct Holding {
    /// How long the lock lasts unless renewed; not how long to wait [default: 10s]
    #[arg(short, long, value_name = "DUR", env = "LOCKBYDIR_TIMEOUT", value_parser = parse_timeout)]
    timeout: Option<Duration>,
    /// How long to wait for the lock: 0 = one try, or `forever` [default: 30s]
    #[arg(short = 'w', long, visible_alias = "wait", overrides_with = "now", value_name = "DUR", env = "LOCKBYDIR_PATIENCE", value_parser = parse_patience)]
    patience: Option<Patience>,
    /// One try: the same as --patience 0
    #[arg(short = 'n', long = "nonblock", alias = "nb", overrides_with = "patience")]
    now: bool,
    /// What the lock is held for, shown to waiters
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Keep the lock directory for ever, so that tokens never repeat
    #[arg(long)]
    fenced: bool,
    /// Permissions of the lock directory; group or world write = shared on purpose
    #[arg(long, value_name = "OCTAL", default_value = "700", value_parser = octal)]
    mode: u32,
    /// Group that the lock directory is given to, by its name or number
    #[arg(long, value_name = "GROUP", value_parser = crate::group::parse)]
    group: Option<u32>,
    /// Print errors only; a busy lock is reported by the exit code alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print how the lock was acquired
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

impl Holding {
    pub(crate) fn apply(&self, lock: Lock, label: &str) -> Lock {
        let lock = lock
            .timeout(self.timeout.unwrap_or(TIMEOUT))
            .patience(self.patience())
            .label(self.label.as_deref().unwrap_or(label))
            .fenced(self.fenced)
            .mode(self.mode);
        match self.group {
            Some(gid) => lock.group(gid),
            None => lock,
        }
    }

    fn patience(&self) -> Patience {
        if self.now { Patience::NONE } else { self.patience.unwrap_or_else(|| PATIENCE.into()) }
    }

    /// Returns a hint for a user who may have meant `--timeout` as the time to wait, as in other tools.
    pub(crate) fn hint(&self) -> Option<String> {
        let from_environment =
            std::env::var_os("LOCKBYDIR_TIMEOUT").is_some_and(|it| !it.is_empty());
        let timeout = self.timeout.filter(|_| self.patience.is_none() && !from_environment)?;
        (timeout < PATIENCE).then(|| {
            format!(
                "--timeout {} is how long the lock lasts; how long to wait is --patience, {} unless given",
                short(timeout),
                short(PATIENCE)
            )
        })
    }
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && mode & 0o700 == 0o700)
        .ok_or_else(|| format!("`{text}` is no mode; write it like 700, 770 or 777"))
}

#[derive(clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) holding: Holding,
    /// Exit code when patience runs out
    #[arg(short = 'E', long = "conflict-exit-code", value_name = "CODE", default_value_t = crate::exit::PATIENCE_OVER)]
    pub(crate) conflict_code: u8,
    /// Do not renew: CMD has until the timeout
    #[arg(long)]
    pub(crate) no_renew: bool,
    /// Let up to N hold the lock at once, each in a slot of its own
    ///
    /// CMD finds the number of its slot, from 1 to N, in LOCKBYDIR_SLOT: nobody else has it at the same
    /// time. Each slot is a lock, NAME.1 to NAME.N, and LOCKBYDIR_NAME and LOCKBYDIR_TOKEN are those of
    /// the slot. The first waiter holds NAME itself meanwhile.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SLOTS)), conflicts_with_all = ["nested", "shared"])]
    pub(crate) slots: Option<u32>,
    /// Keep the lock for at least this long, even if CMD ends sooner
    ///
    /// For a job that several hosts start at the same time by clocks that differ. Nobody waits: if CMD ends
    /// sooner, `lockbydir` ends with it, and the lock expires at that time. It is released at once if CMD
    /// could not be started, and the next one gets it at once if `lockbydir` is killed.
    #[arg(long, value_name = "DUR", value_parser = parse, conflicts_with = "nested")]
    pub(crate) at_least: Option<Duration>,
    /// Keep the lock until every process that CMD started has ended, also in the background
    #[arg(long)]
    pub(crate) wait_children: bool,
    /// If an ancestor holds the lock by `run`, run CMD under its holding; else lock as usual
    ///
    /// For a script that takes a lock by itself, but may also be started under it. CMD ends when that
    /// holding is lost, which is neither renewed nor released by this process; the options of a
    /// holding, such as --timeout, have no effect then. Without this option such a `run` would wait for
    /// itself, so it fails at once with exit code 75.
    #[arg(long)]
    pub(crate) nested: bool,
    /// Run CMD under the holding of this KEY, which `acquire` printed; exit 76 if it holds no more
    #[arg(long, value_name = "KEY", requires = "nested")]
    pub(crate) key: Option<String>,
    /// Run CMD in a PID namespace, so that nothing it starts outlives it (Linux)
    ///
    /// The kernel itself then ends every process that CMD started when the lock is lost or `lockbydir`
    /// is killed: also one that became another user, or that forks without end. Processes that CMD leaves
    /// in the background end with CMD (or keep the lock, with --wait-children).
    ///
    /// CMD sees PIDs of its own, and only its own processes in /proc and `ps`; a PID that it writes
    /// into a file means nothing outside. Without root its user and group are the only ones that it can
    /// become or name: files of other users appear to be nobody's, and set-user-ID programs such as
    /// sudo raise nothing. A process that CMD asks a service to start (systemd-run, at, docker) is not
    /// contained. Where the kernel allows no such namespace, nothing is locked or run (exit code 64).
    #[arg(long)]
    pub(crate) contain: bool,
    /// The lock, or several before a `--`: a path without its `.lockdir`, or a URL like etcd://host:2379,host2:2379/jobs
    #[arg(value_name = "NAME", required = true, action = ArgAction::Set, num_args = 1, value_parser = OsStringValueParser::new().map(PathBuf::from), value_hint = ValueHint::FilePath)]
    names: Vec<PathBuf>,
    #[command(flatten)]
    dir: Dir,
    /// The text for a shell, in place of CMD: for $SHELL, or /bin/sh
    #[arg(short = 'c', long = "command", value_name = "TEXT", conflicts_with = "command")]
    text: Option<OsString>,
    #[command(flatten)]
    flock: Flock,
    /// The command and its arguments; options after CMD belong to CMD
    #[arg(trailing_var_arg = true, required_unless_present = "text", value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

/// Returns the parser of `run NAME... -- CMD`; the usual one is for `run NAME CMD`.
pub(crate) fn with_several_names(run: clap::Command) -> clap::Command {
    run.mut_arg("names", |names| names.action(ArgAction::Append).num_args(1..))
        .mut_arg("command", |command| command.trailing_var_arg(false).last(true))
}

impl Run {
    /// Returns the locks, in the order in which they were given.
    pub(crate) fn locks(&self) -> impl ExactSizeIterator<Item = Lock> {
        self.names.iter().map(|name| self.dir.lock(name))
    }

    /// Returns true if the command is a program that exists.
    pub(crate) fn has_program(&self) -> bool {
        self.command.first().is_some_and(|program| is_program(program))
    }

    /// Refuses options of flock that mean nothing here, and what may be meant in two ways; fills in
    /// `command` if it was given as a text for a shell.
    pub(crate) fn prepared(mut self) -> Result<Run, Failure> {
        self.flock.check()?;
        if let [first, second, ..] = &*self.names
            && is_program(second.as_os_str())
        {
            let (first, second) = (shown(first), shown(second));
            return Err(Failure::new(
                USAGE,
                format!(
                    "`{second}` is a program, and all before `--` are names of locks: to run it, write `{first} -- {second}`; to lock that name, write `./{second}`"
                ),
            ));
        }
        if let Some(text) = self.text.take() {
            let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
            let (usual, option) = if cfg!(windows) { ("cmd.exe", "/C") } else { ("/bin/sh", "-c") };
            let option = if shell.is_some() { "-c" } else { option };
            self.command = vec![shell.unwrap_or_else(|| usual.into()), option.into(), text];
        }
        Ok(self)
    }
}

/// Returns true if this word alone would run a program, which is found in the PATH.
fn is_program(word: &OsStr) -> bool {
    let is_bare = Path::new(word).components().count() == 1 && !word.is_empty();
    let path = std::env::var_os("PATH").filter(|_| is_bare).unwrap_or_default();
    std::env::split_paths(&path).any(|folder| {
        let program = folder.join(word);
        can_run(&program) || cfg!(windows) && can_run(&program.with_extension("exe"))
    })
}

#[cfg(unix)]
fn can_run(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let found = program.metadata();
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn can_run(program: &Path) -> bool {
    program.is_file()
}

#[derive(clap::Args)]
pub(crate) struct Acquire {
    #[command(flatten)]
    pub(crate) holding: Holding,
    /// Tie the lock to this process: when it dies, the lock is free
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    #[command(flatten)]
    pub(crate) named: Named,
}

#[derive(clap::Args)]
pub(crate) struct Renew {
    #[command(flatten)]
    pub(crate) named: Named,
    /// What `acquire` printed
    pub(crate) key: String,
    /// A new timeout [default: the old one]
    #[arg(short, long, value_name = "DUR", value_parser = parse_timeout)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(clap::Args)]
pub(crate) struct Release {
    #[command(flatten)]
    pub(crate) named: Named,
    /// What `acquire` printed
    pub(crate) key: String,
}

/// How a lock is judged that is a bare directory, as `mkdir` makes it.
#[derive(clap::Args)]
pub(crate) struct BareTimeout {
    /// Age from which a bare directory counts as expired
    #[arg(short, long, value_name = "DUR", env = "LOCKBYDIR_TIMEOUT", default_value = "10s", value_parser = parse)]
    timeout: Duration,
}

impl BareTimeout {
    pub(crate) fn apply(&self, lock: Lock) -> Lock {
        lock.timeout(self.timeout.max(lockbydir::MIN_TIMEOUT))
    }
}

#[derive(clap::Args)]
pub(crate) struct IsLocked {
    #[command(flatten)]
    pub(crate) named: Named,
    #[command(flatten)]
    pub(crate) bare: BareTimeout,
}

#[derive(clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) named: Named,
    #[command(flatten)]
    pub(crate) bare: BareTimeout,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct List {
    /// The folder, or a URL like etcd://host:2379/team [default: the current directory]
    #[arg(env = "LOCKBYDIR_DIR", default_value = ".", hide_default_value = true, hide_env = true)]
    pub(crate) dir: PathBuf,
    /// A JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Break {
    #[command(flatten)]
    pub(crate) named: Named,
    /// Break it even if its holder lives
    #[arg(long)]
    pub(crate) force: bool,
    /// Also remove foreign things from its directory: plain files and empty directories
    ///
    /// Without it they are listed, and a person at a terminal is asked.
    #[arg(long, requires = "force")]
    pub(crate) remove_foreign: bool,
    /// Permissions as the holder gave them: group or world write = shared on purpose
    #[arg(long, value_name = "OCTAL", default_value = "700", value_parser = octal)]
    pub(crate) mode: u32,
    #[command(flatten)]
    pub(crate) bare: BareTimeout,
}

#[derive(clap::Args)]
pub(crate) struct Clean {
    /// The folder, or a URL like etcd://host:2379/team [default: the current directory]
    #[arg(env = "LOCKBYDIR_DIR", default_value = ".", hide_default_value = true, hide_env = true)]
    pub(crate) dir: PathBuf,
}
