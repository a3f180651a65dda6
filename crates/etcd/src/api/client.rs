//! The calls: requests with one answer, the keep-alive of a lease, and watches. Logs in when it must, and
//! again when the server no longer accepts the token.

use std::sync::Arc;

use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::Mutex;
use tokio_stream::{StreamExt, iter, pending};
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::messages::*;

/// A request with one answer.
pub trait Call: Message + Default + Clone + 'static {
    /// The service and the method.
    const PATH: &'static str;
    /// The message that answers it.
    type Answer: Message + Default + 'static;
}

macro_rules! calls {
    ($($path:literal: $request:ty => $answer:ty,)*) => {
        $(impl Call for $request {
            const PATH: &'static str = concat!("/etcdserverpb.", $path);
            type Answer = $answer;
        })*
    };
}

calls! {
    "KV/Range": RangeRequest => RangeResponse,
    "KV/Put": PutRequest => PutResponse,
    "KV/Txn": TxnRequest => TxnResponse,
    "Lease/LeaseGrant": LeaseGrantRequest => LeaseGrantResponse,
    "Lease/LeaseRevoke": LeaseRevokeRequest => LeaseRevokeResponse,
    "Lease/LeaseTimeToLive": LeaseTimeToLiveRequest => LeaseTimeToLiveResponse,
    "Maintenance/Status": StatusRequest => StatusResponse,
    "Auth/Authenticate": AuthenticateRequest => AuthenticateResponse,
}

/// What a server gives to a user that has logged in; calls carry it.
type Token = MetadataValue<Ascii>;

/// A client of one server, or of several behind one channel. Clones share the connection and the login.
#[derive(Clone)]
pub struct Client {
    grpc: Grpc<Channel>,
    login: Option<Arc<Login>>,
}

/// A user, and its token once it has logged in.
pub struct Login {
    user: String,
    password: String,
    /// Locked during a login, so that calls wait for the new token.
    token: Mutex<Option<Token>>,
}

impl Login {
    /// Creates the login of this user, which has not happened yet.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Login {
        Login { user: user.into(), password: password.into(), token: Mutex::default() }
    }
}

impl Client {
    /// Creates a client that logs in as this user at its first call, or does not log in.
    #[must_use]
    pub fn new(channel: Channel, login: Option<Login>) -> Client {
        Client { grpc: Grpc::new(channel), login: login.map(Arc::new) }
    }

    /// Sends a request, and returns its answer.
    ///
    /// # Errors
    /// Those of the server and of the connection.
    pub async fn call<R: Call>(&self, request: R) -> Result<R::Answer, Status> {
        self.with_token(|token| self.unary(request.clone(), token)).await
    }

    /// Logs in if that has not happened yet.
    ///
    /// # Errors
    /// Those of the server and of the connection.
    pub async fn log_in(&self) -> Result<(), Status> {
        self.token(None).await.map(drop)
    }

    /// Keeps a lease alive once.
    ///
    /// # Errors
    /// Those of the server and of the connection. A lease that is gone is no error but an answer.
    pub async fn keep_alive(&self, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
        let path = "/etcdserverpb.Lease/LeaseKeepAlive";
        let kept = self.with_token(|token| async move {
            let request = LeaseKeepAliveRequest { id };
            let mut answers = self.stream(vec![request], path, token).await?;
            answers.message().await?.ok_or_else(|| ended("keep-alives"))
        });
        kept.await
    }

