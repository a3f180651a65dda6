//! The figures of a run as JSON.

use serde_json::{Value, json};

use super::{Conclusion, Report, quantile};
use crate::torture::Ground;

impl Report {
    fn etcd_json(&self) -> Option<Value> {
        (self.plan.ground == Ground::Etcd).then(|| {
            json!({
                "members_killed": self.done.members,
                "leaders_stopped": self.done.leaders,
                "members_cut_off": self.done.cuts,
                "calm_s": self.calm.lasted.as_secs_f64(),
            })
        })
    }

    fn nfs_json(&self) -> Option<Value> {
        (self.plan.ground == Ground::Nfs).then(|| {
            let millis =
                |host: usize, share| quantile(&self.handoffs[host], share).as_secs_f64() * 1e3;
            json!({
                "mount": self.plan.mount,
                "hosts_frozen": self.done.frozen,
                "hosts_without_power": self.done.powered_off,
                "servers_killed": self.done.servers,
                "times_answers_were_lost": self.done.losses,
                "clock_stood_still_s": self.longest_stop().as_secs_f64(),
                "nfs_calls": self.done.calls,
                "calm_s": self.calm.lasted.as_secs_f64(),
                "handoffs_between_hosts": self.handoffs[1].len(),
                "handoff_between_hosts_ms": [millis(1, 0.5), millis(1, 0.9)],
                "handoff_on_a_host_ms": [millis(0, 0.5), millis(0, 0.9)],
            })
        })
    }

    fn set_json(&self) -> Option<Value> {
        let kept = self.kept?;
        Some(json!({ "care": self.plan.set, "added": kept.promised, "lost": kept.lost }))
    }

    /// All figures.
    #[must_use]
    pub fn json(&self) -> Value {
        let (outcome, promise, how) = match self.conclusion() {
            Conclusion::Kept => ("kept", None, None),
            Conclusion::Broken(promise, how) => ("broken", Some(promise), Some(how)),
            Conclusion::Invalid(why) => ("invalid", None, Some(why)),
        };
        json!({
            "lock": self.lock(),
            "dir": self.plan.dir,
            "seed": self.plan.seed,
            "processes": self.plan.processes,
            "timeout_s": self.plan.timeout.as_secs_f64(),
            "faults": self.plan.faults.iter().map(|fault| fault.word()).collect::<Vec<_>>(),
            "seconds": self.took.as_secs_f64(),
            "holds": self.record.holds.len(),
            "contended_handoffs": self.contended,
            "rate": self.rate(),
            "killed": self.record.killed,
            "stopped": self.record.stopped,
            "outlived": self.record.outlived,
            "losses_reported": self.record.lost,
            "gave_up": self.record.gave_up,
            "failed_calls": self.record.failed,
            "disks_filled": self.done.full,
            "removed_by_hand": self.done.removed,
            "permissions_taken": self.done.closed,
            "set": self.set_json(),
            "etcd": self.etcd_json(),
            "nfs": self.nfs_json(),
            "late_writes": self.late.tried,
            "late_writes_overtaken": self.late.overtaken,
            "late_writes_refused": self.late.refused,
            "lost_increments": self.lost_increments,
            "longest_stall_s": self.stall.as_secs_f64(),
            "allowed_stall_s": self.plan.longest_stall().as_secs_f64(),
            "overlaps": self.verdict.overlaps.len(),
            "token_regressions": self.verdict.regressions.len(),
            "old_writes_taken": self.verdict.undercut.len(),
            "valid_writes_refused": self.verdict.shut_out.len(),
            "robbed": self.verdict.robbed.len(),
            "lies": self.verdict.lies.len(),
            "first_overlap_s": self.first_overlap.map(|(time, _)| time.as_secs_f64()),
            "first_overlap_holds": self.first_overlap.map(|(_, holds)| holds),
            "outcome": outcome,
            "promise": promise,
            "how": how,
        })
    }
}
