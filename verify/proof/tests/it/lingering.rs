//! A lingering lock, which is removed with its handle.

use std::time::Duration;

use lockbydir::Lock;

use crate::stage::Stage;

#[test]
fn dropping_a_handle_after_release_removes_the_lingering_lock() {
    let stage = Stage::on_tmpfs();
    for round in 1..=1000 {
        let lock = Lock::new(stage.path("brief")).linger(Duration::from_secs(10));
        lock.acquire().expect("the lock").release().expect("its release");

        drop(lock);

        assert_eq!(stage.names(), Vec::<String>::new(), "left behind in round {round}");
    }
}
