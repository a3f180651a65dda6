//! Requests to the members of a cluster: a member that is silent or gone is skipped for the next one,
//! until a member answers or time is over.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockbydir::engine::{ForkLocal, boot};
use prost::bytes::Bytes;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

use crate::address::{Access, Servers};
use crate::api::{Call, Client, Login, Method, StatusRequest, Watch, decode, encode};
use crate::error::EngineError;
use crate::kept::KeptLease;
use crate::runtime::has_thread_to_look_up;
use crate::version_check::{is_sound, warn_of_old};

/// The pause between two rounds in which no member answered.
const PAUSE: Duration = Duration::from_millis(50);
/// The time between two pings of a member, and how long it may take to connect or to answer a ping;
/// after that it is connected to anew.
const PING: Duration = Duration::from_secs(3);

/// The clusters that this process uses: all locks of a cluster share its connections.
static CLUSTERS: ForkLocal<Mutex<HashMap<Servers, Arc<Cluster>>>> = ForkLocal::new();

/// One cluster.
pub(crate) struct Cluster {
    members: Vec<Member>,
    access: Access,
    /// The member that answered last.
    preferred: AtomicUsize,
    /// Whether the version of a member was checked, or is being checked.
    is_version_checked: AtomicBool,
    /// The lease that is kept for the next acquisition.
    pub(crate) kept: KeptLease,
    /// The number of calls that were sent, by method.
    calls: Mutex<BTreeMap<&'static str, u64>>,
}

struct Member {
    host: String,
    client: tokio::sync::Mutex<Option<Client>>,
}

/// For how long a request is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// No try begins after this, on the boot clock.
    pub(crate) until: Duration,
    /// How long one member may take.
    pub(crate) a_try: Duration,
    /// Whether each member is asked at most once.
    pub(crate) is_once: bool,
}

impl Limit {
    /// Creates a limit until this time, for a lock with this timeout: one member may take an eighth of
    /// the timeout (250 ms to 2 s), so that several can be asked before it is too late.
    pub(crate) fn new(until: Duration, timeout: Duration) -> Limit {
        let a_try = (timeout / 8).clamp(Duration::from_millis(250), Duration::from_secs(2));
        Limit { until, a_try, is_once: false }
    }

    fn rest(self) -> Duration {
        self.until.saturating_sub(boot())
    }
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) what: T,
    /// When the answered try was sent, on the boot clock.
    pub(crate) sent: Duration,
    /// Whether an earlier try was not answered: it may have been carried out, too, before this one.
    pub(crate) is_repeated: bool,
}

/// Returns the cluster of these servers, with this process's connections.
pub(crate) fn cluster(servers: &Servers) -> Arc<Cluster> {
    let mut clusters = locked(CLUSTERS.get_or_make(Mutex::default));
    let made = || {
        let member = |host: &String| Member { host: host.clone(), client: Default::default() };
        Arc::new(Cluster {
            members: servers.hosts.iter().map(member).collect(),
            access: servers.access.clone(),
            preferred: AtomicUsize::new(0),
            is_version_checked: AtomicBool::new(false),
            kept: KeptLease::default(),
            calls: Mutex::default(),
        })
    };
    clusters.entry(servers.clone()).or_insert_with(made).clone()
}

