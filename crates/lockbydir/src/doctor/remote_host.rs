//! Probes that need a process on another host: that it is another host, its clock, and the stamps
//! that it sees.

use super::file_system::FileSystem;
use super::finding::{Finding, Grade};
use super::orders::PeerFacts;
use super::peer::Peer;
use super::probe::Probe;
use super::probe_error::ProbeError;
use super::sandbox::wall;
use super::stamps::{apart, short};
use crate::os::process;
use crate::os::syscalls::about_path;

pub(super) const PROBES: &[Probe] = &[STAMPS, CLOCKS];

/// Asks the peer for its identity.
pub(super) fn identify_peer(here: &FileSystem, peer: &mut dyn Peer) -> Result<Finding, ProbeError> {
    let tried = "who the peer is";
    let facts = PeerFacts::read(&peer.ask("who")?)?;
    let seen = format!("pid {} on {}, {} there", facts.pid, facts.host, facts.kind);
    let own = process::here().0.boot;
    let (grade, seen, meaning) = if own != 0 && facts.boot == format!("{own:x}") {
        let seen = format!("{seen}: the same kernel as here");
        (Grade::Remark, seen, "This says nothing on two hosts.")
    } else if here.is_local || facts.is_local {
        (
            Grade::Remark,
            format!("{seen}: another kernel, and one of the two takes every lock for its own"),
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
    tried: "timestamps on both hosts",
    run: |attempt, peer| {
        let sandbox = attempt.sandbox;
        sandbox.create_full("probe-dated", "probe-entry")?;
        let ours = about_path(&sandbox.at("probe-dated"))?.changed.0;
        let answer = peer.ask("stamp,probe-dated")?;
        match answer.parse::<i128>() {
            Ok(theirs) if theirs == ours => {
                attempt.good("the same", "Both hosts judge a lock's age alike.");
            }
            Ok(theirs) => attempt.remark(
                format!("{} apart", short((theirs - ours).abs())),
                "A lock is judged by timestamps with a minute of slack, and by watching.",
            ),
            Err(_) => attempt.remark("the peer sees none", "It sees new entries late."),
        }
        Ok(())
    },
};

const CLOCKS: Probe = Probe {
    name: "peer-clock",
    tried: "the other host's clock",
    run: |attempt, peer| {
        let before = wall();
        let facts = PeerFacts::read(&peer.ask("who")?)?;
        let after = wall();
        // The peer read its clock at some time between the order and the answer.
        let (middle, doubt) = ((before + after) / 2, (after - before) / 2);
        let ahead = facts.wall - middle;
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
