//! Random bits. Nothing else in this library asks the system for any.

use lockbydir_protocol::Nonce;

use crate::os::simulated::{self, Kind};

/// Returns fresh random bits from the kernel.
pub(crate) fn nonce() -> Nonce {
    simulated::count(Kind::Random);
    if let Some(world) = simulated::world() {
        return Nonce(world.nonce());
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    Nonce(u128::from_ne_bytes(bytes))
}
