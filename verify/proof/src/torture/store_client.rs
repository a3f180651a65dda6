//! The store as a worker sees it: a file on its machine, or the host's store, which it asks by a line in
//! its history.

use std::sync::mpsc::Receiver;

use super::contender::Outcome;
use crate::store::{self, Store};

/// The line that asks a worker in a guest to end, as the end of its standard input does.
pub(crate) const END: &str = "end";

/// Returns the token for which a worker in a guest asks to write; `None` if the line is of its history.
pub(crate) fn asked(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    line.split_once(" ask ")?.1.parse().ok()
}

/// The store to which a worker writes with its token.
pub(super) enum StoreClient {
    /// A store on this machine.
    Local(Store),
    /// The host's store, which answers on the standard input.
    Host(Receiver<String>),
}

impl StoreClient {
    pub(super) fn write(&self, token: u64, send: impl Fn(&str)) -> Outcome<store::Answer> {
        match self {
            Self::Local(store) => Ok(store.write(token)?),
            Self::Host(answers) => {
                send(&format!("ask {token}"));
                let answer = answers.recv()?;
                let (word, moment) = answer.split_once(' ').ok_or("the store says nothing")?;
                let moment = moment.parse().map_err(|_| format!("the store says {answer}"))?;
                Ok(store::Answer { moment, accepted: word == "accepted" })
            }
        }
    }
}
