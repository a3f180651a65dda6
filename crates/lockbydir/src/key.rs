//! Keys: what identifies one holding, wherever it is renewed or released.

use std::fmt;
use std::str::FromStr;

use lockbydir_protocol::Nonce;

use crate::error::{Error, ErrorKind};

/// What identifies one holding, printed as `TOKEN-NONCE`: renews and releases the holding from
/// anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    token: u64,
    nonce: Nonce,
}

impl Key {
    /// For [engines](crate::engine): creates the key of a holding with this token, acquired under
    /// this nonce.
    #[must_use]
    pub fn new(token: u64, nonce: Nonce) -> Key {
        Key { token, nonce }
    }

    /// Returns the token of the holding.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Returns the nonce, the part of the key that nobody can guess.
    #[must_use]
    pub fn nonce(&self) -> Nonce {
        self.nonce
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.token, self.nonce)
    }
}

/// As the text that [`Display`](fmt::Display) gives.
#[cfg(feature = "serde")]
impl serde::Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Key, Error> {
        text.split_once('-')
            .and_then(|(token, nonce)| {
                Some(Key { token: token.parse().ok()?, nonce: Nonce::parse(nonce)? })
            })
            .filter(|key| key.to_string() == text)
            .ok_or_else(|| {
                let shown: String = text.chars().take(60).flat_map(char::escape_default).collect();
                Error::new(
                    ErrorKind::Usage,
                    format!("`{shown}` is not a key; give the line that `acquire` printed"),
                )
            })
    }
}
