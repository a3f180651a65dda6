//! One member: a process with a folder and an address.

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    Certificates, Outcome, metrics,
    net::{self, Star},
};

/// The longest wait until a server is up.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How often other ports are tried if another process has taken one.
const TRIES: u32 = 5;
/// The interval between checks whether it is up.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// The password of `root` once users are required.
const ROOT: &str = "root:very secret";

/// Options for starting a server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The parent of its folder; by default in memory, where no write waits for a disk.
    pub parent: Option<PathBuf>,
    /// If set, it uses TLS only, with these certificates.
    pub certificates: Option<Arc<Certificates>>,
    /// Whether it also requires a client's certificate.
    pub clients_certified: bool,
}

/// A user who may read and write below a prefix of keys.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// Name.
    pub name: &'a str,
    /// Password.
    pub password: &'a str,
    /// The prefix of all keys of this user.
    pub prefix: &'a str,
}

/// The address of a member, and its three ports.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    host: String,
    client: u16,
    peer: u16,
    metrics: u16,
}

impl Place {
    /// Chooses free ports on loopback. Another process may take one before the server does: then the server
    /// does not start, and reports why.
    pub(crate) fn on_loopback() -> Outcome<Self> {
        let free = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0"));
        let [client, peer, metrics] = free;
        let port =
            |listener: io::Result<TcpListener>| Ok::<_, io::Error>(listener?.local_addr()?.port());
        let host = "127.0.0.1".to_owned();
        Ok(Self { host, client: port(client)?, peer: port(peer)?, metrics: port(metrics)? })
    }

    /// Returns the address in a separate network.
    pub(crate) fn on_spoke(at: usize) -> Self {
        Self { host: net::address(at), client: 2379, peer: 2380, metrics: 2381 }
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://{}:{}", self.host, self.peer)
    }
}

/// One member of a cluster, or a cluster of one.
#[derive(Debug)]
pub struct Server {
    name: String,
    place: Place,
    /// All members, in the form that etcd expects.
    members: String,
    options: Options,
    star: Option<(Arc<Star>, usize)>,
    folder: TempDir,
    child: Option<Child>,
    stopped: bool,
    requires_users: bool,
}

impl Server {
    /// Starts one member on loopback, with its data in memory, and waits until it is ready.
    ///
    /// # Errors
    /// When there is no etcd, or it does not come up.
    pub fn start() -> Outcome<Self> {
        Self::start_with(&Options::default())
    }

    /// The same, with these options.
    ///
    /// # Errors
    /// When there is no etcd, or it does not come up.
    pub fn start_with(options: &Options) -> Outcome<Self> {
        let mut tries = 0;
        loop {
            let place = Place::on_loopback()?;
            let members = format!("m0={}", place.peer_url());
            let mut server = Self::new("m0", place, members, options.clone(), None)?;
            server.begin()?;
            tries += 1;
            match server.await_health() {
                Ok(()) => return Ok(server),
                // Another process was faster.
                Err(error)
                    if tries < TRIES && error.to_string().contains("address already in use") => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns a member that is not started yet.
    pub(crate) fn new(
        name: &str,
        place: Place,
        members: String,
        options: Options,
        star: Option<(Arc<Star>, usize)>,
    ) -> Outcome<Self> {
        let memory = Path::new("/dev/shm");
        let parent = match &options.parent {
            Some(parent) => parent.clone(),
            None if memory.is_dir() => memory.to_owned(),
            None => std::env::temp_dir(),
        };
        Ok(Self {
            name: name.to_owned(),
            place,
            members,
            options,
            star,
            folder: tempfile::Builder::new().prefix("lockbydir-etcd-").tempdir_in(parent)?,
            child: None,
            stopped: false,
            requires_users: false,
        })
    }

    /// Starts its process, and does not wait.
    pub(crate) fn begin(&mut self) -> Outcome<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new("etcd");
        let Place { host, client, metrics, .. } = &self.place;
        let scheme = if self.options.certificates.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{host}:{client}");
        let peer = self.place.peer_url();
        command.args(["--name", &self.name, "--logger", "zap", "--log-outputs", "stderr"]);
        command.arg("--data-dir").arg(self.folder.path().join("data"));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &self.members]);
        command.args(["--listen-metrics-urls", &format!("http://{host}:{metrics}")]);
        // The shortest lease that it grants is one and a half times the election timeout.
        command.args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
        if let Some(certificates) = &self.options.certificates {
            let (certificate, key) = certificates.server();
            command.arg("--cert-file").arg(certificate).arg("--key-file").arg(key);
            if self.options.clients_certified {
                command.arg("--client-cert-auth");
                command.arg("--trusted-ca-file").arg(certificates.authority());
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let spawned = self.within(|| Ok(command.spawn()))?;
        self.child = Some(spawned.map_err(|error| {
            format!("no `etcd` runs ({error}); on Debian: apt-get install etcd-server etcd-client")
        })?);
        Ok(())
    }

    /// Waits until it answers, which takes a majority.
    pub(crate) fn await_health(&mut self) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            let health = self.get("/health");
            if health.as_ref().is_ok_and(|health| health.contains("\"true\"")) {
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                self.child = None;
                return Err(
                    format!("{} ended with {status}: {}", self.name, self.last_words()).into()
                );
            }
            if begun.elapsed() > START_TIMEOUT {
                return Err(format!(
                    "{} is not well ({health:?}): {}",
                    self.name,
                    self.last_words()
                )
                .into());
            }
            // Not to synchronise: the interval between two checks.
            thread::sleep(CHECK_INTERVAL);
        }
    }

