//! Faults in rounds: in each, every fault happens once, in an order by dice.

use super::faults::Fault;
use crate::chance::Dice;

/// What is left of this round.
#[derive(Debug, Default)]
pub(crate) struct Round(Vec<Fault>);

impl Round {
    /// The next one; after the last, a new round of all of them begins.
    pub(crate) fn draw(&mut self, all: &[Fault], dice: &mut Dice) -> Fault {
        if self.0.is_empty() {
            self.0.extend_from_slice(all);
        }
        let at = usize::try_from(dice.below(self.0.len() as u64)).unwrap_or(0);
        self.0.swap_remove(at)
    }

    /// It could not be done, and is still to happen in this round.
    pub(crate) fn put_back(&mut self, fault: Fault) {
        self.0.push(fault);
    }
}
