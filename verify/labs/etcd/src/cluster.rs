//! Three members, of which one may be lost.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{Options, Outcome, Server, net::Star, server::Place};

/// So many members.
const MEMBERS: usize = 3;
/// Longer than this nobody waits for an election.
const ELECTION: Duration = Duration::from_secs(20);

/// Three members.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Server>,
    star: Option<Arc<Star>>,
    cut: [bool; MEMBERS],
}

impl Cluster {
    /// Three members on loopback, which cannot be cut off.
    ///
    /// # Errors
    /// When there is no etcd, or it does not come up.
    pub fn on_loopback(options: &Options) -> Outcome<Self> {
        let places: Outcome<Vec<Place>> = (0..MEMBERS).map(|_| Place::on_loopback()).collect();
        Self::start(places?, options, None)
    }

    /// Three members, each in a network namespace of its own. Clients reach them from a fourth, the
    /// hub: see [`Cluster::enter`].
    ///
    /// # Errors
    /// Without root, or when there is no etcd, or it does not come up.
    pub fn in_namespaces(options: &Options) -> Outcome<Self> {
        let star = Arc::new(Star::new(MEMBERS)?);
        Self::start((0..MEMBERS).map(Place::on_spoke).collect(), options, Some(star))
    }

    fn start(places: Vec<Place>, options: &Options, star: Option<Arc<Star>>) -> Outcome<Self> {
        let name = |at: usize| format!("m{at}");
        let all: Vec<String> = places
            .iter()
            .enumerate()
            .map(|(at, place)| format!("{}={}", name(at), place.peer_url()))
            .collect();
        let mut members = Vec::new();
        for (at, place) in places.into_iter().enumerate() {
            let spoke = star.as_ref().map(|star| (Arc::clone(star), at));
            let mut server = Server::new(&name(at), place, all.join(","), options.clone(), spoke)?;
            server.begin()?;
            members.push(server);
        }
        for member in &mut members {
            member.await_health()?;
        }
        Ok(Self { members, star, cut: [false; MEMBERS] })
    }

    /// Moves the calling thread to where clients are, with the threads and processes that it starts
    /// from then on. On loopback everyone is there already.
    ///
    /// # Errors
    /// Without root.
    pub fn enter(&self) -> Outcome<()> {
        match &self.star {
            Some(star) => star.hub().enter(),
            None => Ok(()),
        }
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> &[Server] {
        &self.members
    }

    /// One of them, to do something to it.
    pub fn member(&mut self, at: usize) -> &mut Server {
        &mut self.members[at]
    }

    /// `HOST:PORT,HOST:PORT,HOST:PORT`.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = self.members.iter().map(Server::endpoint).collect();
        all.join(",")
    }

    /// `etcd://HOST:PORT,HOST:PORT,HOST:PORT/PATH`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("etcd://{}/{path}", self.endpoints())
    }

    /// Which member leads, once one does: asked of those that are up and not cut off.
    ///
    /// # Errors
    /// When none leads for long.
    pub fn leader(&self) -> Outcome<usize> {
        let begun = Instant::now();
        while begun.elapsed() < ELECTION {
            for (at, member) in self.members.iter().enumerate() {
                // One that does not answer does not lead.
                if member.is_up() && !self.cut[at] && member.is_leader().unwrap_or(false) {
                    return Ok(at);
                }
            }
            // Not to synchronise: how often one looks.
            thread::sleep(Duration::from_millis(20));
        }
        Err("no member leads".into())
    }

    /// Cuts a member off from the others and from all clients. Nobody is told.
    ///
    /// # Errors
    /// On loopback.
    pub fn cut(&mut self, at: usize) -> Outcome<()> {
        self.star.as_ref().ok_or("on loopback nobody can be cut off")?.cut(at)?;
        self.cut[at] = true;
        Ok(())
    }

    /// Joins it again.
    ///
    /// # Errors
    /// On loopback.
    pub fn heal(&mut self, at: usize) -> Outcome<()> {
        self.star.as_ref().ok_or("on loopback nobody can be cut off")?.heal(at)?;
        self.cut[at] = false;
        Ok(())
    }

    /// Waits until all members answer.
    ///
    /// # Errors
    /// When one does not.
    pub fn await_health(&mut self) -> Outcome<()> {
        self.members.iter_mut().try_for_each(Server::await_health)
    }
}
