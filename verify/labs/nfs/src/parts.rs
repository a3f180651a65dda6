//! The parts of the guests: Debian's kernel for clouds and its NFS programs, fetched as packages and
//! unpacked. Nothing is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Outcome;

/// The required programs of this machine, and the Debian packages that contain them.
const TOOLS: [(&str, &str); 7] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("mkfs.ext4", "e2fsprogs"),
    ("setpriv", "util-linux"),
    ("dpkg", "dpkg"),
    ("apt-get", "apt"),
];
/// The package that depends on the newest kernel.
const KERNEL: &str = "linux-image-cloud-amd64";
/// The packages with the guests' programs; the packages of their libraries are added.
const PROGRAMS: [&str; 5] = ["nfs-kernel-server", "nfs-common", "rpcbind", "kmod", "netbase"];

/// The parts, unpacked.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The folder in which the kernel's package was unpacked.
    pub kernel: PathBuf,
    /// The version of the kernel.
    pub version: String,
    /// The folder in which the programs' packages were unpacked.
    pub programs: PathBuf,
}

impl Parts {
    /// Returns the path of the kernel.
    #[must_use]
    pub fn vmlinuz(&self) -> PathBuf {
        self.kernel.join(format!("boot/vmlinuz-{}", self.version))
    }

    /// Fetches the parts that are missing.
    ///
    /// # Errors
    /// If a tool is missing, or a package cannot be fetched.
    pub fn fetch(cache: &Path) -> Outcome<Self> {
        for (tool, package) in TOOLS {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
            places.push("/usr/sbin".into());
            if !places.iter().any(|place| place.join(tool).exists()) {
                return Err(format!("there is no {tool}: `apt-get install {package}`").into());
            }
        }
        let named = depends(&[KERNEL])?.into_iter().find_map(|package| {
            package
                .strip_prefix("linux-image-")
                .filter(|rest| *rest != "cloud-amd64")
                .map(str::to_owned)
        });
        let version = named.ok_or("apt knows no kernel for clouds: `apt-get update`")?;
        let kernel = cache.join(&version);
        unpack(&kernel, &[format!("linux-image-{version}")])?;
        let programs = cache.join("programs");
        if !programs.exists() {
            let mut packages = depends(&PROGRAMS)?;
            // The C library is this machine's, because its loader is, too.
            packages.retain(|package| package.starts_with("lib") && !package.starts_with("libc6"));
            packages.extend(PROGRAMS.map(str::to_owned));
            unpack(&programs, &packages)?;
        }
        Ok(Self { kernel, version, programs })
    }
}

/// Returns all packages on which these depend, recursively.
fn depends(packages: &[&str]) -> Outcome<Vec<String>> {
    let mut command = Command::new("apt-cache");
    command.args(["depends", "--recurse", "--important"]).args(packages);
    let listing = output(&mut command)?;
    // Names at the beginning of a line, without virtual packages.
    let names = listing.lines().filter(|line| !line.starts_with([' ', '<', '|']));
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Unpacks packages into a new folder, which appears only when it is complete.
fn unpack(folder: &Path, packages: &[String]) -> Outcome<()> {
    if folder.exists() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let fetched = tempfile::tempdir_in(parent)?;
    let whole = tempfile::tempdir_in(parent)?;
    let mut command = Command::new("apt-get");
    output(command.current_dir(fetched.path()).arg("-q").arg("download").args(packages))?;
    for package in fs::read_dir(fetched.path())? {
        output(Command::new("dpkg").arg("-x").arg(package?.path()).arg(whole.path()))?;
    }
    fs::rename(whole.keep(), folder)?;
    Ok(())
}

/// Runs a program to its end, and returns its output.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {}", output.status, errors.trim_end()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
