//! Random numbers for workers and tests: xorshift, seeded by hand or from the hasher's fresh keys.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

/// A source of random numbers.
#[derive(Debug)]
pub struct Dice(u64);

impl Default for Dice {
    fn default() -> Self {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        Self(hasher.finish() | 1)
    }
}

impl Dice {
    /// Returns dice that produce the same numbers for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        // Seeds that differ little must not give similar numbers: spread their bits (splitmix).
        let mut bits = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self((bits ^ (bits >> 31)) | 1)
    }

    /// Returns a number below `limit` (0 for a limit of 0).
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.checked_rem(limit).unwrap_or(0)
    }

    /// Returns a number from 0 to less than 1, in thousandths.
    pub fn share(&mut self) -> f64 {
        self.below(1000) as f64 / 1000.0
    }

    /// Returns true once in `times` calls on average.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn dice_repeat_for_the_same_seed_only() {
        let throws = |seed| {
            let mut dice = Dice::seeded(seed);
            [dice.below(1000), dice.below(1000), dice.below(1000)]
        };

        assert_eq!(throws(7), throws(7));
        assert_ne!(throws(7), throws(8));
    }
}
