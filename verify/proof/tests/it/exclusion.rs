//! Many processes, one lock, one counter.

use std::time::Duration;

use lockbydir_proof::{
    ACQUISITIONS, COUNTERS,
    torture::{
        self, Plan,
        report::{Conclusion, Report},
    },
};
use lockbydir_protocol::promise;

use crate::stage::Stage;

fn counting(stage: &Stage) -> Plan {
    let processes = COUNTERS.number();
    Plan {
        processes: usize::try_from(processes).expect("a few"),
        handoffs: processes * ACQUISITIONS.number(),
        time: Duration::from_secs(600),
        timeout: Duration::from_secs(30),
        counting: true,
        restless: false,
        ..stage.plan()
    }
}

fn many_processes_count(stage: &Stage, plan: &Plan) -> Report {
    let report = torture::run(plan).expect("a run");

    println!("{report}");
    // A lost wake-up costs a tenth of a second, on a busy machine, too: most handoffs must not depend on
    // polling.
    let gaps = report.record.gaps();
    let median = gaps[gaps.len() / 2];
    println!("  half of the handoffs took less than {median:.1?}");
    assert!(median < Duration::from_millis(90), "half of the handoffs took {median:?} and more");
    stage.assert_empty();
    report
}

#[test]
fn many_processes_lose_no_increment_and_never_overlap_on_disk() {
    let stage = Stage::on_disk();

    let report = many_processes_count(&stage, &counting(&stage));

    assert_eq!(report.lost_increments, Some(0));
    report.assert_kept();
}

#[test]
fn many_processes_lose_no_increment_and_never_overlap_on_tmpfs() {
    let stage = Stage::on_tmpfs();

    let report = many_processes_count(&stage, &counting(&stage));

    assert_eq!(report.lost_increments, Some(0));
    report.assert_kept();
}

#[test]
fn lingering_processes_lose_no_increment_and_never_overlap() {
    let stage = Stage::on_disk();
    let plan = Plan { linger: Duration::from_millis(50), ..counting(&stage) };

    let report = many_processes_count(&stage, &plan);

    assert_eq!(report.lost_increments, Some(0));
    report.assert_kept();
}

#[test]
fn a_fenced_lock_loses_no_increment_and_leaves_only_its_directory() {
    let stage = Stage::on_tmpfs();
    let plan = Plan { fenced: true, ..counting(&stage) };

    let report = many_processes_count(&stage, &plan);

    assert_eq!(report.lost_increments, Some(0));
    report.assert_kept();
}

#[test]
fn many_processes_with_a_lock_each_lose_increments_and_overlap() {
    let stage = Stage::on_tmpfs();
    let plan = Plan { alone: true, ..counting(&stage) };

    let report = many_processes_count(&stage, &plan);

    assert!(report.lost_increments > Some(0), "the counter would not show an intruder");
    assert!(!report.verdict.overlaps.is_empty(), "the judge would not see an intruder");
    assert!(
        matches!(report.conclusion(), Conclusion::Broken(promise::AT_MOST_ONE_VALID_HOLDER, _)),
        "the report would not tell of an intruder"
    );
}
