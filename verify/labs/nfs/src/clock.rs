//! One clock for all guests: a page of memory that they share with the host, in which the host
//! writes the time, some ten thousand times a second.
//!
//! A guest's own clocks began at its boot and run at their own pace. By this one, what happened in
//! two guests has an order: it is one number, which only grows. What is read may be a little old.
//! So a moment that is read *before* something is asked for never lies after it; and who notes the
//! beginning of a time after it began, and its end before it ended, makes it shorter, not longer.
//! When it stood still for long is told by [`Clock::stops`].
//!
//! The guests' side maps the memory of a PCI device (`ivshmem-plain`), for it cannot be read
//! otherwise: the only `unsafe` code here.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    mm::{MapFlags, ProtFlags, mmap},
    process::setpriority_process,
    thread::gettid,
    time::{ClockId, Timespec, clock_gettime, clock_settime},
};

use crate::Outcome;

/// The memory that is shared; the smallest that the device can have.
pub(crate) const SIZE: usize = 4096;
/// How long the host rests before it writes the time again.
const REST: Duration = Duration::from_micros(50);
/// A longer time is noted, in nanoseconds.
const LONG: u64 = 10_000_000;
/// The device's vendor and kind.
const DEVICE: (&str, &str) = ("0x1af4", "0x1110");

/// The host's side.
#[derive(Debug)]
pub struct Clock {
    over: Arc<AtomicBool>,
    stops: Arc<Mutex<Vec<(u64, u64)>>>,
    writer: Option<JoinHandle<()>>,
}

/// Nanoseconds of `CLOCK_BOOTTIME` of this kernel.
#[must_use]
pub fn boot() -> u64 {
    nanos(ClockId::Boottime)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

impl Clock {
    /// Writes the time into a new file, until it is dropped.
    pub(crate) fn start(file: &Path) -> Outcome<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(file)?;
        file.set_len(SIZE as u64)?;
        let (over, stops) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<_>>>::default());
        let writer = thread::spawn({
            let (over, stops) = (Arc::clone(&over), Arc::clone(&stops));
            move || {
                // Others may want all of the machine. Who is not root shares it.
                let _ = setpriority_process(Some(gettid()), -20);
                let mut last = boot();
                while !over.load(Ordering::Relaxed) {
                    let now = boot();
                    // Twice: who reads the second before the first, and the same, read it whole.
                    for place in [0, 8] {
                        let _ = file.write_all_at(&now.to_le_bytes(), place);
                    }
                    let ahead = nanos(ClockId::Realtime) - now;
                    let _ = file.write_all_at(&ahead.to_le_bytes(), 16);
                    if now - last > LONG {
                        stops.lock().unwrap_or_else(PoisonError::into_inner).push((last, now));
                    }
                    last = now;
                    // Not to synchronise: how fine the clock is.
                    thread::sleep(REST);
                }
            }
        });
        Ok(Self { over, stops, writer: Some(writer) })
    }

    /// From when to when it stood still for more than 10 ms, since this was last asked: the machine
    /// had other things to do.
    #[must_use]
    pub fn stops(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut *self.stops.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The guests' side.
#[derive(Debug)]
pub struct Face(*const u64);

// SAFETY: it is only read, one whole number at a time, and stays mapped for ever.
unsafe impl Send for Face {}
// SAFETY: the same.
unsafe impl Sync for Face {}

impl Face {
    /// Finds the device and maps its memory.
    ///
    /// # Errors
    /// When there is none, or not root: one is not in a guest of the lab.
    pub fn open() -> io::Result<Self> {
        let device = device()?.ok_or(io::ErrorKind::NotFound)?;
        let memory = File::open(device.join("resource2"))?;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let mapped =
            unsafe { mmap(ptr::null_mut(), SIZE, ProtFlags::READ, MapFlags::SHARED, &memory, 0) }?;
        Ok(Self(mapped.cast()))
    }

    /// The time, by the host's boot clock, in nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        loop {
            let second = self.read(1);
            if second == self.read(0) {
                return second;
            }
            std::hint::spin_loop();
        }
    }

    /// Sets this kernel's wall clock by the host's, as hosts do that share a folder.
    ///
    /// # Errors
    /// When not root.
    pub fn set_wall_clock(&self) -> Outcome<()> {
        let wall = self.now() + self.read(2);
        let seconds = i64::try_from(wall / 1_000_000_000)?;
        let rest = i64::try_from(wall % 1_000_000_000)?;
        Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: rest })?)
    }

    fn read(&self, at: usize) -> u64 {
        // SAFETY: it lies in the mapping and is aligned; others write there, hence volatile.
        u64::from_le(unsafe { self.0.add(at).read_volatile() })
    }
}

fn device() -> io::Result<Option<PathBuf>> {
    for device in fs::read_dir("/sys/bus/pci/devices")? {
        let path = device?.path();
        let is = |file: &str, value| {
            fs::read_to_string(path.join(file)).is_ok_and(|found| found.trim() == value)
        };
        if is("vendor", DEVICE.0) && is("device", DEVICE.1) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
