//! Separate networks: a hub and spokes, each a network namespace, so that a server can be cut off by taking
//! its link down. The machine's own network is not changed. Needs root, and `ip` (iproute2) and `unshare`
//! (util-linux).

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::fd::{AsFd, AsRawFd},
    process::{Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Outcome;

/// The network; the hub has the address `.1`, the spokes have `.11`, `.12` and so on.
const NETWORK: &str = "10.99.0";

/// A network namespace. It exists as long as this value, or a process in it.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Makes a namespace that contains only a loopback device.
    ///
    /// # Errors
    /// Without root.
    pub fn new() -> Outcome<Self> {
        // A process makes it; an open file keeps it after that process has ended.
        let mut child = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("no `unshare` runs: {error}"))?;
        let (into, out) = (child.stdin.take(), child.stdout.take());
        let (mut into, out) = into.zip(out).ok_or("it was piped")?;
        let mut echo = String::new();
        // The echo shows that the process is inside.
        let echoed =
            into.write_all(b"here\n").and_then(|()| BufReader::new(out).read_line(&mut echo));
        let file = File::open(format!("/proc/{}/ns/net", child.id()));
        drop(into);
        let status = child.wait()?;
        if echoed.is_err() || echo != "here\n" || !status.success() {
            return Err("no network namespace can be made: that needs root".into());
        }
        let namespace = Self(file?);
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Moves the calling thread into the namespace; threads and processes that it starts from then on are
    /// in it, too.
    ///
    /// # Errors
    /// Without root.
    pub fn enter(&self) -> Outcome<()> {
        Ok(move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Calls `act` inside the namespace, in a separate thread.
    ///
    /// # Errors
    /// Those of [`Namespace::enter`], and of `act`.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        thread::scope(|scope| {
            let acting = scope.spawn(|| {
                self.enter()?;
                act()
            });
            acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` inside the namespace.
    fn ip(&self, arguments: &[&str]) -> Outcome<()> {
        self.within(|| {
            let output = Command::new("ip").args(arguments).output();
            let output = output.map_err(|error| format!("no `ip` runs (iproute2): {error}"))?;
            if output.status.success() {
                return Ok(());
            }
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("ip {}: {why}", arguments.join(" ")).into())
        })
    }
}

/// A hub for the clients, and one spoke for each server.
#[derive(Debug)]
pub struct Star {
    hub: Namespace,
    spokes: Vec<Namespace>,
}

impl Star {
    /// Makes a star with this number of spokes.
    ///
    /// # Errors
    /// Without root, or `ip`.
    pub fn new(spokes: usize) -> Outcome<Self> {
        let hub = Namespace::new()?;
        hub.ip(&["link", "add", "name", "hub", "type", "bridge"])?;
        hub.ip(&["address", "add", &format!("{NETWORK}.1/24"), "dev", "hub"])?;
        hub.ip(&["link", "set", "hub", "up"])?;
        let mut star = Self { hub, spokes: Vec::new() };
        for at in 0..spokes {
            let spoke = Namespace::new()?;
            let there = format!("/proc/{}/fd/{}", std::process::id(), spoke.0.as_raw_fd());
            let link = link(at);
            star.hub.ip(&[
                "link", "add", "name", &link, "type", "veth", "peer", "name", "spoke", "netns",
                &there,
            ])?;
            star.hub.ip(&["link", "set", &link, "master", "hub"])?;
            star.hub.ip(&["link", "set", &link, "up"])?;
            let address = format!("{}/24", address(at));
            spoke.ip(&["address", "add", &address, "dev", "spoke"])?;
            spoke.ip(&["link", "set", "spoke", "up"])?;
            star.spokes.push(spoke);
        }
        Ok(star)
    }

    /// Returns the namespace of the clients.
    #[must_use]
    pub fn hub(&self) -> &Namespace {
        &self.hub
    }

    /// Returns the namespace of this server.
    #[must_use]
    pub fn spoke(&self, at: usize) -> &Namespace {
        &self.spokes[at]
    }

    /// Cuts a spoke off: no packet passes any more, and nobody is notified.
    ///
    /// # Errors
    /// Those of `ip`.
    pub fn cut(&self, at: usize) -> Outcome<()> {
        self.hub.ip(&["link", "set", &link(at), "down"])
    }

    /// Connects a spoke again.
    ///
    /// # Errors
    /// Those of `ip`.
    pub fn heal(&self, at: usize) -> Outcome<()> {
        self.hub.ip(&["link", "set", &link(at), "up"])
    }
}

fn link(at: usize) -> String {
    format!("spoke{at}")
}

/// Returns the address of a spoke.
pub(crate) fn address(at: usize) -> String {
    format!("{NETWORK}.{}", 11 + at)
}
