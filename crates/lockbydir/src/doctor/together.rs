//! Probes of what one process notices of another: changes, flock, events, pipes.

use std::time::{Duration, Instant};

use super::orders::failure;
use super::peer::Peer;
use super::probe::{Probe, Try};
use super::probe_error::{ProbeError, describe};
use super::report::Other;
use super::stamps::short;
use crate::os::{self, DirWatcher, Errno};

pub(super) const PROBES: &[Probe] = &[LISTING, FLOCK, EVENTS, PIPES];

/// The number of changes that are watched.
const CHANGES: usize = 20;
/// A change that is not seen after this time counts as never seen.
pub(super) const SEE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long changes are watched at most.
const LISTING_TIME: Duration = Duration::from_secs(6);
/// An event that arrives later than this counts as missing.
const EVENT_TIMEOUT: Duration = Duration::from_secs(1);

const LISTING: Probe = Probe {
    name: "listing",
    tried: "see the other's rename",
    run: |attempt, peer| {
        let sandbox = attempt.sandbox;
        let mut waits = Vec::new();
        let mut answers = Vec::new();
        let begun = Instant::now();
        let mut rounds = 0..CHANGES;
        while let Some(nth) = rounds.next().filter(|_| begun.elapsed() < LISTING_TIME) {
            let (from, to) = (format!("probe-see-{nth}"), format!("probe-seen-{nth}"));
            sandbox.create(&from)?;
            let asked = Instant::now();
            let answer = peer.ask(&format!("rename,{from},{to}"))?;
            if let Some(why) = failure(&answer) {
                let seen = format!("the peer cannot rename: {why}");
                attempt
                    .fatal(seen, "It could not see a lock, or would not be allowed to take one.");
                return Ok(());
            }
            let answered = Instant::now();
            answers.push(answered - asked);
            let mut looks = 0;
            loop {
                let names = sandbox.list()?;
                if names.contains(&to) && !names.contains(&from) {
                    break;
                }
                looks += 1;
                if answered.elapsed() > SEE_TIMEOUT {
                    attempt.fatal(
                        format!("not seen after {} s", SEE_TIMEOUT.as_secs()),
                        "A holder that renews would look expired, and its lock would not be found.",
                    );
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            waits.push(if looks == 0 { Duration::ZERO } else { answered.elapsed() });
        }
        let worst = waits.iter().max().copied().unwrap_or_default();
        let late = waits.iter().filter(|wait| !wait.is_zero()).count();
        if late > 0 {
            let seen = format!("{late} of {} late, up to {}", waits.len(), time(worst));
            attempt.remark(seen, "A release is seen that much later; locks are safe.");
        } else {
            answers.sort_unstable();
            let seen = match peer.other() {
                Other::Host => format!(
                    "at once; order and answer take {}, at most {}",
                    time(answers[answers.len() / 2]),
                    time(answers[answers.len() - 1])
                ),
                _ => format!("{0} of {0} at once", waits.len()),
            };
            attempt.good(seen, "A look shows how a lock stands.");
        }
        Ok(())
    },
};

const FLOCK: Probe = Probe {
    name: "flock",
    tried: "flock(2)",
    run: |attempt, peer| {
        const OTHERS: &str = "Programs that lock by flock do not exclude each other there; ours \
                              needs none.";
        let sandbox = attempt.sandbox;
        sandbox.create("probe-flock")?;
        let held = match os::flock(sandbox.open(), "probe-flock".as_ref()) {
            Ok(Some(held)) => held,
            Ok(None) => {
                attempt.remark("locked by somebody", "Ours needs none.");
                return Ok(());
            }
            Err(Errno::NOTSUP) if cfg!(windows) => {
                attempt.untried("not on this system", "Ours needs none.");
                return Ok(());
            }
            Err(errno) => {
                attempt.remark(format!("none: {}", describe(errno)), OTHERS);
                return Ok(());
            }
        };
        let answer = peer.ask("flock,probe-flock")?;
        drop(held);
        match &*answer {
            "taken" => attempt.good("refused while it is held", "Ours needs none; others may."),
            "got" => attempt.remark("both got it", OTHERS),
            _ => {
                let why = failure(&answer).unwrap_or_default();
                attempt.remark(format!("none for the peer: {why}"), OTHERS);
            }
        }
        Ok(())
    },
};

const EVENTS: Probe = Probe {
    name: "events",
    tried: "inotify",
    run: |attempt, peer| {
        let sandbox = attempt.sandbox;
        sandbox.create("probe-event")?;
        let watcher = match DirWatcher::new()
            .and_then(|watcher| watcher.watch(sandbox.path()).map(|_| watcher))
        {
            Ok(watcher) => watcher,
            Err(Errno::NOTSUP) if cfg!(not(target_os = "linux")) => {
                attempt.untried("not on this system", "Ours needs none.");
                return Ok(());
            }
            Err(errno) => {
                attempt.untried(format!("not available: {}", describe(errno)), "Ours needs none.");
                return Ok(());
            }
        };
        let answer = peer.ask("rename,probe-event,probe-event-b")?;
        match failure(&answer) {
            Some(why) => attempt.untried(why, "Ours needs none."),
            None if os::sleep_on(&[watcher.source()], EVENT_TIMEOUT).is_some() => {
                attempt.good("heard", "Ours needs none.")
            }
            None => attempt.remark(
                "not heard",
                "Programs that wait for events there never wake; ours also polls.",
            ),
        }
        Ok(())
    },
};

const PIPES: Probe = Probe {
    name: "pipes",
    tried: "named pipes",
    run: |attempt, peer| {
        const LOOKS: &str = "A release does not wake a waiter, which polls instead: the first in the queue \
                             20 times a second.";
        const SELDOM: &str = "A release does not wake a waiter, which polls instead: the first in the queue \
                              once a second.";
        match try_pipe(attempt, peer) {
            Ok(Ok(())) => {
                attempt.good("heard", "A release wakes the next in the queue at once.");
                Ok(())
            }
            Ok(Err(why)) if peer.other() == Other::Host => {
                let seen = format!("not from another host ({})", why.to_lowercase());
                attempt.remark(seen, LOOKS);
                Ok(())
            }
            Ok(Err(why)) => {
                attempt.remark(why, SELDOM);
                Ok(())
            }
            Err(ProbeError::Failed(Errno::NOTSUP)) if cfg!(windows) => {
                let meaning = "Events of the kernel wake instead.";
                attempt.untried("not on this system", meaning);
                Ok(())
            }
            Err(ProbeError::Failed(errno)) => {
                attempt.remark(format!("none can be made: {}", describe(errno)), LOOKS);
                Ok(())
            }
            Err(error) => Err(error),
        }
    },
};

/// Tries whether data from the peer arrives through a pipe; if not, returns why.
#[cfg(unix)]
fn try_pipe(attempt: &Try<'_>, peer: &mut dyn Peer) -> Result<Result<(), String>, ProbeError> {
    use std::os::fd::AsFd;

    let sandbox = attempt.sandbox;
    let name = "probe-pipe".as_ref();
    crate::os::syscalls::mkfifoat(sandbox.open(), name, 0o600)?;
    let reader = os::open_pipe_at(sandbox.open(), name, os::PipeEnd::Read)?;
    let answer = peer.ask("ring,probe-pipe")?;
    if let Some(why) = failure(&answer) {
        return Ok(Err(why));
    }
    os::sleep_on(&[reader.as_fd()], EVENT_TIMEOUT);
    let received = os::read(&reader, &mut [0; 8]);
    Ok(if matches!(received, Ok(1..)) { Ok(()) } else { Err("not heard".into()) })
}

#[cfg(windows)]
fn try_pipe(_attempt: &Try<'_>, _hand: &mut dyn Peer) -> Result<Result<(), String>, ProbeError> {
    Err(Errno::NOTSUP.into())
}

fn time(duration: Duration) -> String {
    short(i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX))
}