/// Returns all clusters that this process uses.
pub(crate) fn clusters() -> Vec<Arc<Cluster>> {
    CLUSTERS.get().map_or_else(Vec::new, |clusters| locked(clusters).values().cloned().collect())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Sends a request to one member after the other until one answers. The request must be safe to be
    /// carried out twice. At least one try is made.
    pub(crate) async fn call<R: Call>(
        &self,
        limit: Limit,
        request: R,
    ) -> Result<Answered<R::Answer>, EngineError> {
        let Answered { what, sent, is_repeated } =
            self.send(limit, R::METHOD, encode(&request)).await?;
        let what = decode(what).map_err(|status| EngineError::of_status(&status))?;
        Ok(Answered { what, sent, is_repeated })
    }

    async fn send(
        &self,
        limit: Limit,
        method: Method,
        request: Bytes,
    ) -> Result<Answered<Bytes>, EngineError> {
        let mut is_repeated = false;
        loop {
            let mut left = self.members.len();
            let first = self.preferred.load(Ordering::Relaxed);
            let mut hopeless = 0;
            for nth in first..first + self.members.len() {
                let nth = nth % self.members.len();
                let a_try = limit.a_try.min(limit.rest()).max(Duration::from_millis(20));
                let (trouble, was_sent) =
                    match self.send_to(nth, a_try, method, request.clone()).await {
                        Ok((what, sent)) => {
                            self.preferred.store(nth, Ordering::Relaxed);
                            return Ok(Answered { what, sent, is_repeated });
                        }
                        Err(failed) => failed,
                    };
                is_repeated |= was_sent && trouble.may_pass();
                match trouble {
                    // The address of another member may be right.
                    EngineError::Setup(_) => hopeless += 1,
                    _ if trouble.may_pass() => {}
                    EngineError::LeaseExists { .. } => {
                        return Err(EngineError::LeaseExists { is_ours: is_repeated });
                    }
                    _ => return Err(trouble),
                }
                left -= 1;
                let is_last = left == 0 && (limit.is_once || hopeless == self.members.len());
                if limit.rest().is_zero() || is_last {
                    return Err(trouble);
                }
            }
            sleep(PAUSE.min(limit.rest())).await;
        }
    }

    /// Makes one try. Returns the answer and when the try was sent, or the error and whether the try was
    /// sent.
    async fn send_to(
        &self,
        nth: usize,
        a_try: Duration,
        method: Method,
        request: Bytes,
    ) -> Result<(Bytes, Duration), (EngineError, bool)> {
        let silent =
            || EngineError::Unreachable(format!("{} does not answer", self.members[nth].host));
        let begun = boot();
        let client = match timeout(a_try, self.client(nth)).await {
            Ok(client) => client.map_err(|trouble| (trouble, false))?,
            Err(_) => return Err((silent(), false)),
        };
        let (Method::Unary(path) | Method::Stream(path)) = method;
        self.count(path);
        let sent = boot();
        let rest = (begun + a_try).saturating_sub(sent).max(a_try / 4);
        match timeout(rest, client.send(method, request)).await {
            Ok(Ok(what)) => Ok((what, sent)),
            Ok(Err(status)) => Err((EngineError::of_status(&status), true)),
            Err(_) => Err((silent(), true)),
        }
    }

    /// Returns the client of a member, connected when it is first needed; it reconnects by itself.
    async fn client(&self, nth: usize) -> Result<Client, EngineError> {
        let member = &self.members[nth];
        let mut known = member.client.lock().await;
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let client = connect(&member.host, &self.access).await?;
        if !self.is_version_checked.swap(true, Ordering::Relaxed) {
            crate::pending::start(warn_of_old(client.clone(), member.host.clone()));
        }
        *known = Some(client.clone());
        Ok(client)
    }

    /// Returns true if the leases of the cluster have no known faults; false in doubt.
    pub(crate) async fn is_sound(&self, limit: Limit) -> bool {
        let asked = self.call(limit, StatusRequest {}).await;
        asked.is_ok_and(|answered| is_sound(&answered.what.version))
    }

    /// Watches these keys from this revision on, with the member that answered last.
    pub(crate) async fn watch(
        &self,
        a_try: Duration,
        keys: &[&str],
        revision: i64,
    ) -> Result<Watch, EngineError> {
        let nth = self.preferred.load(Ordering::Relaxed);
        let silent = || EngineError::Unreachable("no answer".into());
        let client = timeout(a_try, self.client(nth)).await.map_err(|_| silent())??;
        self.count("/etcdserverpb.Watch/Watch");
        let watched = timeout(a_try, client.watch(keys, revision)).await;
        watched.map_err(|_| silent())?.map_err(|status| EngineError::of_status(&status))
    }

    fn count(&self, path: &'static str) {
        let method = path.rsplit('/').next().unwrap_or_default();
        *locked(&self.calls).entry(method).or_default() += 1;
    }

    /// Returns the number of calls that were sent, by method.
    pub(crate) fn calls(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.calls).clone()
    }
}

async fn connect(host: &str, access: &Access) -> Result<Client, EngineError> {
    let scheme = if access.is_tls() { "https" } else { "http" };
    let setup = |error: tonic::transport::Error| EngineError::of_transport(&error);
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{host}"))
        .map_err(setup)?
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .connect_timeout(PING);
    if access.is_tls() {
        endpoint = encrypted(endpoint, access)?;
    }
    if endpoint.uri().host().is_some_and(is_name) {
        has_thread_to_look_up().map_err(|error| {
            EngineError::Refused(format!("no thread can be started to look up {host}: {error}"))
        })?;
    }
    let channel = endpoint.connect().await.map_err(setup)?;
    let login = access.user.as_ref().zip(access.password.as_ref());
    let client = Client::new(channel, login.map(|(user, password)| Login::new(user, password)));
    client.log_in().await.map_err(|status| EngineError::of_status(&status))?;
    Ok(client)
}

/// Returns true if the host is a name that must be looked up, not an address.
fn is_name(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_err()
}

/// Makes the connection an encrypted one.
#[cfg(feature = "tls")]
fn encrypted(endpoint: Endpoint, access: &Access) -> Result<Endpoint, EngineError> {
    use tonic::transport::{Certificate, ClientTlsConfig, Identity};

    let read = |path: &std::path::Path| {
        std::fs::read(path)
            .map_err(|error| EngineError::Setup(format!("cannot read {}: {error}", path.display())))
    };
    let mut tls = ClientTlsConfig::new();
    tls = match &access.ca {
        Some(ca) => tls.ca_certificate(Certificate::from_pem(read(ca)?)),
        None => tls.with_native_roots(),
    };
    if let (Some(cert), Some(key)) = (&access.cert, &access.key) {
        tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    endpoint.tls_config(tls).map_err(|error| EngineError::of_transport(&error))
}

/// Refuses: nothing is ever sent in clear text to a server whose address asks for TLS.
#[cfg(not(feature = "tls"))]
fn encrypted(_: Endpoint, _: &Access) -> Result<Endpoint, EngineError> {
    Err(EngineError::Setup("this program was built without TLS (the feature `tls`)".into()))
}

#[cfg(all(test, not(feature = "tls")))]
mod tests {
    use std::io::ErrorKind::WouldBlock;
    use std::net::TcpListener;

    use lockbydir::{ErrorKind, Lock};

    #[test]
    fn without_tls_nothing_is_sent_to_a_server_that_needs_it() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        crate::register(crate::Access::default());

        let error = Lock::new(format!("etcd://{address}/jobs?tls")).acquire().unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("built without TLS"), "{error}");
        server.set_nonblocking(true).unwrap();
        assert_eq!(server.accept().unwrap_err().kind(), WouldBlock);
    }
}
