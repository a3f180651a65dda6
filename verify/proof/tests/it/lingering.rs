//! What lingers goes with its handle.

use std::time::Duration;

use lockbydir::Lock;

use crate::stage::Stage;

#[test]
fn a_handle_dropped_right_after_its_release_takes_what_lingered_with_it() {
    let stage = Stage::on_tmpfs();
    for round in 1..=1000 {
        let lock = Lock::new(stage.path("brief")).linger(Duration::from_secs(10));
        lock.acquire().expect("the lock").release().expect("its release");

        drop(lock);

        assert_eq!(stage.names(), Vec::<String>::new(), "left behind in round {round}");
    }
}