    /// Watches these keys, each from this revision on.
    ///
    /// # Errors
    /// Those of the server and of the connection, also if the server refuses the first watch.
    pub async fn watch(&self, keys: &[&str], start_revision: i64) -> Result<Watch, Status> {
        let create = |key: &&str| {
            let key = key.as_bytes().to_vec();
            WatchRequest { create: Some(WatchCreateRequest { key, start_revision }) }
        };
        let requests: Vec<WatchRequest> = keys.iter().map(create).collect();
        let started = self.with_token(|token| {
            let answers = self.stream(requests.clone(), "/etcdserverpb.Watch/Watch", token);
            async move {
                let mut answers: Streaming<WatchResponse> = answers.await?;
                let first = answers.message().await?.ok_or_else(|| ended("watches"))?;
                match first.created && first.canceled {
                    // Servers before 3.5 deny permission to an invalid token.
                    true => Err(Status::unauthenticated(first.cancel_reason)),
                    false => Ok(Watch { first: Some(first), answers }),
                }
            }
        });
        started.await
    }

    /// Sends with the token of our user, and once more with a new token if the server refuses that one.
    async fn with_token<T, F>(&self, send: impl Fn(Option<Token>) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let token = self.token(None).await?;
        match send(token.clone()).await {
            Err(status) if token.is_some() && is_token_refused(&status) => {
                send(self.token(token).await?).await
            }
            result => result,
        }
    }

    /// Returns the token of our user; logs in if the known token is this refused one, or there is none.
    async fn token(&self, refused: Option<Token>) -> Result<Option<Token>, Status> {
        let Some(login) = &self.login else { return Ok(None) };
        let mut token = login.token.lock().await;
        if *token == refused {
            let (name, password) = (login.user.clone(), login.password.clone());
            let answer = self.unary(AuthenticateRequest { name, password }, None).await?;
            let parsed = answer.token.parse();
            *token = Some(parsed.map_err(|_| Status::data_loss("its token is not ASCII"))?);
        }
        Ok(token.clone())
    }

    async fn unary<R: Call>(&self, request: R, token: Option<Token>) -> Result<R::Answer, Status> {
        let mut grpc = self.ready().await?;
        let (path, codec) = (PathAndQuery::from_static(R::PATH), ProstCodec::default());
        Ok(grpc.unary(with_metadata(request, token), path, codec).await?.into_inner())
    }

    /// Opens a stream, which stays open for further answers until it is dropped.
    async fn stream<R, A>(
        &self,
        requests: Vec<R>,
        path: &'static str,
        token: Option<Token>,
    ) -> Result<Streaming<A>, Status>
    where
        R: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.ready().await?;
        let requests = with_metadata(iter(requests).chain(pending()), token);
        let (path, codec) = (PathAndQuery::from_static(path), ProstCodec::default());
        Ok(grpc.streaming(requests, path, codec).await?.into_inner())
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = self.grpc.clone();
        let closed = |error| Status::unknown(format!("the connection is closed: {error}"));
        grpc.ready().await.map_err(closed)?;
        Ok(grpc)
    }
}

/// Running watches, which end when it is dropped.
pub struct Watch {
    /// The answer that reports the start.
    first: Option<WatchResponse>,
    answers: Streaming<WatchResponse>,
}

impl Watch {
    /// Waits for the next answer; may be dropped meanwhile. `None`: the server has ended the watches.
    ///
    /// # Errors
    /// Those of the server and of the connection; they end the watches.
    pub async fn message(&mut self) -> Result<Option<WatchResponse>, Status> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.answers.message().await,
        }
    }
}

fn with_metadata<T>(content: T, token: Option<Token>) -> Request<T> {
    let mut request = Request::new(content);
    // A server that knows no leader answers with an error, instead of waiting for one.
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    if let Some(token) = token {
        request.metadata_mut().insert("token", token);
    }
    request
}

/// Returns true if another login may help: the token is unknown, has expired, or is older than the last
/// change of users and roles.
fn is_token_refused(status: &Status) -> bool {
    let says = |text| status.message().contains(text);
    match status.code() {
        Code::Unauthenticated => true,
        Code::Unknown => says("invalid auth token"),
        Code::InvalidArgument => says("revision of auth store is old"),
        _ => false,
    }
}

fn ended(of: &str) -> Status {
    Status::unavailable(format!("the stream of {of} ended"))
}