    /// Returns true if it answers and reports that it is healthy.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.is_up() && self.get("/health").is_ok_and(|health| health.contains("\"true\""))
    }

    /// Returns the path of its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Returns `HOST:PORT`, for clients.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.place.host, self.place.client)
    }

    /// Returns `etcd://HOST:PORT/PATH`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("etcd://{}/{path}", self.endpoint())
    }

    /// Returns true if its process lives and is not stopped.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.child.is_some() && !self.stopped
    }

    /// Kills its process. Its data stays.
    ///
    /// # Errors
    /// Those of the system.
    pub fn kill(&mut self) -> Outcome<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        self.stopped = false;
        Ok(())
    }

    /// Starts it again, with its data and at its address, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> Outcome<()> {
        self.restart_begin()?;
        self.await_health()
    }

    /// Starts it again, and does not wait.
    ///
    /// # Errors
    /// When there is no etcd.
    pub fn restart_begin(&mut self) -> Outcome<()> {
        self.kill()?;
        self.begin()
    }

    /// Stops its process by a signal: it receives what is sent to it, but answers nothing.
    ///
    /// # Errors
    /// Those of the system.
    pub fn stop(&mut self) -> Outcome<()> {
        self.signal(Signal::STOP)?;
        self.stopped = true;
        Ok(())
    }

    /// Continues its process.
    ///
    /// # Errors
    /// Those of the system.
    pub fn go_on(&mut self) -> Outcome<()> {
        self.signal(Signal::CONT)?;
        self.stopped = false;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Outcome<()> {
        let child = self.child.as_ref().ok_or("the server is not running")?;
        let pid =
            i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("a process number")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Returns the sum of one of its counters in `/metrics`, over all labels that contain this text
    /// (`""`: all).
    ///
    /// # Errors
    /// When it does not answer within a second.
    pub fn counter(&self, name: &str, label: &str) -> Outcome<f64> {
        Ok(metrics::sum(&self.get("/metrics")?, name, label))
    }

    /// Returns true if it is the leader, as far as it knows itself.
    ///
    /// # Errors
    /// When it does not answer within a second.
    pub fn is_leader(&self) -> Outcome<bool> {
        Ok(self.counter("etcd_server_is_leader", "")? > 0.0)
    }

    fn get(&self, path: &str) -> Outcome<String> {
        let address = format!("{}:{}", self.place.host, self.place.metrics);
        self.at_hub(|| metrics::get(&address, path))
    }

    /// Returns an `etcdctl` command for this server, to which arguments may be added.
    #[must_use]
    pub fn etcdctl(&self) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint()]);
        if let Some(certificates) = &self.options.certificates {
            let (certificate, key) = certificates.client();
            command.arg("--cacert").arg(certificates.authority());
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        if self.requires_users {
            command.args(["--user", ROOT]);
        }
        command
    }

    /// Runs `etcdctl` and returns its output.
    ///
    /// # Errors
    /// If it fails, with its error output.
    pub fn control(&self, arguments: &[&str]) -> Outcome<String> {
        let mut command = self.etcdctl();
        command.args(arguments).stdin(Stdio::null());
        let output = self.at_hub(|| Ok(command.output()))?;
        let output = output.map_err(|error| {
            format!("no `etcdctl` runs ({error}); on Debian: apt-get install etcd-client")
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("etcdctl {}: {why}", arguments.join(" ")).into())
    }

    /// Removes all revisions but the last: a client that watches from an older one gets an error.
    ///
    /// # Errors
    /// Those of `etcdctl`.
    pub fn compact(&self) -> Outcome<()> {
        let status = self.control(&["endpoint", "status", "--write-out", "json"])?;
        let (_, rest) = status.split_once("\"revision\":").ok_or("a status without a revision")?;
        let revision: String = rest.chars().take_while(char::is_ascii_digit).collect();
        self.control(&["compact", "--physical", &revision]).map(drop)
    }

    /// Requires all clients to authenticate, and restricts each user to its own keys.
    ///
    /// # Errors
    /// Those of `etcdctl`.
    pub fn require_users(&mut self, users: &[User<'_>]) -> Outcome<()> {
        self.control(&["user", "add", ROOT])?;
        self.control(&["user", "grant-role", "root", "root"])?;
        for User { name, password, prefix } in users {
            self.control(&["user", "add", &format!("{name}:{password}")])?;
            self.control(&["role", "add", name])?;
            self.control(&[
                "role",
                "grant-permission",
                "--prefix=true",
                name,
                "readwrite",
                prefix,
            ])?;
            self.control(&["user", "grant-role", name, name])?;
        }
        self.control(&["auth", "enable"])?;
        self.requires_users = true;
        Ok(())
    }

    /// Calls `act` in the network of the server.
    fn within<T: Send>(&self, act: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        match &self.star {
            Some((star, at)) => star.spoke(*at).within(act),
            None => act(),
        }
    }

    /// Calls `act` in the network of the clients.
    fn at_hub<T: Send>(&self, act: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        match &self.star {
            Some((star, _)) => star.hub().within(act),
            None => act(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only if the process has already ended.
        let _ = self.kill();
    }
}
