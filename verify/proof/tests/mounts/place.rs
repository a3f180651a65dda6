//! Mounts that belong to one test, and are unmounted when it ends.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
    time::{Duration, Instant},
};

use lockbydir_proof::{
    MOUNTED,
    torture::{self, Plan, report::Conclusion},
};
use rustix::process::geteuid;
use tempfile::TempDir;

/// Gives a torture exclusive use of the machine.
static MACHINE: RwLock<()> = RwLock::new(());

/// A folder, and the mounts in it.
pub(crate) struct Place {
    folder: TempDir,
    mounted: Vec<PathBuf>,
    servers: Vec<Child>,
    shared: Option<RwLockReadGuard<'static, ()>>,
    alone: Option<RwLockWriteGuard<'static, ()>>,
}

impl Place {
    pub(crate) fn new() -> Self {
        assert!(geteuid().is_root(), "these tests mount things, which only root may: be root");
        let folder = tempfile::tempdir().expect("a folder");
        open_to_all(folder.path());
        let shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        Self { folder, mounted: Vec::new(), servers: Vec::new(), shared: Some(shared), alone: None }
    }

    /// Returns the path of this name in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a folder that everybody may write to.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder");
        open_to_all(&path);
        path
    }

    fn mount(&mut self, name: &str, arguments: &[&str], source: &Path) -> PathBuf {
        let at = self.path(name);
        fs::create_dir_all(&at).expect("a place to mount on");
        let mounted = Command::new("mount").args(arguments).arg(source).arg(&at).status();
        assert!(mounted.expect("mount").success(), "mount {arguments:?} on {}", at.display());
        self.mounted.push(at.clone());
        at
    }

    pub(crate) fn tmpfs(&mut self, name: &str) -> PathBuf {
        let at = self.mount(name, &["-t", "tmpfs", "-o", "size=16m"], Path::new("lockbydir"));
        open_to_all(&at);
        at
    }

    /// Mounts a small ext4 made with these options.
    pub(crate) fn ext4(&mut self, name: &str, options: &[&str]) -> PathBuf {
        let image = self.path(&format!("{name}.img"));
        fs::File::create(&image).and_then(|file| file.set_len(32 << 20)).expect("an image");
        let made = Command::new("mkfs.ext4").arg("-q").args(options).arg(&image).status();
        assert!(made.expect("mkfs.ext4 (e2fsprogs)").success(), "an ext4");
        let at = self.mount(name, &["-o", "loop"], &image);
        open_to_all(&at);
        at
    }

    /// Mounts an overlay with an empty upper layer over this lower one.
    pub(crate) fn overlay(&mut self, name: &str, lower: &Path) -> PathBuf {
        // The upper layer must be on a file system that is not an overlay itself.
        let above = self.tmpfs(&format!("{name}.above"));
        let (upper, work) = (above.join("upper"), above.join("work"));
        for folder in [&upper, &work] {
            fs::create_dir(folder).expect("a layer");
            open_to_all(folder);
        }
        let show = |path: &Path| path.display().to_string();
        let (lower, upper, work) = (show(lower), show(&upper), show(&work));
        let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let at = self.mount(name, &["-t", "overlay", "-o", &layers], Path::new("lockbydir"));
        open_to_all(&at);
        at
    }

    /// Mounts the same folder at another path.
    pub(crate) fn bind(&mut self, name: &str, folder: &Path) -> PathBuf {
        self.mount(name, &["--bind"], folder)
    }

    /// Mounts a folder through FUSE, with these options.
    pub(crate) fn fuse(&mut self, name: &str, folder: &Path, options: &[&str]) -> PathBuf {
        let at = self.path(name);
        fs::create_dir(&at).expect("a place to mount on");
        let mut server = Command::new(env!("CARGO_BIN_EXE_lockbydir-passthrough"));
        let server = server.arg(folder).arg(&at).args(options).stdin(Stdio::null()).spawn();
        self.servers.push(server.expect("the FUSE server starts"));
        let begun = Instant::now();
        while !is_mounted(&at) {
            assert!(begun.elapsed() < Duration::from_secs(10), "there is no FUSE here");
            thread::yield_now();
        }
        self.mounted.push(at.clone());
        at
    }

    /// Mounts it again, read-only or not.
    pub(crate) fn set_read_only(&self, at: &Path, read_only: bool) {
        let options = if read_only { "remount,bind,ro" } else { "remount,bind,rw" };
        let mounted = Command::new("mount").args(["-o", options]).arg(at).status();
        assert!(mounted.expect("mount").success(), "{options} {}", at.display());
    }

    /// Returns a plan for a torture of some seconds in a folder, with exclusive use of the machine.
    pub(crate) fn plan(&mut self, folder: &Path) -> Plan {
        self.shared = None;
        if self.alone.is_none() {
            self.alone = Some(MACHINE.write().unwrap_or_else(PoisonError::into_inner));
        }
        Plan {
            time: Duration::from_secs(MOUNTED.number()),
            ..Plan::new(env!("CARGO_BIN_EXE_lockbydir-torture"), folder)
        }
    }

    /// Runs the torture, and fails if a promise was broken, or if hardly any process ever waited.
    pub(crate) fn judge(&self, plan: Plan) {
        self.judge_above(plan, 500);
    }

    /// The same for a folder in which every call goes through a server, twice between processes: with time
    /// for the delays that it causes.
    pub(crate) fn judge_slow(&self, plan: Plan) {
        let (timeout, hold) = (Duration::from_millis(200), Duration::from_micros(50));
        self.judge_above(Plan { timeout, hold, processes: 8, ..plan }, 30);
    }

    fn judge_above(&self, plan: Plan, handoffs: u64) {
        assert!(self.alone.is_some(), "a plan of this place");
        // The required number of handoffs is checked below.
        let report = torture::run(&Plan { least_rate: 1, ..plan }).expect("a run");
        println!("{report}");
        assert!(matches!(report.conclusion(), Conclusion::Kept), "{report}");
        let done = report.json()["contended_handoffs"].as_u64();
        assert!(done >= Some(handoffs), "{done:?} handoffs show nothing: {report}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for at in self.mounted.iter().rev() {
            let mut umount = Command::new("umount");
            let unmounted = umount.arg(at).status().expect("umount").success();
            if !unmounted {
                let _ = Command::new("umount").arg("--lazy").arg(at).status();
            }
            assert!(unmounted || thread::panicking(), "{} is in use", at.display());
        }
        for server in &mut self.servers {
            if thread::panicking() {
                let _ = server.kill();
            }
            let _ = server.wait();
        }
    }
}

fn is_mounted(at: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("what is mounted");
    mounts.lines().any(|line| line.split(' ').nth(1) == at.to_str())
}

pub(crate) fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("a mode");
}

/// Returns the names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let list = fs::read_dir(folder).expect("a folder");
    let name = |file: std::io::Result<fs::DirEntry>| {
        file.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = list.map(name).collect();
    names.sort();
    names
}
