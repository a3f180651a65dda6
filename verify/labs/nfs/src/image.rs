//! The image that a guest boots: an archive of Busybox, kernel modules, the NFS programs and programs of
//! this machine, each with its libraries.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Outcome,
    parts::{Parts, output},
};

/// The kernel modules; those that they depend on are added.
const MODULES: [&str; 12] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_rng",
    "ext4",
    "nfs",
    "nfsv3",
    "nfsv4",
    "nfsd",
    "vfat",
    "nls_cp437",
    "nls_ascii",
];
/// Programs from the packages.
const PROGRAMS: [&str; 12] = [
    "bin/kmod",
    "sbin/rpcbind",
    "sbin/mount.nfs",
    "sbin/umount.nfs",
    "sbin/rpc.statd",
    "sbin/sm-notify",
    "sbin/nfsdcltrack",
    "usr/sbin/exportfs",
    "usr/sbin/rpc.nfsd",
    "usr/sbin/rpc.mountd",
    "usr/sbin/nfsdcld",
    "usr/sbin/rpcinfo",
];
/// Files from the packages.
const FILES: [&str; 4] = ["etc/netconfig", "etc/services", "etc/protocols", "etc/rpc"];
/// Our own files.
const OWN: [(&str, &str); 5] = [
    ("init", include_str!("init.sh")),
    (
        "etc/passwd",
        "root:x:0:0::/:/bin/sh\n_rpc:x:101:65534::/run:/bin/false\n\
         statd:x:102:65534::/var/lib/nfs:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\nrpc: files\n",
    ),
    ("usr/sbin/start-statd", "#!/bin/sh\nexit 0\n"),
];
const FOLDERS: [&str; 14] = [
    "bin",
    "sbin",
    "etc",
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "n",
    "export",
    "usr/sbin",
    "lib",
    "lib64",
    "var/lib/nfs",
];

/// Makes the archive, with these programs of this machine in `/bin`.
pub(crate) fn make(parts: &Parts, programs: &[PathBuf], hosts: &str, image: &Path) -> Outcome<()> {
    let folder = tempfile::tempdir_in(image.parent().unwrap_or(Path::new(".")))?;
    let root = folder.path();
    for name in FOLDERS {
        fs::create_dir_all(root.join(name))?;
    }
    let (mut libraries, places) = (BTreeSet::new(), library_places(&parts.programs));
    for program in PROGRAMS {
        let file = parts.programs.join(program);
        // Debian moves programs between these folders, and drops some.
        let other = parts.programs.join("usr").join(program);
        if let Some(file) = [file, other].into_iter().find(|file| file.exists()) {
            let name = file.file_name().unwrap_or_default();
            fs::copy(&file, root.join("sbin").join(name))?;
            libraries.extend(needed(&file, &places)?);
        }
    }
    for program in programs {
        let to = root.join("bin").join(program.file_name().unwrap_or_default());
        // Without debugging symbols: the whole image is in the guests' memory.
        let stripped = Command::new("strip").arg("-o").arg(&to).arg(program).status();
        if !stripped.is_ok_and(|status| status.success()) {
            fs::copy(program, &to)?;
        }
        libraries.extend(needed(program, &places)?);
    }
    for library in libraries {
        let is_loader = library.to_string_lossy().contains("/ld-linux");
        let folder = root.join(if is_loader { "lib64" } else { "lib" });
        fs::copy(&library, folder.join(library.file_name().unwrap_or_default()))?;
    }
    for file in FILES {
        fs::copy(parts.programs.join(file), root.join(file))?;
    }
    for (file, text) in OWN {
        fs::write(root.join(file), text)?;
        fs::set_permissions(root.join(file), fs::Permissions::from_mode(0o755))?;
    }
    fs::write(root.join("etc/hosts"), hosts)?;
    add_busybox(root)?;
    add_modules(parts, root)?;
    for name in ["modprobe", "insmod", "depmod"] {
        let link = root.join("sbin").join(name);
        symlink("kmod", &link)?;
    }
    pack(root, image)
}

