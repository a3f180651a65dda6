//! The network of the guests: each sends its frames to a socket of this process, which passes them on, or
//! drops them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{Name, Outcome};

/// The size of the longest frame in bytes.
const FRAME: usize = 1 << 16;
/// The interval between checks whether the lab has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The network connection of a guest.
#[derive(Debug)]
struct Plug {
    /// The socket to which the guest sends.
    ours: UdpSocket,
    /// The address on which it receives.
    theirs: SocketAddr,
    /// Whether all frames that it sends are dropped.
    mute: AtomicBool,
    /// Whether all frames to it are dropped.
    deaf: AtomicBool,
    /// The number of frames, of a thousand that it sends, that are dropped.
    loses: AtomicU32,
}

/// The switch, and its counters.
#[derive(Debug)]
pub struct Switch {
    plugs: [Plug; Name::ALL.len()],
    over: AtomicBool,
    passed: AtomicU64,
    lost: AtomicU64,
}

impl Switch {
    pub(crate) fn start() -> Outcome<Arc<Self>> {
        let plug = || -> Outcome<Plug> {
            let ours = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            // Another process may take the port before the guest does: then the guest does not boot,
            // and reports why.
            let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            ours.set_read_timeout(Some(CHECK_INTERVAL))?;
            let (mute, deaf) = (AtomicBool::default(), AtomicBool::default());
            Ok(Plug { ours, theirs, mute, deaf, loses: AtomicU32::new(0) })
        };
        let switch = Arc::new(Self {
            plugs: [plug()?, plug()?, plug()?],
            over: AtomicBool::default(),
            passed: AtomicU64::default(),
            lost: AtomicU64::default(),
        });
        for name in Name::ALL {
            let switch = Arc::clone(&switch);
            thread::spawn(move || switch.pass_on(name));
        }
        Ok(switch)
    }

    /// Returns QEMU's option for the connection.
    pub(crate) fn netdev(&self, name: Name) -> Outcome<String> {
        let plug = self.plug(name);
        Ok(format!("socket,id=lab,udp={},localaddr={}", plug.ours.local_addr()?, plug.theirs))
    }

    /// Drops this share of the frames that this guest sends from now on.
    pub fn lose(&self, name: Name, share: f64) {
        self.plug(name).loses.store((share * 1000.0) as u32, Ordering::Relaxed);
    }

    /// Drops all frames that the guest sends, or stops doing so: others receive no answer from it.
    pub fn mute(&self, name: Name, is_so: bool) {
        self.plug(name).mute.store(is_so, Ordering::SeqCst);
    }

    /// Cuts the guest off from all others, or connects it again.
    pub fn cut(&self, name: Name, is_so: bool) {
        self.mute(name, is_so);
        self.plug(name).deaf.store(is_so, Ordering::SeqCst);
    }

    /// Returns the numbers of frames passed on and of frames dropped.
    #[must_use]
    pub fn frames(&self) -> (u64, u64) {
        (self.passed.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn plug(&self, name: Name) -> &Plug {
        &self.plugs[name as usize]
    }

    fn pass_on(&self, from: Name) {
        let plug = self.plug(from);
        let mut frame = vec![0; FRAME];
        let mut dice = 0x9e37_79b9_7f4a_7c15_u64 + from as u64;
        while !self.over.load(Ordering::Relaxed) {
            // An error means that nobody receives, now or before.
            let Ok(length) = plug.ours.recv(&mut frame) else { continue };
            // xorshift64: the choice of lost frames need not be fair, only mixed.
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let unlucky = dice % 1000 < u64::from(plug.loses.load(Ordering::Relaxed));
            if unlucky || plug.mute.load(Ordering::SeqCst) {
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let _ = self.deliver(from, &frame[..length]);
        }
    }

    /// Sends a frame to its destination, or to all others.
    fn deliver(&self, from: Name, frame: &[u8]) -> io::Result<()> {
        let to =
            frame.get(..6).and_then(|mac| Name::ALL.into_iter().find(|name| name.mac() == mac));
        for name in Name::ALL {
            if name == from || to.is_some_and(|to| to != name) {
                continue;
            }
            let plug = self.plug(name);
            if plug.deaf.load(Ordering::SeqCst) {
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.passed.fetch_add(1, Ordering::Relaxed);
            plug.ours.send_to(frame, plug.theirs)?;
        }
        Ok(())
    }
}
