//! When all have released or given up, nothing is there that would block a plain `mkdir`.

use std::sync::Barrier;
use std::thread;

use lockbydir::{Interrupt, Patience};

use super::{World, jobs, same_jobs, secs, see_in_queue};

pub(crate) fn a_waiter_gives_up_while_the_lock_is_released<W: World>(world: &W) {
    for round in 0..100 {
        let guard = jobs(world).timeout(secs(60)).acquire().unwrap();
        let interrupt = Interrupt::new();
        let lock = same_jobs(world);
        let waiting = lock.clone().patience(Patience::FOREVER).interrupt(interrupt.clone());
        let at_once = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| drop(waiting.acquire()));
            see_in_queue(&lock, 1);
            scope.spawn(|| {
                at_once.wait();
                interrupt.raise();
            });
            at_once.wait();
            // So the two meet in each of their steps, in one round or another.
            (0..round * 300).for_each(|_| std::hint::spin_loop());
            guard.release().unwrap();
        });
        world.assert_clean();
    }
}
