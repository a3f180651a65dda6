//! The protocol of the connection to a guest's agent: one connection per process, frames in both
//! directions. This file only encodes and decodes them.

use std::io::{self, Read, Write};

/// The length of the longest frame that is accepted, in bytes.
const LONGEST: u32 = 1 << 20;

/// A message. The first three kinds go to the guest, the others come from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A program and its arguments, as JSON: the first frame of every connection.
    Start(Vec<u8>),
    /// Bytes for its standard input; none for the end of it.
    Input(Vec<u8>),
    /// A signal for it and all its children.
    Signal(u8),
    /// It runs, with this PID.
    Born(u32),
    /// From its standard output.
    Output(Vec<u8>),
    /// From its standard error.
    Trouble(Vec<u8>),
    /// The signal has taken effect: the process has stopped, or continued, or is gone. All its output
    /// before that was sent before this frame.
    Felt,
    /// It ended with this code, or by the signal that is this less 128; the last frame.
    Ended(u32),
}

impl Frame {
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let word;
        let (tag, bytes): (u8, &[u8]) = match self {
            Self::Start(bytes) => (b'r', bytes),
            Self::Input(bytes) => (b'i', bytes),
            Self::Signal(signal) => (b's', std::slice::from_ref(signal)),
            Self::Born(pid) => {
                word = pid.to_le_bytes();
                (b'b', &word)
            }
            Self::Output(bytes) => (b'o', bytes),
            Self::Trouble(bytes) => (b't', bytes),
            Self::Felt => (b'f', &[]),
            Self::Ended(code) => {
                word = code.to_le_bytes();
                (b'e', &word)
            }
        };
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut whole = Vec::with_capacity(bytes.len() + 5);
        whole.push(tag);
        whole.extend(length.to_le_bytes());
        whole.extend(bytes);
        to.write_all(&whole)?;
        to.flush()
    }

    pub(crate) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 5];
        from.read_exact(&mut head)?;
        let [tag, length @ ..] = head;
        let length = u32::from_le_bytes(length);
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length as usize];
        from.read_exact(&mut bytes)?;
        let word = || {
            let word = bytes.as_slice().try_into().map(u32::from_le_bytes);
            word.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
        };
        Ok(match tag {
            b'r' => Self::Start(bytes),
            b'i' => Self::Input(bytes),
            b's' => Self::Signal(*bytes.first().unwrap_or(&0)),
            b'b' => Self::Born(word()?),
            b'o' => Self::Output(bytes),
            b't' => Self::Trouble(bytes),
            b'f' => Self::Felt,
            b'e' => Self::Ended(word()?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}
