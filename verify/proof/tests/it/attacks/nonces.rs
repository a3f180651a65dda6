//! Names that an attacker would have to guess: 128 bits from the kernel, fresh for every holding.

use std::collections::HashSet;

use lockbydir::Lock;

use super::one_of;
use crate::stage::Stage;

/// The largest number of names that are examined, however long the attack lasts.
const MOST: usize = 2_000_000;

/// Returns the bits of a nonce from its 26 characters.
fn bits(spelled: &str) -> u128 {
    const DIGITS: &str = "0123456789abcdefghjkmnpqrstvwxyz";
    spelled
        .chars()
        .fold(0, |all, digit| all << 5 | DIGITS.find(digit).expect("a digit of a nonce") as u128)
}

/// The number of times that each of the 128 bits is set.
#[derive(Clone)]
struct Bits(Vec<usize>);

impl Bits {
    fn new() -> Self {
        Self(vec![0; 128])
    }

    fn count(&mut self, number: u128) {
        for (nth, count) in self.0.iter_mut().enumerate() {
            *count += usize::from(number >> nth & 1 == 1);
        }
    }

    /// Returns the largest distance of a count from half, in standard deviations. With true random numbers it
    /// exceeds six once in some millions of runs.
    fn worst(&self, of: usize) -> f64 {
        let deviation = (of as f64).sqrt() / 2.0;
        let far = |count: &usize| (*count as f64 - of as f64 / 2.0).abs() / deviation;
        self.0.iter().map(far).fold(0.0, f64::max)
    }
}

/// Returns the faults of these nonces.
fn judge(nonces: &[u128]) -> Vec<String> {
    let mut wrong = Vec::new();
    let different: HashSet<_> = nonces.iter().collect();
    if different.len() != nonces.len() {
        wrong.push(format!("{} repeat", nonces.len() - different.len()));
    }
    let (mut set, mut changed, mut carried) = (Bits::new(), Bits::new(), Bits::new());
    nonces.iter().for_each(|nonce| set.count(*nonce));
    for two in nonces.windows(2) {
        changed.count(two[0] ^ two[1]);
        carried.count(two[1].wrapping_sub(two[0]));
    }
    for (what, bits) in [("are set", set), ("change", changed), ("differ", carried)] {
        let worst = bits.worst(nonces.len());
        if worst > 6.0 {
            wrong.push(format!("bits {what} unevenly: {worst:.1} standard deviations"));
        }
    }
    wrong
}

#[test]
fn names_never_repeat_and_cannot_be_predicted() {
    let stage = Stage::on_tmpfs();
    let lock = Lock::new(stage.path("n"));

    let nonces: Vec<u128> = (0..MOST)
        .take_while(|_| stage.elapsed() < one_of(1))
        .map(|_| {
            let guard = lock.acquire().expect("the lock");
            let key = guard.key().to_string();
            guard.release().expect("its release");
            bits(key.split_once('-').expect("a number and a nonce").1)
        })
        .collect();

    println!("{} names in {:.1?}", nonces.len(), stage.elapsed());
    assert_eq!(judge(&nonces), Vec::<String>::new());
}

#[test]
fn counted_and_time_based_names_are_detected() {
    let time = |nth: u128| 1_795_000_000_000_000_000 + nth * 25_000;
    let counted: Vec<u128> = (0..1_000).collect();
    let timed: Vec<u128> = (0..1_000).map(|nth| time(nth) << 64 | 4242).collect();
    let hashed_time: Vec<u128> = (0..1_000)
        .map(|nth| time(nth).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
        .collect();
    let mut repeated = counted.clone();
    repeated.push(3);

    for nonces in [counted, timed, hashed_time, repeated] {
        assert_ne!(judge(&nonces), Vec::<String>::new());
    }
}
