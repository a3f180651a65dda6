//! Files and directories, by the native calls: they take a name relative to an open directory, and
//! tell apart what Win32 calls "access denied". No reparse point is followed in the last part of a
//! path.

use std::ffi::{OsStr, OsString};
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_DIRECTORY_FILE, FILE_DISPOSITION_DELETE, FILE_DISPOSITION_POSIX_SEMANTICS,
    FILE_INFORMATION_CLASS, FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_OPEN_REPARSE_POINT,
    FILE_RENAME_INFORMATION, FILE_SYNCHRONOUS_IO_NONALERT, FileAttributeTagInformation,
    FileBasicInformation, FileDispositionInformation, FileNameInformation, FileRenameInformation,
    FileStandardInformation, NtCreateFile, NtQueryInformationFile, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{HANDLE, OBJ_CASE_INSENSITIVE, UNICODE_STRING};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_ATTRIBUTE_TAG_INFO, FILE_BASIC_INFO, FILE_ID_BOTH_DIR_INFO, FILE_LIST_DIRECTORY,
    FILE_READ_ATTRIBUTES, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_STANDARD_INFO,
    FILE_TRAVERSE, FILE_WRITE_DATA, FileIdBothDirectoryInfo, FileIdBothDirectoryRestartInfo,
    GetFileInformationByHandleEx, GetFinalPathNameByHandleW, READ_CONTROL, SYNCHRONIZE,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use crate::{Errno, Owner};

/// What a directory is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To list it, and to see whose it is.
    List,
    /// To change what is in it.
    Change,
}

/// Who may do what with a file while one has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All may do all.
    All,
    /// Nobody else may have it open to write.
    NoWriter,
}

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, a junction, a mount point: a name for something elsewhere.
    Link,
}

/// What is known of a file or directory.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// What it is.
    pub kind: Kind,
    /// When it was last changed, in nanoseconds since 1970.
    pub modified: i128,
    /// Whom it belongs to.
    pub owner: Owner,
    /// Has it no name any more, or loses it when it is closed?
    pub is_removed: bool,
}

/// Others may have a thing open for a moment: whoever is about to change it too, a scanner for
/// viruses, an indexer. So long and no longer a call tries again by itself.
const MOMENT: Duration = Duration::from_millis(200);
/// A directory cannot be moved while somebody has a thing within it open.
const LONGER_MOMENT: Duration = Duration::from_secs(2);

