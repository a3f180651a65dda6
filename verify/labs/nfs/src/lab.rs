//! The lab: three guests, their network, their clock and the server's disk.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;

use crate::{
    Guest, Name, Outcome, Switch,
    clock::Clock,
    guest::Recipe,
    image,
    parts::{Parts, output},
};

/// The path at which the clients mount the server's folder.
pub const MOUNTED: &str = "/n";
/// The size of each guest's disk in bytes; the file is sparse. The clients' disks are empty, for tests of
/// other file systems.
const DISK: u64 = 1 << 29;

/// Options for starting a lab.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Programs of this machine that the guests have in `/bin`.
    pub programs: Vec<PathBuf>,
    /// The parent of its folder; by default in memory.
    pub parent: Option<PathBuf>,
    /// Whether the server acknowledges data that are not on its disk yet.
    pub is_async: bool,
}

/// A server and two clients.
#[derive(Debug)]
pub struct Lab {
    guests: [Mutex<Guest>; 3],
    switch: Arc<Switch>,
    clock: Clock,
    options: Mutex<String>,
    // Last: the guests must be gone before their files are removed.
    _folder: TempDir,
}

impl Lab {
    /// Boots all three guests, and waits until they are ready.
    ///
    /// # Errors
    /// If a part is missing, or a guest does not boot: with the end of its console.
    pub fn start(options: &Options) -> Outcome<Self> {
        let parts = Parts::fetch(&cache()?)?;
        let memory = Path::new("/dev/shm");
        let parent = match &options.parent {
            Some(parent) => parent.clone(),
            None if memory.is_dir() => memory.to_owned(),
            None => std::env::temp_dir(),
        };
        let folder = tempfile::Builder::new().prefix("lockbydir-nfs-").tempdir_in(parent)?;
        let path = folder.path().to_owned();
        let mut programs = options.programs.clone();
        programs.push(own_program()?);
        let lines = Name::ALL.map(|name| format!("{} {}\n", name.address(), name.word()));
        let hosts = format!("127.0.0.1 localhost\n{}", lines.concat());
        image::make(&parts, &programs, &hosts, &path.join("image"))?;
        for name in Name::ALL {
            File::create(Guest::disk(&path, name))?.set_len(DISK)?;
        }
        let disk = Guest::disk(&path, Name::Server);
        output(Command::new("/usr/sbin/mkfs.ext4").args(["-q", "-F"]).arg(&disk))?;
        let clock = Clock::start(&path.join("clock"))?;
        let switch = Switch::start()?;
        let recipe = Arc::new(Recipe {
            kernel: parts.vmlinuz(),
            image: path.join("image"),
            clock: path.join("clock"),
            folder: path,
            switch: Arc::clone(&switch),
            sync: !options.is_async,
        });
        let guest = |name| Guest::new(name, &recipe);
        let mut guests = [guest(Name::Server)?, guest(Name::Client1)?, guest(Name::Client2)?];
        for guest in &mut guests {
            guest.begin()?;
        }
        for guest in &mut guests {
            guest.await_ready()?;
        }
        let guests = guests.map(Mutex::new);
        Ok(Self { guests, switch, clock, options: Mutex::default(), _folder: folder })
    }

    /// Returns a guest, for exclusive use.
    pub fn guest(&self, name: Name) -> MutexGuard<'_, Guest> {
        self.guests[name as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the guests' network.
    #[must_use]
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    /// Returns the guests' clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Mounts the server's folder again at [`MOUNTED`] on both clients, with these options.
    ///
    /// # Errors
    /// If they are refused.
    pub fn mount(&self, options: &str) -> Outcome<()> {
        options.clone_into(&mut self.options());
        Name::CLIENTS.into_iter().try_for_each(|name| self.mount_on(name))
    }

    fn options(&self) -> MutexGuard<'_, String> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mount_on(&self, name: Name) -> Outcome<()> {
        let (server, options) = (Name::Server.address(), self.options().clone());
        // Version 4 begins at the server's root.
        let is_old = options.split(',').any(|option| matches!(option, "vers=3" | "nfsvers=3"));
        let place = if is_old { "/export" } else { "/" };
        let line = format!(
            "umount -l {MOUNTED} 2>/dev/null; mount.nfs {server}:{place} {MOUNTED} -o {options}"
        );
        // Hosts that share a folder have the same wall clock.
        self.guest(name).run(&[NAME, "set-clock"])?;
        self.guest(name).shell(&line).map(drop)
    }

    /// Boots a guest whose power was cut, and mounts as before if it is a client.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn boot(&self, name: Name) -> Outcome<()> {
        self.switch.cut(name, false);
        let mut guest = self.guest(name);
        guest.begin()?;
        guest.await_ready()?;
        drop(guest);
        if name != Name::Server && !self.options().is_empty() {
            self.mount_on(name)?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.switch.end();
    }
}

/// Returns the folder of the fetched packages.
fn cache() -> Outcome<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target"),
        PathBuf::from,
    );
    std::fs::create_dir_all(&target)?;
    Ok(target.canonicalize()?.join("nfs-lab"))
}

/// Returns the program of this crate, which is the guests' agent: beside the running one, or above it.
fn own_program() -> Outcome<PathBuf> {
    let running = std::env::current_exe()?;
    let places = running.ancestors().skip(1).take(2);
    let found = places.map(|place| place.join(NAME)).find(|program| program.exists());
    found.ok_or_else(|| format!("there is no {NAME}: `cargo build -p lockbydir-nfs-lab`").into())
}

/// The program's name.
const NAME: &str = "lockbydir-nfs-lab";
