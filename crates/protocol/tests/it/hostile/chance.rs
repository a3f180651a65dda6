//! Bytes read as choices: any bytes make valid ones. They are read round and round, so that a world of
//! few bytes can give false answers for ever.

use std::time::Duration;

use lockbydir_protocol::*;

/// A source of choices.
#[derive(Clone)]
pub(crate) struct Chance<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Chance<'a> {
    /// Creates a source that reads these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Chance<'a> {
        Chance { bytes, at: 0 }
    }

    /// Returns the next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at % self.bytes.len().max(1)).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// Returns a number below `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    /// Returns true once in `count` times.
    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    /// Returns one of these.
    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// Returns a number of any size up to `most`: small and large ones, and those at the limit.
    pub(crate) fn number(&mut self, most: u64) -> u64 {
        let width = self.below(12);
        match width {
            9 => most,
            10 => most.saturating_sub(1),
            11 => most / 2,
            _ => {
                let wide = (0..width).fold(0, |sum, _| sum << 8 | u64::from(self.byte()));
                if most == u64::MAX { wide } else { wide % (most + 1) }
            }
        }
    }

    fn narrow(&mut self) -> u32 {
        u32::try_from(self.number(u64::from(u32::MAX))).unwrap_or(0)
    }

    /// Returns any text of at most `most` printable characters.
    fn text(&mut self, most: usize) -> String {
        let length = self.below(most + 1);
        (0..length).map(|_| char::from(b' ' + self.byte() % 95)).collect()
    }

    /// Returns any label; often one with a spelling of its own.
    fn label(&mut self) -> Label {
        let text = match self.one_in(3) {
            true => self.pick(&["", "-", "--", ".", "..", "a.", "=", "A"]).into(),
            false => self.text(40),
        };
        Label::new(&text).unwrap_or_default()
    }

    fn process(&mut self) -> Process {
        Process { pid: self.narrow(), start: self.number(10u64.pow(12)) }
    }

    /// Returns any origin.
    pub(crate) fn origin(&mut self) -> Origin {
        Origin { boot: self.number(u64::MAX), time: self.narrow(), pids: self.narrow() }
    }

    /// Returns any owner.
    pub(crate) fn owner(&mut self) -> Owner {
        match self.below(3) {
            0 => Owner::Nobody,
            1 => Owner::One(self.process()),
            _ => Owner::Two(self.process(), self.process()),
        }
    }

    /// Returns any nonce, usually one of a few.
    pub(crate) fn nonce(&mut self) -> Nonce {
        let few = self.below(8);
        Nonce(match few {
            7 => u128::from(self.number(u64::MAX)) << 64 | u128::from(self.number(u64::MAX)),
            few => few as u128,
        })
    }

    /// Returns any entry that may be published.
    pub(crate) fn entry(&mut self) -> Entry {
        let most = u64::try_from(MAX_TIMEOUT.as_millis()).unwrap_or(0);
        let least = u64::try_from(MIN_TIMEOUT.as_millis()).unwrap_or(0);
        Entry {
            state: if self.one_in(3) { State::Open } else { State::Held },
            fenced: self.one_in(3),
            token: self.number(MAX_TOKEN),
            nonce: self.nonce(),
            renewals: self.narrow(),
            timeout: Duration::from_millis(least + self.number(most - least)),
            stamp: Duration::from_millis(self.number(99_999_999_999_999)),
            origin: self.origin(),
            owner: self.owner(),
            host: Host::new(&self.text(20)),
            label: self.label(),
        }
    }

    /// Returns any ticket.
    pub(crate) fn ticket(&mut self) -> Ticket {
        Ticket {
            order: self.number(MAX_TOKEN),
            nonce: self.nonce(),
            stamp: Duration::from_millis(self.number(99_999_999_999_999)),
            origin: self.origin(),
            process: self.process(),
            host: Host::new(&self.text(20)),
            label: self.label(),
        }
    }

    /// Returns any fault.
    pub(crate) fn fault(&mut self) -> Fault {
        let code = i32::from(self.byte());
        match code % 7 {
            0 => Fault::Missing,
            1 => Fault::Taken,
            2 => Fault::NoPlace { code },
            3 => Fault::Denied { code },
            4 => Fault::Full { code },
            5 => Fault::ReadOnly { code },
            _ => Fault::Broken { code },
        }
    }

    /// Returns a name of any `length` bytes, such as no structure would give.
    pub(crate) fn name(&mut self, length: usize) -> String {
        let bytes: Vec<u8> = (0..length).map(|_| self.byte()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
