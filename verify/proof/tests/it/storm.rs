//! A storm: many processes join, wait with random patience, are killed, stopped, continued and interrupted
//! at random moments, and the queue must still move.

use std::time::Duration;

use lockbydir_proof::{
    STORM,
    torture::{self, Plan, fault::Fault},
};

use crate::stage::Stage;

fn the_queue_moves(stage: &Stage) {
    let plan = Plan {
        processes: usize::try_from(STORM.0.number()).expect("a few"),
        time: Duration::from_secs(STORM.1.number()),
        timeout: Duration::from_millis(100),
        faults: vec![Fault::Kill, Fault::Stop],
        ..stage.plan()
    };

    let report = torture::run(&plan).expect("a run");

    println!("{report}");
    assert!(report.record.gave_up > 0, "nobody lost patience");
    report.assert_kept();
    stage.assert_empty();
}

#[test]
fn in_a_storm_the_queue_moves_on_disk() {
    the_queue_moves(&Stage::on_disk());
}

#[test]
fn in_a_storm_the_queue_moves_on_tmpfs() {
    the_queue_moves(&Stage::on_tmpfs());
}
