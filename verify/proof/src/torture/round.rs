//! Faults in rounds: in each round every fault happens once, in random order.

use super::fault::Fault;
use crate::chance::Dice;

/// The faults that are left in this round.
#[derive(Debug, Default)]
pub(crate) struct Round(Vec<Fault>);

impl Round {
    /// Draws the next fault; after the last one, a new round of all faults begins.
    pub(crate) fn draw(&mut self, all: &[Fault], dice: &mut Dice) -> Fault {
        if self.0.is_empty() {
            self.0.extend_from_slice(all);
        }
        let at = usize::try_from(dice.below(self.0.len() as u64)).unwrap_or(0);
        self.0.swap_remove(at)
    }

    /// Puts back a fault that could not be injected: it must still happen in this round.
    pub(crate) fn put_back(&mut self, fault: Fault) {
        self.0.push(fault);
    }
}
