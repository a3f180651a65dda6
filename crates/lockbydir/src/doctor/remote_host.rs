//! What only a process on another host can tell: that it is another host, its clock, and the stamps
//! that it sees.

use super::orders::PeerFacts;
use super::peer::Peer;
use super::report::{Finding, Grade};
use super::stamps::{apart, short, wall};
use super::{FileSystem, Probe, ProbeError};
use crate::os::process;
use crate::os::syscalls::about_path;

pub(super) const TRIES: &[Probe] = &[STAMPS, CLOCKS];

/// Asks the other one who it is.
pub(super) fn acquaint(here: &FileSystem, hand: &mut dyn Peer) -> Result<Finding, ProbeError> {
    let tried = "who the other one is";
    let told = PeerFacts::read(&hand.ask("who")?)?;
    let seen = format!("pid {} on {}, {} there", told.pid, told.host, told.kind);
    let own = process::here().0.boot;
    let (grade, seen, meaning) = if own != 0 && told.boot == format!("{own:x}") {
        let seen = format!("{seen}: the same kernel as here");
        (Grade::Remark, seen, "This says nothing on two hosts.")
    } else if here.is_local || told.is_local {
        (
            Grade::Remark,
            format!("{seen}: another kernel, and one of the two takes all for its own"),
            "A folder that is exported and used on its server too: the server tells other hosts' \
             locks by their host's name and change time alone. Better mount it there, too.",
        )
    } else {
        (Grade::Good, format!("{seen}: another kernel"), "What follows is between two hosts.")
    };
    Ok(Finding::new(grade, "peer", tried, seen, meaning))
}

const STAMPS: Probe = Probe {
    name: "peer-stamps",
    tried: "stamps on both hosts",
    run: |attempt, hand| {
        let room = attempt.room;
        room.create_full("probe-dated", "probe-entry")?;
        let ours = about_path(&room.at("probe-dated"))?.changed.0;
        let answer = hand.ask("stamp,probe-dated")?;
        match answer.parse::<i128>() {
            Ok(theirs) if theirs == ours => {
                attempt.good("the same", "Both judge a lock's age alike.");
            }
            Ok(theirs) => attempt.remark(
                format!("{} apart", short((theirs - ours).abs())),
                "A lock is judged by stamps with a minute to spare, and by watching.",
            ),
            Err(_) => attempt.remark("the other one sees none", "It sees what is new late."),
        }
        Ok(())
    },
};

const CLOCKS: Probe = Probe {
    name: "peer-clock",
    tried: "the other host's clock",
    run: |attempt, hand| {
        let before = wall();
        let told = PeerFacts::read(&hand.ask("who")?)?;
        let after = wall();
        // Of what it said, only so much is known: it was between order and answer.
        let (middle, doubt) = ((before + after) / 2, (after - before) / 2);
        let ahead = told.wall - middle;
        let seen = match ahead.abs() <= doubt {
            true => format!("the same, as far as {} can tell", short(doubt)),
            false => format!("{}, give or take {}", apart(ahead), short(doubt)),
        };
        let far = 60_000_000_000;
        match ahead.abs() > far {
            true => attempt.remark(
                seen,
                "Locks are safe: no two hosts' clocks are compared. Numbers of plain locks may \
                 go back, and so may the order of waiters: keep clocks by NTP, or use --fenced.",
            ),
            false => attempt.good(seen, "Numbers grow from one host to the other, too."),
        }
        Ok(())
    },
};