fn add_busybox(root: &Path) -> Outcome<()> {
    let busybox =
        PathBuf::from(output(Command::new("sh").args(["-c", "command -v busybox"]))?.trim());
    fs::copy(&busybox, root.join("bin/busybox"))?;
    for name in output(Command::new(&busybox).arg("--list"))?.lines() {
        let is_ours = root.join("sbin").join(name).exists() || name == "busybox";
        if !is_ours && !["modprobe", "insmod", "depmod"].contains(&name) {
            symlink("busybox", root.join("bin").join(name))?;
        }
    }
    Ok(())
}

/// Returns the folders of the packages' libraries.
fn library_places(programs: &Path) -> String {
    ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"]
        .map(|place| programs.join(place).display().to_string())
        .join(":")
}

/// Returns the libraries that a program needs.
fn needed(program: &Path, places: &str) -> Outcome<Vec<PathBuf>> {
    let listing = output(Command::new("ldd").env("LD_LIBRARY_PATH", places).arg(program))?;
    if let Some(missing) = listing.lines().find(|line| line.contains("not found")) {
        return Err(format!("{}: {}", program.display(), missing.trim()).into());
    }
    let paths = listing.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

/// Adds the modules, and the table of their dependencies.
fn add_modules(parts: &Parts, root: &Path) -> Outcome<()> {
    let kmod = |name: &str| {
        let mut command = Command::new(parts.programs.join("bin/kmod"));
        if !parts.programs.join("bin/kmod").exists() {
            command = Command::new(parts.programs.join("usr/bin/kmod"));
        }
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.env("LD_LIBRARY_PATH", library_places(&parts.programs));
        command
    };
    let version = &parts.version;
    output(kmod("depmod").arg("-b").arg(&parts.kernel).arg(version))?;
    for module in MODULES {
        let mut command = kmod("modprobe");
        command.arg("-d").arg(&parts.kernel).args(["-S", version, "-D", module]);
        for line in output(&mut command)?.lines() {
            let Some(path) = line.strip_prefix("insmod ").map(|path| path.trim()) else { continue };
            let to = root.join(Path::new(path).strip_prefix(&parts.kernel)?);
            fs::create_dir_all(to.parent().unwrap_or(root))?;
            fs::copy(path, to)?;
        }
    }
    for table in ["modules.builtin", "modules.order"] {
        let file = format!("lib/modules/{version}/{table}");
        fs::copy(parts.kernel.join(&file), root.join(&file))?;
    }
    output(kmod("depmod").arg("-b").arg(root).arg(version))?;
    Ok(())
}

/// Packs the archive in the kernel's format, with root as the owner of all files.
fn pack(root: &Path, image: &Path) -> Outcome<()> {
    let mut names = Vec::new();
    list(root, Path::new("."), &mut names)?;
    let mut command = Command::new("cpio");
    command.args(["-o", "-H", "newc", "--quiet", "--null", "-R", "0:0"]).current_dir(root);
    command.stdin(Stdio::piped()).stdout(fs::File::create(image)?);
    let mut cpio = command.spawn()?;
    if let Some(mut stdin) = cpio.stdin.take() {
        stdin.write_all(names.join("\0").as_bytes())?;
    }
    let status = cpio.wait()?;
    status.success().then_some(()).ok_or_else(|| format!("cpio: {status}").into())
}

/// Lists each folder before its contents.
fn list(root: &Path, folder: &Path, names: &mut Vec<String>) -> Outcome<()> {
    for file in fs::read_dir(root.join(folder))? {
        let file = file?;
        let path = folder.join(file.file_name());
        names.push(path.display().to_string());
        if file.file_type()?.is_dir() {
            list(root, &path, names)?;
        }
    }
    Ok(())
}
