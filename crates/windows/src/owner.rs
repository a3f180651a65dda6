//! The owner of a file.

use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::null_mut;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{GetSecurityInfo, SE_FILE_OBJECT};
use windows_sys::Win32::Security::{
    EqualSid, GetLengthSid, GetSidSubAuthority, GetSidSubAuthorityCount, GetTokenInformation,
    IsWellKnownSid, OWNER_SECURITY_INFORMATION, PSID, TOKEN_QUERY, TOKEN_USER, TokenUser,
    WinBuiltinAdministratorsSid, WinLocalSystemSid, WinWorldSid,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// The owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The user of this process.
    Ours,
    /// Administrators or the system, who may do anything; or everybody, on a file system without owners.
    Administrators,
    /// Another user, with the last part of its identifier; 0 if that is unknown.
    Another(u32),
}

impl Owner {
    pub(crate) fn of(file: BorrowedHandle<'_>) -> Owner {
        let (mut owner, mut descriptor): (PSID, _) = (null_mut(), null_mut());
        // SAFETY: the handle is open, and results that are not requested may be null.
        let code = unsafe {
            GetSecurityInfo(
                file.as_raw_handle(),
                SE_FILE_OBJECT,
                OWNER_SECURITY_INFORMATION,
                &mut owner,
                null_mut(),
                null_mut(),
                null_mut(),
                &mut descriptor,
            )
        };
        if code != 0 || owner.is_null() {
            return Owner::Another(0);
        }
        // SAFETY: the owner is a valid identifier in the descriptor, which is freed after the last use.
        unsafe {
            let is_known = |kind| IsWellKnownSid(owner, kind) != 0;
            let found = if is_ours(owner) {
                Owner::Ours
            } else if is_known(WinBuiltinAdministratorsSid)
                || is_known(WinLocalSystemSid)
                || is_known(WinWorldSid)
            {
                Owner::Administrators
            } else {
                let parts = u32::from(*GetSidSubAuthorityCount(owner));
                Owner::Another(
                    parts.checked_sub(1).map_or(0, |last| *GetSidSubAuthority(owner, last)),
                )
            };
            LocalFree(descriptor);
            found
        }
    }
}

/// Whether the owner is the user of this process.
///
/// # Safety
/// `owner` must be a valid identifier.
unsafe fn is_ours(owner: PSID) -> bool {
    static OURS: OnceLock<Option<Vec<u64>>> = OnceLock::new();
    OURS.get_or_init(user).as_ref().is_some_and(|user| {
        // SAFETY: both are valid identifiers.
        unsafe { EqualSid(owner, user.as_ptr().cast_mut().cast()) != 0 }
    })
}

/// Returns the identifier of the user of this process.
fn user() -> Option<Vec<u64>> {
    let mut token = null_mut();
    // SAFETY: there is room for a handle.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) } == 0 {
        return None;
    }
    // SAFETY: the call returned a handle that nothing else owns.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    let mut information = [0_u64; 64];
    let mut length = 0;
    // SAFETY: the array has this size, and is aligned for the structure.
    let done = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            information.as_mut_ptr().cast(),
            512,
            &mut length,
        )
    };
    if done == 0 {
        return None;
    }
    // SAFETY: the structure was just written into the array, and the identifier it points to is in the
    // same array.
    unsafe {
        let sid = (*information.as_ptr().cast::<TOKEN_USER>()).User.Sid;
        let length = GetLengthSid(sid) as usize;
        let mut copy = vec![0_u64; length.div_ceil(8)];
        std::ptr::copy_nonoverlapping(sid.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), length);
        Some(copy)
    }
}
