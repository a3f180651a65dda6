//! Reads files of `/proc` on Linux.

use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::Handle;
use super::kernel::number_given_once;
use crate::os::boot_local::BootLocal;

/// An open file of `/proc`.
pub(super) struct ProcFile(Handle);

impl ProcFile {
    pub(super) fn open(path: &str) -> Option<ProcFile> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        rustix::fs::open(path, flags, Mode::empty()).ok().map(ProcFile)
    }

    /// Reads the file by one call, up to the length of the buffer. The first read of such a file
    /// makes up its whole content, and returns all of it that the buffer takes: so content that is
    /// shorter than the buffer is complete. (The kernel calls the file's `show` once, with a buffer
    /// that it enlarges until everything fits.)
    pub(super) fn read<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let length = retry_on_intr(|| rustix::io::read(&self.0, &mut *buffer)).ok()?;
        Some(&buffer[..length])
    }

    /// Returns the whole content, with a second read only if it does not fit into this buffer.
    fn read_all(&self, buffer: &mut [u8]) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let piece = self.read(buffer)?;
            content.extend_from_slice(piece);
            if piece.len() < buffer.len() {
                return Some(content);
            }
        }
    }

    /// Returns true if the file is in a `/proc` that shows the PIDs of our own namespace. A process
    /// may be moved to another namespace and keep the `/proc` of the previous one, or enter the
    /// mounts of another namespace: in such a `/proc`, our PIDs are other processes.
    ///
    /// A mount of `/proc` always shows the same namespace, and the PID namespace of a process never
    /// changes. So a mount is examined once, if it has a number that no other mount ever gets.
    pub(super) fn is_of_our_pids(&self) -> bool {
        static OURS: BootLocal<u64> = BootLocal::new();

        let mount = self.mount();
        if mount.is_some() && mount == OURS.get() {
            return true;
        }
        let Some(status) = ProcFile::open("/proc/self/status") else { return false };
        if status.mount() != mount || !status.is_status_by_our_pid() {
            return false;
        }
        if let Some(mount) = mount {
            OURS.set(mount);
        }
        true
    }

    fn mount(&self) -> Option<u64> {
        number_given_once(&self.0, Path::new(""), AtFlags::EMPTY_PATH)
    }

    /// Returns true if this `/proc/self/status` shows one PID, which is ours.
    fn is_status_by_our_pid(&self) -> bool {
        // It has some 1,500 bytes, and 11 more for each supplementary group.
        let Some(status) = self.read_all(&mut [0; 4096]) else { return false };
        let status = String::from_utf8_lossy(&status);
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        // Our PID in each namespace, from that of this /proc down to our own.
        let pids = field("NSpid:").or_else(|| field("Pid:")).unwrap_or_default();
        pids.trim() == std::process::id().to_string()
    }
}
