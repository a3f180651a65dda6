//! A worker's process, as the crew knows it: a child of ours, or one in a guest.

use std::{
    io::{PipeWriter, Write},
    process::Child,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use lockbydir_nfs_lab::{Ended, Guest, Mouth, Process, Sink};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{contender::Outcome, store_client};
use crate::{scripted_worker, store::Store};

/// Longer than this nobody waits until a signal is felt.
const FEELING: Duration = Duration::from_secs(5);

/// One process.
#[derive(Debug)]
pub(crate) enum WorkerProcess {
    /// On this machine.
    LocalContext(Child),
    /// In a guest.
    There(Process),
}

impl WorkerProcess {
    /// A worker in a guest: its history goes into the pipe, a whole line at a time, and the store
    /// answers it.
    pub(crate) fn in_guest(
        guest: &Guest,
        command: &[&str],
        mut pipe: PipeWriter,
        store: Store,
    ) -> Outcome<Self> {
        let stdin: Arc<OnceLock<Mouth>> = Arc::default();
        let known = Arc::clone(&stdin);
        let mut begun = Vec::new();
        let hear: Sink = Box::new(move |bytes, is_trouble| {
            if is_trouble {
                eprint!("{}", String::from_utf8_lossy(bytes));
                return;
            }
            begun.extend_from_slice(bytes);
            while let Some(length) = begun.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = begun.drain(..=length).collect();
                match store_client::asked(&line) {
                    Some(token) => answer(&store, token, known.wait()),
                    // Nobody listens any more at the end.
                    None => drop(pipe.write_all(&line)),
                }
            }
        });
        let process = guest.start(command, hear).map_err(|error| error.to_string())?;
        let _ = stdin.set(process.stdin());
        Ok(Self::There(process))
    }

    /// Its PID, where it is.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::LocalContext(child) => child.id(),
            Self::There(process) => process.pid().unwrap_or(0),
        }
    }

    /// Sends a signal to it and its children. In a guest it was felt then.
    pub(crate) fn signal(&self, signal: Signal) {
        match self {
            Self::LocalContext(child) => {
                if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    // It fails only when all of the group are gone.
                    let _ = kill_process_group(group, signal);
                }
            }
            Self::There(process) => drop(process.signal(signal, FEELING)),
        }
    }

    /// Stops it, and waits until it is stopped and what it told before is heard.
    pub(crate) fn stop(&self, patience: Duration) {
        let begun = Instant::now();
        self.signal(Signal::STOP);
        if let Self::LocalContext(child) = self {
            while !scripted_worker::is_stopped(child.id()) && begun.elapsed() < patience {
                thread::yield_now();
            }
        }
        // Not to synchronise: what it told before is to be heard.
        thread::sleep(Duration::from_millis(2));
    }

    /// Its standard input ends, so it shall end.
    pub(crate) fn tell_to_end(&mut self) {
        match self {
            Self::LocalContext(child) => drop(child.stdin.take()),
            // One that is gone need not be told.
            Self::There(process) => {
                drop(process.stdin().say(format!("{}\n", store_client::END).as_bytes()))
            }
        }
    }

    /// How it ended, if it did: nothing for well.
    pub(crate) fn ended(&mut self) -> Outcome<Option<Result<(), String>>> {
        Ok(match self {
            Self::LocalContext(child) => child.try_wait()?.map(|status| match status.success() {
                true => Ok(()),
                false => Err(status.to_string()),
            }),
            Self::There(process) => process.ended().map(result),
        })
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Outcome<Result<(), String>> {
        Ok(match self {
            Self::LocalContext(child) => match child.wait()? {
                status if status.success() => Ok(()),
                status => Err(status.to_string()),
            },
            Self::There(process) => {
                result(process.wait(Duration::from_secs(120)).unwrap_or(Ended::Lost))
            }
        })
    }
}

fn result(ended: Ended) -> Result<(), String> {
    match ended {
        Ended::Code(0) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn answer(store: &Store, token: u64, stdin: &Mouth) {
    let answer = match store.write(token) {
        Ok(answer) => {
            let word = if answer.accepted { "accepted" } else { "refused" };
            format!("{word} {}\n", answer.moment)
        }
        Err(error) => format!("failed {error}\n"),
    };
    // Who is gone hears nothing.
    let _ = stdin.say(answer.as_bytes());
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if let Self::LocalContext(child) = self
            && matches!(child.try_wait(), Ok(None))
        {
            self.signal(Signal::KILL);
            if let Self::LocalContext(child) = self {
                let _ = child.wait();
            }
        }
    }
}
