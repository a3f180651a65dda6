//! A common clock of all guests: a page of memory that they share with the host, in which the host writes
//! the time, some ten thousand times a second.
//!
//! A guest's own clocks began at its boot and run at their own rate. The common clock orders the events of
//! two guests: it is one number, which only grows. A reading may be a little old. So a moment that is read
//! *before* a request never lies after it; and a program that records the beginning of an interval after
//! it began, and its end before it ended, makes the interval shorter, not longer. [`Clock::stops`] returns
//! the times in which the clock stood still for long.
//!
//! The guests map the memory of a PCI device (`ivshmem-plain`), because it cannot be read otherwise: this
//! is the only `unsafe` code here.

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

/// The size of the shared memory in bytes; the smallest that the device permits.
pub(crate) const SIZE: usize = 4096;
/// The time for which the host waits before it writes the time again.
const REST: Duration = Duration::from_micros(50);
/// The shortest standstill that is recorded, in nanoseconds.
const LONG: u64 = 10_000_000;
/// The device's vendor and device ids.
const DEVICE: (&str, &str) = ("0x1af4", "0x1110");

/// The host's side of the clock.
#[derive(Debug)]
pub struct Clock {
    over: Arc<AtomicBool>,
    stops: Arc<Mutex<Vec<(u64, u64)>>>,
    writer: Option<JoinHandle<()>>,
}

/// Returns the nanoseconds of `CLOCK_BOOTTIME` of this kernel.
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
                // Other processes may use the whole machine. Without root this fails, and the thread
                // shares it.
                let _ = setpriority_process(Some(gettid()), -20);
                let mut last = boot();
                while !over.load(Ordering::Relaxed) {
                    let now = boot();
                    // Twice: a reader that reads the second copy before the first, and finds them
                    // equal, has a whole value.
                    for place in [0, 8] {
                        let _ = file.write_all_at(&now.to_le_bytes(), place);
                    }
                    let ahead = nanos(ClockId::Realtime) - now;
                    let _ = file.write_all_at(&ahead.to_le_bytes(), 16);
                    if now - last > LONG {
                        stops.lock().unwrap_or_else(PoisonError::into_inner).push((last, now));
                    }
                    last = now;
                    // Not to synchronise: the granularity of the clock.
                    thread::sleep(REST);
                }
            }
        });
        Ok(Self { over, stops, writer: Some(writer) })
    }

    /// Returns the spans in which the clock stood still for more than 10 ms because the machine was busy,
    /// since the last call of this function.
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

/// The guests' side of the clock.
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
    /// If there is none, or without root: then this is not a guest of the lab.
    pub fn open() -> io::Result<Self> {
        let device = device()?.ok_or(io::ErrorKind::NotFound)?;
        let memory = File::open(device.join("resource2"))?;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let mapped =
            unsafe { mmap(ptr::null_mut(), SIZE, ProtFlags::READ, MapFlags::SHARED, &memory, 0) }?;
        Ok(Self(mapped.cast()))
    }

    /// Returns the time, by the host's boot clock, in nanoseconds.
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

    /// Sets this kernel's wall clock to the host's, as hosts that share a folder do.
    ///
    /// # Errors
    /// Without root.
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