fn again<T>(
    moment: Duration,
    is_passing: impl Fn(Errno) -> bool,
    mut call: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let mut since = None;
    loop {
        match call() {
            Err(errno) if is_passing(errno) => {
                if since.get_or_insert_with(Instant::now).elapsed() > moment {
                    return Err(errno);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}

fn is_busy(errno: Errno) -> bool {
    matches!(errno, Errno::BUSY | Errno::GOING)
}

/// An absolute path as the kernel names it: of any length, and with no part that means a device.
fn native(path: &Path) -> Result<Vec<u16>, Errno> {
    let path = std::path::absolute(path).map_err(|_| Errno::NAMETOOLONG)?;
    let units: Vec<u16> = path.as_os_str().encode_wide().collect();
    let begins_with = |text: &str| units.iter().copied().take(text.len()).eq(text.encode_utf16());
    let (prefix, rest) = if begins_with(r"\\?\") || begins_with(r"\\.\") {
        (r"\??\", &units[4..])
    } else if begins_with(r"\\") {
        (r"\??\UNC\", &units[2..])
    } else {
        (r"\??\", &units[..])
    };
    Ok(prefix.encode_utf16().chain(rest.iter().copied()).collect())
}

/// How something is opened.
struct How {
    rights: u32,
    share: u32,
    disposition: u32,
    options: u32,
}

const ALL: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

fn open(
    dir: Option<BorrowedHandle<'_>>,
    name: &mut [u16],
    how: &How,
) -> Result<OwnedHandle, Errno> {
    let bytes = u16::try_from(name.len() * 2).map_err(|_| Errno::NAMETOOLONG)?;
    let name = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: name.as_mut_ptr() };
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: dir.map_or(null_mut(), |dir| dir.as_raw_handle()),
        ObjectName: &name,
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    };
    let mut handle: HANDLE = null_mut();
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: all that is pointed to lives as long as the call; there are no extended attributes.
    let status = unsafe {
        NtCreateFile(
            &mut handle,
            how.rights | SYNCHRONIZE,
            &attributes,
            &mut block,
            null(),
            FILE_ATTRIBUTE_NORMAL,
            how.share,
            how.disposition,
            how.options | FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_REPARSE_POINT,
            null(),
            0,
        )
    };
    if status < 0 {
        return Err(Errno::of_status(status));
    }
    // SAFETY: the call gave a handle that is nobody else's.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn open_at(dir: BorrowedHandle<'_>, name: &OsStr, how: &How) -> Result<OwnedHandle, Errno> {
    let mut name: Vec<u16> = name.encode_wide().collect();
    // A separator would lead elsewhere, a colon to a stream.
    if name.is_empty() || name.iter().any(|unit| [0, 0x2F, 0x3A, 0x5C].contains(unit)) {
        return Err(Errno::NAMETOOLONG);
    }
    open(Some(dir), &mut name, how)
}

fn opened(dir: Option<BorrowedHandle<'_>>, path: &Path, how: &How) -> Result<OwnedHandle, Errno> {
    match dir {
        Some(dir) => open_at(dir, path.as_os_str(), how),
        None => open(None, &mut native(path)?, how),
    }
}

/// A directory that is no link.
///
/// # Errors
/// [`Errno::LOOP`] when it is a link, [`Errno::NOTDIR`] when it is a file.
pub fn open_dir(
    dir: Option<BorrowedHandle<'_>>,
    path: &Path,
    access: Access,
) -> Result<OwnedHandle, Errno> {
    let rights = match access {
        Access::List => FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_READ_ATTRIBUTES | READ_CONTROL,
        Access::Change => FILE_TRAVERSE | FILE_READ_ATTRIBUTES,
    };
    let how = How { rights, share: ALL, disposition: FILE_OPEN, options: FILE_DIRECTORY_FILE };
    let found = again(MOMENT, is_busy, || opened(dir, path, &how))?;
    no_link(found)
}

fn no_link(found: OwnedHandle) -> Result<OwnedHandle, Errno> {
    match kind(found.as_handle())? {
        Kind::Link => Err(Errno::LOOP),
        _ => Ok(found),
    }
}

/// A new directory, with what its folder gives it of permissions.
///
/// # Errors
/// [`Errno::EXIST`] when there is something already.
pub fn make_dir(path: &Path) -> Result<(), Errno> {
    let how = How {
        rights: FILE_READ_ATTRIBUTES,
        share: ALL,
        disposition: FILE_CREATE,
        options: FILE_DIRECTORY_FILE,
    };
    again(MOMENT, is_busy, || open(None, &mut native(path)?, &how)).map(drop)
}

/// A new, empty file, open to write; as long as it is open, nobody else may open it to write.
///
/// # Errors
/// [`Errno::EXIST`] when there is something already.
pub fn create_file(dir: BorrowedHandle<'_>, name: &OsStr) -> Result<OwnedHandle, Errno> {
    let how = How {
        rights: FILE_WRITE_DATA | FILE_READ_ATTRIBUTES,
        share: FILE_SHARE_READ | FILE_SHARE_DELETE,
        disposition: FILE_CREATE,
        options: FILE_NON_DIRECTORY_FILE,
    };
    open_at(dir, name, &how)
}

/// A file in this directory, to write.
///
/// # Errors
/// [`Errno::BUSY`] when somebody has it open who lets nobody else write.
pub fn open_file(dir: BorrowedHandle<'_>, name: &OsStr) -> Result<OwnedHandle, Errno> {
    let how = |rights| How {
        rights,
        share: ALL,
        disposition: FILE_OPEN,
        options: FILE_NON_DIRECTORY_FILE,
    };
    open_at(dir, name, &how(FILE_WRITE_DATA)).map_err(|errno| {
        // One that is going may still be kept from us; to look at it, nobody can keep us from.
        match open_at(dir, name, &how(FILE_READ_ATTRIBUTES)) {
            Err(gone @ (Errno::NOENT | Errno::GOING)) => gone,
            _ => errno,
        }
    })
}

/// Opens a file so that nobody else may move or remove it meanwhile, and makes sure that it is still
/// called so. Windows renames what a handle stands for, whatever its name is by then: without this,
/// of two who rename one name at once both would be told that it is done.
fn seize(dir: BorrowedHandle<'_>, name: &OsStr) -> Result<OwnedHandle, Errno> {
    let how = How {
        rights: DELETE | FILE_READ_ATTRIBUTES,
        share: FILE_SHARE_READ | FILE_SHARE_WRITE,
        disposition: FILE_OPEN,
        options: FILE_NON_DIRECTORY_FILE,
    };
    let seized = again(MOMENT, |errno| errno == Errno::BUSY, || open_at(dir, name, &how))?;
    if own_name(seized.as_handle())? == name { Ok(seized) } else { Err(Errno::NOENT) }
}

/// Renames a file within a directory, without replacing anything. Of all who rename one name, one
/// succeeds.
///
/// # Errors
/// [`Errno::NOENT`] when it is not there (any more), [`Errno::EXIST`] when the other name is taken,
/// [`Errno::BUSY`] when somebody keeps it open who does not share it.
pub fn rename_within(dir: BorrowedHandle<'_>, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    let seized = seize(dir, from).map_err(gone)?;
    rename(seized.as_handle(), Some(dir), &to.encode_wide().collect::<Vec<_>>())
}

/// Renames a directory (no link), without replacing anything.
///
/// # Errors
/// As for [`rename_within`]; [`Errno::ACCESS`] also when somebody keeps a thing within it open.
pub fn rename_path(from: &Path, to: &Path) -> Result<(), Errno> {
    let how = How {
        rights: DELETE | FILE_READ_ATTRIBUTES,
        share: ALL,
        disposition: FILE_OPEN,
        options: FILE_DIRECTORY_FILE,
    };
    let target = native(to)?;
    again(
        LONGER_MOMENT,
        |errno| errno == Errno::ACCESS,
        || {
            let found = again(MOMENT, is_busy, || open(None, &mut native(from)?, &how))?;
            match rename(no_link(found)?.as_handle(), None, &target) {
                // So some say that there is something already.
                Err(Errno::ACCESS) if about_path(to).is_ok() => Err(Errno::EXIST),
                done => done,
            }
        },
    )
}

fn rename(
    file: BorrowedHandle<'_>,
    dir: Option<BorrowedHandle<'_>>,
    to: &[u16],
) -> Result<(), Errno> {
    let at = std::mem::offset_of!(FILE_RENAME_INFORMATION, FileName);
    let length = (at + to.len() * 2).max(size_of::<FILE_RENAME_INFORMATION>());
    let mut told = vec![0_u64; length.div_ceil(8)];
    let information = told.as_mut_ptr().cast::<FILE_RENAME_INFORMATION>();
    let bytes = u32::try_from(to.len() * 2).map_err(|_| Errno::NAMETOOLONG)?;
    // SAFETY: there is room for the structure and for the whole name behind it; zero says that
    // nothing is replaced.
    unsafe {
        (*information).RootDirectory = dir.map_or(null_mut(), |dir| dir.as_raw_handle());
        (*information).FileNameLength = bytes;
        let name = told.as_mut_ptr().byte_add(at).cast::<u16>();
        std::ptr::copy_nonoverlapping(to.as_ptr(), name, to.len());
    }
    set(file, FileRenameInformation, &told, length)
}

/// Removes a file. Of all who remove or rename one name, one succeeds.
///
/// # Errors
/// As for [`rename_within`].
pub fn remove_file(dir: Option<BorrowedHandle<'_>>, path: &Path) -> Result<(), Errno> {
    let parent;
    let (dir, name) = match (dir, path.parent(), path.file_name()) {
        (Some(dir), ..) => (dir, path.as_os_str()),
        (None, Some(folder), Some(name)) => {
            parent = open_dir(None, folder, Access::Change)?;
            (parent.as_handle(), name)
        }
        _ => return Err(Errno::NOENT),
    };
    remove(seize(dir, name).map_err(gone)?)
}

/// What is going is as good as gone.
fn gone(errno: Errno) -> Errno {
    if errno == Errno::GOING { Errno::NOENT } else { errno }
}

/// Removes an empty directory that is no link.
///
/// # Errors
/// [`Errno::NOTEMPTY`] when it is not empty.
pub fn remove_dir(dir: Option<BorrowedHandle<'_>>, path: &Path) -> Result<(), Errno> {
    let how = How {
        rights: DELETE | FILE_READ_ATTRIBUTES,
        share: ALL,
        disposition: FILE_OPEN,
        options: FILE_DIRECTORY_FILE,
    };
    let found = again(MOMENT, |errno| errno == Errno::BUSY, || opened(dir, path, &how));
    match no_link(found.map_err(gone)?) {
        Err(Errno::LOOP) => Err(Errno::NOTDIR),
        found => remove(found?),
    }
}

fn remove(file: OwnedHandle) -> Result<(), Errno> {
    /// Not a name of these calls yet: they are of Windows 10.
    const DISPOSITION_EX: FILE_INFORMATION_CLASS = 64;
    // Its name is free at once, though others have it open.
    let flags = u64::from(FILE_DISPOSITION_DELETE | FILE_DISPOSITION_POSIX_SEMANTICS);
    match set(file.as_handle(), DISPOSITION_EX, &[flags], 4) {
        // An older system, or a file system that does not know it: it goes when all have closed it.
        Err(Errno::INVAL | Errno::NOTSUP | Errno(1) | Errno(120)) => {
            set(file.as_handle(), FileDispositionInformation, &[1], 1)
        }
        done => done,
    }
}

fn set(
    file: BorrowedHandle<'_>,
    class: FILE_INFORMATION_CLASS,
    told: &[u64],
    length: usize,
) -> Result<(), Errno> {
    let mut block = IO_STATUS_BLOCK::default();
    let length = u32::try_from(length.min(told.len() * 8)).map_err(|_| Errno::NAMETOOLONG)?;
    // SAFETY: so much is told, aligned for any structure.
    let status = unsafe {
        NtSetInformationFile(file.as_raw_handle(), &mut block, told.as_ptr().cast(), length, class)
    };
    if status < 0 { Err(Errno::of_status(status)) } else { Ok(()) }
}

/// What the kernel tells of an open file, as the structure that belongs to this class.
///
/// # Safety
/// The structure must be the one of the class, and any bytes must be one.
unsafe fn ask<T: Default>(
    file: BorrowedHandle<'_>,
    class: FILE_INFORMATION_CLASS,
) -> Result<T, Errno> {
    let mut told = T::default();
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: there is room for the structure.
    let status = unsafe {
        NtQueryInformationFile(
            file.as_raw_handle(),
            &mut block,
            (&raw mut told).cast(),
            size_of::<T>() as u32,
            class,
        )
    };
    if status < 0 { Err(Errno::of_status(status)) } else { Ok(told) }
}

fn kind(file: BorrowedHandle<'_>) -> Result<Kind, Errno> {
    /// The bit of a tag that says so.
    const IS_ANOTHER_NAME: u32 = 0x2000_0000;
    // SAFETY: it is the structure of this class.
    let tag: FILE_ATTRIBUTE_TAG_INFO = unsafe { ask(file, FileAttributeTagInformation) }?;
    let is = |attribute| tag.FileAttributes & attribute != 0;
    Ok(if is(FILE_ATTRIBUTE_REPARSE_POINT) && tag.ReparseTag & IS_ANOTHER_NAME != 0 {
        Kind::Link
    } else if is(FILE_ATTRIBUTE_DIRECTORY) {
        Kind::Directory
    } else {
        Kind::File
    })
}

/// The name that an open file has now: the last part of its path.
fn own_name(file: BorrowedHandle<'_>) -> Result<OsString, Errno> {
    let mut told = vec![0_u64; 16 * 1024];
    let mut block = IO_STATUS_BLOCK::default();
    let length = u32::try_from(told.len() * 8).unwrap_or(u32::MAX);
    // SAFETY: there is so much room.
    let status = unsafe {
        NtQueryInformationFile(
            file.as_raw_handle(),
            &mut block,
            told.as_mut_ptr().cast(),
            length,
            FileNameInformation,
        )
    };
    if status < 0 {
        return Err(Errno::of_status(status));
    }
    // First its length in bytes, then the path.
    let start = told.as_ptr().cast::<u16>();
    // SAFETY: both are within what there is room for: a path has 65,534 bytes at most.
    let path = unsafe {
        let length = (*told.as_ptr().cast::<u32>()).min(length - 8) as usize / 2;
        std::slice::from_raw_parts(start.add(2), length)
    };
    let last = path.rsplit(|unit| *unit == 0x5C).next().unwrap_or_default();
    Ok(OsString::from_wide(last))
}

/// What is known of an open file or directory.
///
/// # Errors
/// Those of the system.
pub fn about(file: BorrowedHandle<'_>) -> Result<Facts, Errno> {
    /// Units of 100 ns from 1601 to 1970.
    const EPOCH: i128 = 116_444_736_000_000_000;
    // SAFETY: they are the structures of these classes.
    let (times, names): (FILE_BASIC_INFO, FILE_STANDARD_INFO) =
        unsafe { (ask(file, FileBasicInformation)?, ask(file, FileStandardInformation)?) };
    Ok(Facts {
        kind: kind(file)?,
        modified: (i128::from(times.LastWriteTime) - EPOCH) * 100,
        owner: Owner::of(file),
        is_removed: names.DeletePending || names.NumberOfLinks == 0,
    })
}

/// The same by its path; of a link itself.
///
/// # Errors
/// Those of the system.
pub fn about_path(path: &Path) -> Result<Facts, Errno> {
    let how = |rights| How { rights, share: ALL, disposition: FILE_OPEN, options: 0 };
    let mut name = native(path)?;
    let full = open(None, &mut name, &how(FILE_READ_ATTRIBUTES | READ_CONTROL));
    let found = match full {
        Err(Errno::ACCESS) => open(None, &mut name, &how(FILE_READ_ATTRIBUTES)),
        full => full,
    };
    about(found?.as_handle())
}

/// The path of an open directory, whatever it was opened by.
///
/// # Errors
/// Those of the system.
pub fn final_path(dir: BorrowedHandle<'_>) -> Result<PathBuf, Errno> {
    let mut path = vec![0_u16; 33 * 1024];
    let room = u32::try_from(path.len()).unwrap_or(0);
    // SAFETY: there is so much room.
    let length =
        unsafe { GetFinalPathNameByHandleW(dir.as_raw_handle(), path.as_mut_ptr(), room, 0) };
    match path.get(..length as usize) {
        Some(path) if length > 0 => Ok(OsString::from_wide(path).into()),
        _ => Err(Errno::last()),
    }
}

/// What is in a directory but itself and its parent.
#[derive(Debug)]
pub struct Names<D> {
    dir: D,
    told: Vec<u64>,
    is_begun: bool,
    /// Where the next one is in what was told; none when more must be asked for.
    at: Option<usize>,
}

/// One of them.
#[derive(Debug)]
pub struct Name {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub kind: Kind,
}

impl<D: AsHandle> Names<D> {
    /// Lists a directory that was opened to be listed, once.
    pub fn of(dir: D) -> Names<D> {
        Names { dir, told: vec![0; 1024], is_begun: false, at: None }
    }

    /// The directory.
    pub fn dir(&self) -> BorrowedHandle<'_> {
        self.dir.as_handle()
    }
}

impl<D: AsHandle> Iterator for Names<D> {
    type Item = Result<Name, Errno>;

    fn next(&mut self) -> Option<Result<Name, Errno>> {
        loop {
            let at = match self.at {
                Some(at) => at,
                None => match self.ask() {
                    Ok(()) => 0,
                    Err(Errno(18)) => return None,
                    Err(errno) => return Some(Err(errno)),
                },
            };
            let name_at = at + std::mem::offset_of!(FILE_ID_BOTH_DIR_INFO, FileName);
            let room = self.told.len() * 8;
            if name_at > room {
                return None;
            }
            let start = self.told.as_ptr();
            // SAFETY: the kernel puts whole structures into the block, each aligned to 8 bytes, and
            // its name behind it; a length that would lead out of the block is cut.
            let (next, tag, attributes, name) = unsafe {
                let one = start.byte_add(at).cast::<FILE_ID_BOTH_DIR_INFO>();
                let length = ((*one).FileNameLength as usize).min(room - name_at) / 2;
                let name =
                    std::slice::from_raw_parts(start.byte_add(name_at).cast::<u16>(), length);
                ((*one).NextEntryOffset as usize, (*one).EaSize, (*one).FileAttributes, name)
            };
            self.at = (next > 0).then_some(at + next);
            let name = OsString::from_wide(name);
            if name == "." || name == ".." {
                continue;
            }
            let is = |attribute| attributes & attribute != 0;
            // Of a reparse point this is its tag.
            let kind = if is(FILE_ATTRIBUTE_REPARSE_POINT) && tag & 0x2000_0000 != 0 {
                Kind::Link
            } else if is(FILE_ATTRIBUTE_DIRECTORY) {
                Kind::Directory
            } else {
                Kind::File
            };
            return Some(Ok(Name { name, kind }));
        }
    }
}

impl<D: AsHandle> Names<D> {
    fn ask(&mut self) -> Result<(), Errno> {
        let class =
            if self.is_begun { FileIdBothDirectoryInfo } else { FileIdBothDirectoryRestartInfo };
        self.is_begun = true;
        let room = u32::try_from(self.told.len() * 8).unwrap_or(0);
        // SAFETY: there is so much room, aligned for the structure.
        let done = unsafe {
            GetFileInformationByHandleEx(
                self.dir.as_handle().as_raw_handle(),
                class,
                self.told.as_mut_ptr().cast(),
                room,
            )
        };
        if done == 0 { Err(Errno::last()) } else { Ok(()) }
    }
}
