//! Error numbers.

use std::fmt;
use std::io;

use windows_sys::Win32::Foundation::{GetLastError, NTSTATUS, RtlNtStatusToDosError};

/// An error number of Windows. Numbers with the same meaning are mapped to one of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub(crate) u32);

#[expect(missing_docs, reason = "named as on other systems")]
impl Errno {
    pub const NOENT: Errno = Errno(2);
    /// Too many open files.
    pub const MFILE: Errno = Errno(4);
    pub const ACCESS: Errno = Errno(5);
    pub const BADF: Errno = Errno(6);
    pub const NOMEM: Errno = Errno(8);
    pub const XDEV: Errno = Errno(17);
    pub const ROFS: Errno = Errno(19);
    /// Another process has it open and does not share it.
    pub const BUSY: Errno = Errno(32);
    pub const NOTSUP: Errno = Errno(50);
    pub const INVAL: Errno = Errno(87);
    pub const NOSPC: Errno = Errno(112);
    pub const NOTEMPTY: Errno = Errno(145);
    pub const EXIST: Errno = Errno(183);
    pub const NAMETOOLONG: Errno = Errno(206);
    pub const NOTDIR: Errno = Errno(267);
    /// It was removed, and disappears when its last open handle is closed.
    pub const GOING: Errno = Errno(303);
    pub const INTR: Errno = Errno(995);
    pub const IO: Errno = Errno(1117);
    pub const DQUOT: Errno = Errno(1295);
    pub const PERM: Errno = Errno(1314);
    pub const AGAIN: Errno = Errno(1450);
    pub const LOOP: Errno = Errno(1921);

    #[must_use]
    pub fn from_raw_os_error(code: i32) -> Errno {
        Errno::of(code.cast_unsigned())
    }

    #[must_use]
    pub fn raw_os_error(self) -> i32 {
        self.0.cast_signed()
    }

    /// Returns the number for an error of a Win32 call.
    pub(crate) fn of(code: u32) -> Errno {
        Errno(match code {
            // A folder in the path does not exist.
            3 => 2,
            // Locked or mapped by another process.
            33 | 170 | 1224 => 32,
            80 => 183,
            39 => 112,
            // An invalid name.
            123 | 161 => 206,
            code => code,
        })
    }

    /// Returns the error of the last Win32 call of this thread.
    pub(crate) fn last() -> Errno {
        // SAFETY: the call has no preconditions.
        Errno::of(unsafe { GetLastError() })
    }

    /// Returns the number for the status of a native call.
    pub(crate) fn of_status(status: NTSTATUS) -> Errno {
        const DELETE_PENDING: NTSTATUS = 0xC000_0056_u32.cast_signed();
        const STOPPED_ON_SYMLINK: NTSTATUS = 0x8000_002D_u32.cast_signed();
        match status {
            // Win32 calls this "access denied", like many other things.
            DELETE_PENDING => Errno::GOING,
            STOPPED_ON_SYMLINK => Errno::LOOP,
            // SAFETY: the call only looks up a number.
            status => Errno::of(unsafe { RtlNtStatusToDosError(status) }),
        }
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from(*self).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({})", self.0)
    }
}

impl std::error::Error for Errno {}
