//! Values that states share, hashed once when they are made.

use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A shared value and its hash.
#[derive(Clone)]
pub(crate) struct Keyed<T> {
    value: Arc<T>,
    key: u64,
}

/// Returns a hash that is the same for equal values in every run.
pub(crate) fn key_of(value: &impl Hash) -> u64 {
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(value)
}

impl<T: Hash> Keyed<T> {
    pub(crate) fn new(value: T) -> Keyed<T> {
        let key = key_of(&value);
        Keyed { value: Arc::new(value), key }
    }
}

impl<T: Clone + Hash> Keyed<T> {
    /// Replaces the value by a changed copy.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = T::clone(self);
        let result = change(&mut value);
        *self = Keyed::new(value);
        result
    }
}

impl<T> Deref for Keyed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Hash for Keyed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl<T: PartialEq> PartialEq for Keyed<T> {
    fn eq(&self, other: &Keyed<T>) -> bool {
        self.key == other.key && self.value == other.value
    }
}

impl<T: Debug> Debug for Keyed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
