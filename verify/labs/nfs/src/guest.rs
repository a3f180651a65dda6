//! One guest: a QEMU process, its console, and the agent in it.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Outcome, Switch, agent, clock,
    remote::{Ended, Process, Sink},
};

/// Longer than this nobody waits for a guest to boot, nor for a command in it.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often one looks whether it has booted.
const LOOK: Duration = Duration::from_millis(100);
/// The guests' memory: what is in the image lies in it.
const MEMORY: &str = "512M";

/// Which guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The server.
    Server,
    /// One client.
    Client1,
    /// The other.
    Client2,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Server, Self::Client1, Self::Client2];
    /// The clients.
    pub const CLIENTS: [Self; 2] = [Self::Client1, Self::Client2];

    /// Its host name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client1 => "c1",
            Self::Client2 => "c2",
        }
    }

    /// The guest with this host name.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.word() == word)
    }

    /// Its address in the guests' network.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 9, 0, 1 + self as u8)
    }

    pub(crate) fn mac(self) -> [u8; 6] {
        [0x52, 0x54, 0, 9, 0, 1 + self as u8]
    }
}

/// What all guests are made of.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) kernel: PathBuf,
    pub(crate) image: PathBuf,
    /// Where their consoles and disks lie.
    pub(crate) folder: PathBuf,
    pub(crate) clock: PathBuf,
    pub(crate) switch: Arc<Switch>,
    /// The server acknowledges only what is on its disk.
    pub(crate) sync: bool,
}

/// One guest.
#[derive(Debug)]
pub struct Guest {
    name: Name,
    port: u16,
    recipe: Arc<Recipe>,
    child: Option<Child>,
    frozen: bool,
}

