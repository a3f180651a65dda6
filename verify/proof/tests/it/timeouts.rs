//! Timeouts, which the holder chooses, and patience, which the waiter chooses.

use std::time::Duration;

use lockbydir_proof::clock;

use crate::stage::{Stage, assert_followed};

#[test]
fn a_waiter_with_a_1_s_timeout_respects_a_live_30_s_lock() {
    let stage = Stage::on_disk();
    let mut holder = stage.worker("long", "timeout_ms=30000");
    let mut waiter = stage.worker("long", "timeout_ms=1000 patience_ms=2500");
    holder.hold("acquire");

    let answer = waiter.ask("acquire");
    let broken = waiter.ask("break-expired");

    assert_eq!((answer.as_str(), broken.as_str()), ("patience-over", "still-held"));
    assert_eq!(holder.ask("is-held"), "true");
    assert_eq!(holder.ask("release"), "ok");
    stage.assert_empty();
}

#[test]
fn a_waiter_with_a_30_s_timeout_takes_an_expired_1_s_lock() {
    let stage = Stage::on_disk();
    let mut holder = stage.worker("short", "timeout_ms=1000");
    let mut waiter = stage.worker("short", "timeout_ms=30000 patience_ms=60000");

    let before = clock::now();
    holder.hold("acquire");
    let taken = waiter.hold("acquire");

    assert_eq!(taken.how, "after-expiry");
    assert_followed(Duration::from_nanos(taken.moment - before), Duration::from_secs(1));
    assert_eq!(holder.ask("is-held"), "false");
    assert_eq!(holder.ask("release"), "lost");
    assert_eq!(waiter.ask("release"), "ok");
    stage.assert_empty();
}
