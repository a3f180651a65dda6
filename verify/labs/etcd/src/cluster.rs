//! A cluster of three members, of which one may fail.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{Options, Outcome, Server, net::Star, server::Place};

/// The number of members.
const MEMBERS: usize = 3;
/// The longest wait for an election.
const ELECTION: Duration = Duration::from_secs(20);

/// A cluster of three members.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Server>,
    star: Option<Arc<Star>>,
    cut: [bool; MEMBERS],
}

impl Cluster {
    /// Starts three members on loopback, which cannot be cut off.
    ///
    /// # Errors
    /// When there is no etcd, or it does not come up.
    pub fn on_loopback(options: &Options) -> Outcome<Self> {
        let places: Outcome<Vec<Place>> = (0..MEMBERS).map(|_| Place::on_loopback()).collect();
        Self::start(places?, options, None)
    }

    /// Starts three members, each in its own network namespace. Clients reach them from a fourth, the hub:
    /// see [`Cluster::enter`].
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

    /// Moves the calling thread to the clients' network, with the threads and processes that it starts from
    /// then on. On loopback everyone is already there.
    ///
    /// # Errors
    /// Without root.
    pub fn enter(&self) -> Outcome<()> {
        match &self.star {
            Some(star) => star.hub().enter(),
            None => Ok(()),
        }
    }

    /// Returns the members.
    #[must_use]
    pub fn members(&self) -> &[Server] {
        &self.members
    }

    /// Returns one member, to change it.
    pub fn member(&mut self, at: usize) -> &mut Server {
        &mut self.members[at]
    }

    /// Returns `HOST:PORT,HOST:PORT,HOST:PORT`.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = self.members.iter().map(Server::endpoint).collect();
        all.join(",")
    }

    /// Returns `etcd://HOST:PORT,HOST:PORT,HOST:PORT/PATH`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("etcd://{}/{path}", self.endpoints())
    }

    /// Returns the leader, once there is one: asks the members that are up and not cut off.
    ///
    /// # Errors
    /// If none leads for 20 seconds.
    pub fn leader(&self) -> Outcome<usize> {
        let begun = Instant::now();
        while begun.elapsed() < ELECTION {
            for (at, member) in self.members.iter().enumerate() {
                // A member that does not answer does not lead.
                if member.is_up() && !self.cut[at] && member.is_leader().unwrap_or(false) {
                    return Ok(at);
                }
            }
            // Not to synchronise: the interval between two looks.
            thread::sleep(Duration::from_millis(20));
        }
        Err("no member leads".into())
    }

    /// Cuts a member off from the others and from all clients, without any notice to them.
    ///
    /// # Errors
    /// On loopback.
    pub fn cut(&mut self, at: usize) -> Outcome<()> {
        self.star.as_ref().ok_or("on loopback nobody can be cut off")?.cut(at)?;
        self.cut[at] = true;
        Ok(())
    }

    /// Connects a member again.
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
    /// If one does not.
    pub fn await_health(&mut self) -> Outcome<()> {
        self.members.iter_mut().try_for_each(Server::await_health)
    }
}
