//! What one sees and hears of the other: changes, flock, events, pipes.

use std::time::{Duration, Instant};

use super::orders::failure;
use super::peer::Peer;
use super::stamps::short;
use super::{Other, Probe, ProbeError, Try, said};
use crate::os::{self, DirWatcher, Errno};

pub(super) const TRIES: &[Probe] = &[LISTING, FLOCK, EVENTS, PIPES];

/// Changes that are watched.
const CHANGES: usize = 20;
/// Who does not see a change after so long does not see it.
pub(super) const UNSEEN: Duration = Duration::from_secs(5);
/// Changes are watched for so long at most.
const LONGEST: Duration = Duration::from_secs(6);
/// An event that comes later is none.
const UNHEARD: Duration = Duration::from_secs(1);

const LISTING: Probe = Probe {
    name: "listing",
    tried: "see the other's rename",
    run: |attempt, hand| {
        let room = attempt.room;
        let mut waits = Vec::new();
        let mut answers = Vec::new();
        let begun = Instant::now();
        let mut rounds = 0..CHANGES;
        while let Some(nth) = rounds.next().filter(|_| begun.elapsed() < LONGEST) {
            let (from, to) = (format!("probe-see-{nth}"), format!("probe-seen-{nth}"));
            room.create(&from)?;
            let asked = Instant::now();
            let answer = hand.ask(&format!("rename,{from},{to}"))?;
            if let Some(why) = failure(&answer) {
                let seen = format!("the other one cannot rename: {why}");
                attempt.fatal(seen, "It would not see, or not be let, take a lock.");
                return Ok(());
            }
            let answered = Instant::now();
            answers.push(answered - asked);
            let mut looks = 0;
            loop {
                let names = room.list()?;
                if names.contains(&to) && !names.contains(&from) {
                    break;
                }
                looks += 1;
                if answered.elapsed() > UNSEEN {
                    attempt.fatal(
                        format!("not seen after {} s", UNSEEN.as_secs()),
                        "A holder that renews would look expired, and its lock be sought in vain.",
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
            attempt.remark(seen, "A release is seen so much later; locks are safe.");
        } else {
            answers.sort_unstable();
            let seen = match hand.other() {
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
    run: |attempt, hand| {
        const OTHERS: &str = "Programs that lock by flock do not exclude each other there; ours \
                              needs none.";
        let room = attempt.room;
        room.create("probe-flock")?;
        let held = match os::flock(room.open(), "probe-flock".as_ref()) {
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
                attempt.remark(format!("none: {}", said(errno)), OTHERS);
                return Ok(());
            }
        };
        let answer = hand.ask("flock,probe-flock")?;
        drop(held);
        match &*answer {
            "taken" => attempt.good("refused while it is held", "Ours needs none; others may."),
            "got" => attempt.remark("both got it", OTHERS),
            _ => {
                let why = failure(&answer).unwrap_or_default();
                attempt.remark(format!("none for the other one: {why}"), OTHERS);
            }
        }
        Ok(())
    },
};

const EVENTS: Probe = Probe {
    name: "events",
    tried: "inotify",
    run: |attempt, hand| {
        let room = attempt.room;
        room.create("probe-event")?;
        let ears = match DirWatcher::new().and_then(|ears| ears.listen(room.path()).map(|_| ears)) {
            Ok(ears) => ears,
            Err(Errno::NOTSUP) if cfg!(not(target_os = "linux")) => {
                attempt.untried("not on this system", "Ours needs none.");
                return Ok(());
            }
            Err(errno) => {
                attempt.untried(format!("none to be had: {}", said(errno)), "Ours needs none.");
                return Ok(());
            }
        };
        let answer = hand.ask("rename,probe-event,probe-event-b")?;
        match failure(&answer) {
            Some(why) => attempt.untried(why, "Ours needs none."),
            None if os::sleep_on(&[ears.source()], UNHEARD).is_some() => {
                attempt.good("heard", "Ours needs none.")
            }
            None => attempt.remark(
                "not heard",
                "Programs that wait for events there wait in vain; ours looks besides.",
            ),
        }
        Ok(())
    },
};

const PIPES: Probe = Probe {
    name: "pipes",
    tried: "named pipes",
    run: |attempt, hand| {
        const LOOKS: &str = "A waiter is not woken by a release, but looks: the first in the queue \
                             20 times a second.";
        const SELDOM: &str = "A waiter is not woken by a release, but looks: the first in the queue \
                              once a second.";
        match rung(attempt, hand) {
            Ok(Ok(())) => {
                attempt.good("heard", "A release wakes the next in the queue at once.");
                Ok(())
            }
            Ok(Err(why)) if hand.other() == Other::Host => {
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
                attempt.remark(format!("none can be made: {}", said(errno)), LOOKS);
                Ok(())
            }
            Err(trouble) => Err(trouble),
        }
    },
};

/// Was the pipe heard, and if not, why?
#[cfg(unix)]
fn rung(attempt: &Try<'_>, hand: &mut dyn Peer) -> Result<Result<(), String>, ProbeError> {
    use std::os::fd::AsFd;

    let room = attempt.room;
    let name = "probe-pipe".as_ref();
    crate::os::syscalls::mkfifoat(room.open(), name, 0o600)?;
    let ear = os::open_pipe_at(room.open(), name, os::PipeEnd::Read)?;
    let answer = hand.ask("ring,probe-pipe")?;
    if let Some(why) = failure(&answer) {
        return Ok(Err(why));
    }
    os::sleep_on(&[ear.as_fd()], UNHEARD);
    let heard = os::read(&ear, &mut [0; 8]);
    Ok(if matches!(heard, Ok(1..)) { Ok(()) } else { Err("not heard".into()) })
}

#[cfg(windows)]
fn rung(_attempt: &Try<'_>, _hand: &mut dyn Peer) -> Result<Result<(), String>, ProbeError> {
    Err(Errno::NOTSUP.into())
}

fn time(duration: Duration) -> String {
    short(i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX))
}
