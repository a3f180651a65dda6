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

/// The longest wait until a guest has booted, or until a command in it ends.
const PATIENCE: Duration = Duration::from_secs(180);
/// The interval between checks whether it has booted.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The guests' memory, which also contains the files of the image.
const MEMORY: &str = "512M";

/// The name of a guest.
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
    /// All guests.
    pub const ALL: [Self; 3] = [Self::Server, Self::Client1, Self::Client2];
    /// The clients.
    pub const CLIENTS: [Self; 2] = [Self::Client1, Self::Client2];

    /// Returns its host name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client1 => "c1",
            Self::Client2 => "c2",
        }
    }

    /// Returns the guest with this host name.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.word() == word)
    }

    /// Returns its address in the guests' network.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 9, 0, 1 + self as u8)
    }

    pub(crate) fn mac(self) -> [u8; 6] {
        [0x52, 0x54, 0, 9, 0, 1 + self as u8]
    }
}

/// The common properties of all guests.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) kernel: PathBuf,
    pub(crate) image: PathBuf,
    /// The folder of their consoles and disks.
    pub(crate) folder: PathBuf,
    pub(crate) clock: PathBuf,
    pub(crate) switch: Arc<Switch>,
    /// Whether the server acknowledges only what is on its disk.
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

    /// Returns the file of its disk.
    pub(crate) fn disk(folder: &Path, name: Name) -> PathBuf {
        folder.join(format!("{}.disk", name.word()))
    }

    /// Starts the guest, and does not wait.
    pub(crate) fn begin(&mut self) -> Outcome<()> {
        let Recipe { kernel, image, folder, clock, switch, sync } = &*self.recipe;
        let (name, word) = (self.name, self.name.word());
        let mac = |kind: u8| {
            let mut mac = name.mac();
            mac[3] = kind;
            mac.map(|byte| format!("{byte:02x}")).join(":")
        };
        // A guest that is left when the lab is killed is killed with it.
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
        // The guest's writes to its disk survive it; data in its memory do not.
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
            thread::sleep(CHECK_INTERVAL);
        }
        Err(format!("{} does not boot{}", self.name.word(), self.last()).into())
    }

    fn console(&self) -> PathBuf {
        self.recipe.folder.join(format!("{}.console", self.name.word()))
    }

    /// Returns the last lines of its console and of QEMU.
    #[must_use]
    pub fn last(&self) -> String {
        let files = [self.console(), self.console().with_extension("qemu")];
        let mut last = String::new();
        for file in files {
            let bytes = fs::read(file).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(12)..] {
                last.push_str("\n  ");
                last.push_str(line.trim_end());
            }
        }
        last
    }

    /// Starts a program in the guest. Its output goes to the sink as it arrives.
    ///
    /// # Errors
    /// If the guest does not accept the connection.
    pub fn start(&self, command: &[&str], sink: Sink) -> Outcome<Process> {
        Process::start(self.port, command, sink)
    }

    /// Runs a program to its end, and returns its output.
    ///
    /// # Errors
    /// If it fails, with its error output.
    pub fn run(&self, command: &[&str]) -> Outcome<String> {
        self.run_with(command, &[])
    }

    /// Runs a shell command.
    ///
    /// # Errors
    /// When it fails.
    pub fn shell(&self, line: &str) -> Outcome<String> {
        self.run(&["sh", "-c", line])
    }

    /// Copies a program or any other file into the guest.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn put(&self, file: &Path, to: &str) -> Outcome<()> {
        let line = format!("cat > {to}.new && chmod 755 {to}.new && mv {to}.new {to}");
        self.run_with(&["sh", "-c", &line], &fs::read(file)?).map(drop)
    }

    fn run_with(&self, command: &[&str], input: &[u8]) -> Outcome<String> {
        let outputs = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let sink = Arc::clone(&outputs);
        let on_output = move |bytes: &[u8], is_stderr: bool| {
            let mut outputs = sink.lock().unwrap_or_else(PoisonError::into_inner);
            outputs[usize::from(is_stderr)].extend(bytes);
        };
        let mut process = self.start(command, Box::new(on_output))?;
        if !input.is_empty() {
            process.stdin().say(input)?;
        }
        // It may have ended without reading its input.
        let _ = process.stdin().close();
        let ended = process.wait(PATIENCE);
        let outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let [output, errors] = outputs.each_ref().map(|bytes| String::from_utf8_lossy(bytes));
        match ended {
            Some(Ended::Code(0)) => Ok(output.into_owned()),
            ended => {
                let why = format!("{}: {command:?}: {ended:?}\n{output}{errors}", self.name.word());
                Err(why.trim_end().into())
            }
        }
    }

    /// Cuts its power. Data that were only in its memory are lost.
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

    /// Stops the whole guest. Its clocks continue, as in a computer that hangs: when it thaws, it notices how
    /// much time has passed. (QEMU's own `stop` would stop them, too.)
    ///
    /// # Errors
    /// When it is not running.
    pub fn freeze(&mut self) -> Outcome<()> {
        self.signal(Signal::STOP)?;
        self.frozen = true;
        Ok(())
    }

    /// Continues a frozen guest.
    ///
    /// # Errors
    /// When it is not running.
    pub fn thaw(&mut self) -> Outcome<()> {
        self.signal(Signal::CONT)?;
        self.frozen = false;
        Ok(())
    }

    /// Whether it runs and is not frozen.
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
        // It fails only if it has already ended.
        let _ = self.kill();
    }
}

/// Returns a path as a value of QEMU's options, with commas escaped.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