impl Guest {
    pub(crate) fn new(name: Name, recipe: &Arc<Recipe>) -> Outcome<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        Ok(Self { name, port, recipe: Arc::clone(recipe), child: None, frozen: false })
    }

    /// The file of its disk.
    pub(crate) fn disk(folder: &Path, name: Name) -> PathBuf {
        folder.join(format!("{}.disk", name.word()))
    }

    /// Plugs it in, and does not wait.
    pub(crate) fn begin(&mut self) -> Outcome<()> {
        let Recipe { kernel, image, folder, clock, switch, sync } = &*self.recipe;
        let (name, word) = (self.name, self.name.word());
        let mac = |kind: u8| {
            let mut mac = name.mac();
            mac[3] = kind;
            mac.map(|byte| format!("{byte:02x}")).join(":")
        };
        // Whoever is left when the lab is killed is killed with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-M", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1"]);
        command.args(["-m", MEMORY, "-nodefaults", "-no-reboot", "-display", "none"]);
        command.arg("-serial").arg(format!("file:{}", self.console().display()));
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(image);
        let sync = if *sync { "sync" } else { "async" };
        command.arg("-append").arg(format!(
            "console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 tsc=nowatchdog \
             lab_name={word} lab_address={} lab_sync={sync}",
            name.address()
        ));
        let network = |command: &mut Command, netdev: &str, id, kind| {
            let device = format!("virtio-net-pci,netdev={id},mac={},romfile=", mac(kind));
            command.args(["-netdev", netdev, "-device", &device]);
        };
        network(&mut command, &switch.netdev(name)?, "lab", 9);
        let port = self.port;
        let user = format!("user,id=us,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{}", agent::PORT);
        network(&mut command, &user, "us", 10);
        command.args(["-device", "virtio-rng-pci"]);
        command.arg("-object").arg(format!(
            "memory-backend-file,id=clock,share=on,size={},mem-path={}",
            clock::SIZE,
            comma(clock)
        ));
        command.args(["-device", "ivshmem-plain,memdev=clock"]);
        // What the guest has written to its disk outlives it; what it only remembered does not.
        let disk = Self::disk(folder, name);
        let drive = format!("file={},format=raw,if=virtio,cache=unsafe", comma(&disk));
        command.arg("-drive").arg(drive);
        let log = File::create(folder.join(format!("{word}.qemu")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| format!("no QEMU: {error}"))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it has booted.
    pub(crate) fn await_ready(&mut self) -> Outcome<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.run(&["test", "-e", "/run/ready"]).is_ok() {
                return Ok(());
            }
            let child = self.child.as_mut().ok_or("it was not begun")?;
            if let Some(status) = child.try_wait()? {
                return Err(format!("{} ended: {status}{}", self.name.word(), self.last()).into());
            }
            thread::sleep(LOOK);
        }
        Err(format!("{} does not boot{}", self.name.word(), self.last()).into())
    }

    fn console(&self) -> PathBuf {
        self.recipe.folder.join(format!("{}.console", self.name.word()))
    }

    /// The last lines of its console and of QEMU.
    #[must_use]
    pub fn last(&self) -> String {
        let files = [self.console(), self.console().with_extension("qemu")];
        let mut last = String::new();
        for file in files {
            let told = fs::read(file).unwrap_or_default();
            let told = String::from_utf8_lossy(&told);
            let lines: Vec<&str> = told.lines().collect();
            for line in &lines[lines.len().saturating_sub(12)..] {
                last.push_str("\n  ");
                last.push_str(line.trim_end());
            }
        }
        last
    }

    /// Starts a program in it. What it tells goes to the sink, as it comes.
    ///
    /// # Errors
    /// When the guest does not listen.
    pub fn start(&self, command: &[&str], sink: Sink) -> Outcome<Process> {
        Process::start(self.port, command, sink)
    }

    /// Runs a program to its end, and gives what it wrote.
    ///
    /// # Errors
    /// When it fails: with what it wrote to its standard error.
    pub fn run(&self, command: &[&str]) -> Outcome<String> {
        self.run_with(command, &[])
    }

    /// Runs a shell's line.
    ///
    /// # Errors
    /// When it fails.
    pub fn shell(&self, line: &str) -> Outcome<String> {
        self.run(&["sh", "-c", line])
    }

    /// Copies a program or any file in.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn put(&self, file: &Path, to: &str) -> Outcome<()> {
        let line = format!("cat > {to}.new && chmod 755 {to}.new && mv {to}.new {to}");
        self.run_with(&["sh", "-c", &line], &fs::read(file)?).map(drop)
    }

    fn run_with(&self, command: &[&str], input: &[u8]) -> Outcome<String> {
        let told = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let sink = Arc::clone(&told);
        let hear = move |bytes: &[u8], is_trouble: bool| {
            let mut told = sink.lock().unwrap_or_else(PoisonError::into_inner);
            told[usize::from(is_trouble)].extend(bytes);
        };
        let mut process = self.start(command, Box::new(hear))?;
        if !input.is_empty() {
            process.stdin().say(input)?;
        }
        // It may have ended without listening.
        let _ = process.stdin().close();
        let ended = process.wait(PATIENCE);
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let [output, trouble] = told.each_ref().map(|bytes| String::from_utf8_lossy(bytes));
        match ended {
            Some(Ended::Code(0)) => Ok(output.into_owned()),
            ended => {
                let why =
                    format!("{}: {command:?}: {ended:?}\n{output}{trouble}", self.name.word());
                Err(why.trim_end().into())
            }
        }
    }

    /// Pulls its plug. Nothing of what it only remembered is left.
    ///
    /// # Errors
    /// When it was not running.
    pub fn kill(&mut self) -> Outcome<()> {
        let mut child = self.child.take().ok_or("no guest to kill")?;
        self.frozen = false;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops all of it. Its clocks go on, as in a computer that hangs: when it thaws it sees how
    /// much time has passed. (QEMU's own `stop` would stop them, too.)
    ///
    /// # Errors
    /// When it is not running.
    pub fn freeze(&mut self) -> Outcome<()> {
        self.signal(Signal::STOP)?;
        self.frozen = true;
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn thaw(&mut self) -> Outcome<()> {
        self.signal(Signal::CONT)?;
        self.frozen = false;
        Ok(())
    }

    /// It runs, and is not frozen.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.child.is_some() && !self.frozen
    }

    fn signal(&self, signal: Signal) -> Outcome<()> {
        let child = self.child.as_ref().ok_or("no guest that runs")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("no PID")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It fails only when it is gone already.
        let _ = self.kill();
    }
}

/// A path as a value of QEMU's options.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
