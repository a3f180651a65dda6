//! The calls: requests with one answer, and watches. Logs in when it must, and again when the server no
//! longer accepts the token.
//!
//! A request is encoded before it is sent, and its answer decoded afterwards: so what is between, which is
//! much code, is compiled once and not for each message.

use std::sync::Arc;

use http::uri::PathAndQuery;
use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use tokio::sync::Mutex;
use tokio_stream::{StreamExt, iter, pending};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use super::messages::*;

/// A request with one answer.
pub trait Call: Message {
    /// The method of the server.
    const METHOD: Method;
    /// The message that answers it.
    type Answer: Message + Default;
}

/// A method of the server: its path.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// One request, one answer.
    Unary(&'static str),
    /// A stream of requests and answers; we send one request, and the first answer counts.
    Stream(&'static str),
}

macro_rules! calls {
    ($($kind:ident $path:literal: $request:ty => $answer:ty,)*) => {
        $(impl Call for $request {
            const METHOD: Method = Method::$kind(concat!("/etcdserverpb.", $path));
            type Answer = $answer;
        })*
    };
}

calls! {
    Unary "KV/Range": RangeRequest => RangeResponse,
    Unary "KV/Put": PutRequest => PutResponse,
    Unary "KV/Txn": TxnRequest => TxnResponse,
    Unary "Lease/LeaseGrant": LeaseGrantRequest => LeaseGrantResponse,
    Unary "Lease/LeaseRevoke": LeaseRevokeRequest => LeaseRevokeResponse,
    Stream "Lease/LeaseKeepAlive": LeaseKeepAliveRequest => LeaseKeepAliveResponse,
    Unary "Lease/LeaseTimeToLive": LeaseTimeToLiveRequest => LeaseTimeToLiveResponse,
    Unary "Maintenance/Status": StatusRequest => StatusResponse,
    Unary "Auth/Authenticate": AuthenticateRequest => AuthenticateResponse,
}

/// Encodes a message.
pub(crate) fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Decodes a message.
pub(crate) fn decode<T: Message + Default>(bytes: Bytes) -> Result<T, Status> {
    T::decode(bytes).map_err(|error| Status::internal(format!("not an answer of etcd: {error}")))
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
        decode(self.send(R::METHOD, encode(&request)).await?)
    }

    /// Sends an encoded request, and returns the encoded answer.
    pub(crate) async fn send(&self, method: Method, request: Bytes) -> Result<Bytes, Status> {
        self.with_token(|token| self.send_once(method, request.clone(), token)).await
    }

    /// Logs in if that has not happened yet.
    ///
    /// # Errors
    /// Those of the server and of the connection.
    pub async fn log_in(&self) -> Result<(), Status> {
        self.token(None).await.map(drop)
    }

    /// Watches these keys, each from this revision on.
    ///
    /// # Errors
    /// Those of the server and of the connection. A watch that is refused is no error but an answer.
    pub async fn watch(&self, keys: &[&str], start_revision: i64) -> Result<Watch, Status> {
        let create = |key: &&str| {
            let key = key.as_bytes().to_vec();
            encode(&WatchRequest { create: Some(WatchCreateRequest { key, start_revision }) })
        };
        let requests: Vec<Bytes> = keys.iter().map(create).collect();
        let path = "/etcdserverpb.Watch/Watch";
        let started = self.with_token(|token| self.stream(path, requests.clone(), token));
        Ok(Watch(started.await?))
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
            let request = AuthenticateRequest { name, password };
            let answer = self.send_once(AuthenticateRequest::METHOD, encode(&request), None);
            let answer: AuthenticateResponse = decode(answer.await?)?;
            let parsed = answer.token.parse();
            *token = Some(parsed.map_err(|_| Status::data_loss("its token is not ASCII"))?);
        }
        Ok(token.clone())
    }

    async fn send_once(
        &self,
        method: Method,
        request: Bytes,
        token: Option<Token>,
    ) -> Result<Bytes, Status> {
        match method {
            Method::Unary(path) => {
                let mut grpc = self.ready().await?;
                let path = PathAndQuery::from_static(path);
                Ok(grpc.unary(with_metadata(request, token), path, Encoded).await?.into_inner())
            }
            Method::Stream(path) => {
                let mut answers = self.stream(path, vec![request], token).await?;
                answers.message().await?.ok_or_else(|| ended(path))
            }
        }
    }

    /// Opens a stream, which stays open for further answers until it is dropped.
    async fn stream(
        &self,
        path: &'static str,
        requests: Vec<Bytes>,
        token: Option<Token>,
    ) -> Result<Streaming<Bytes>, Status> {
        let mut grpc = self.ready().await?;
        let requests = with_metadata(iter(requests).chain(pending()), token);
        let path = PathAndQuery::from_static(path);
        Ok(grpc.streaming(requests, path, Encoded).await?.into_inner())
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = self.grpc.clone();
        let closed = |error| Status::unknown(format!("the connection is closed: {error}"));
        grpc.ready().await.map_err(closed)?;
        Ok(grpc)
    }
}

/// Running watches, which end when it is dropped.
pub struct Watch(Streaming<Bytes>);

impl Watch {
    /// Waits for the next answer; may be dropped meanwhile. `None`: the server has ended the watches.
    ///
    /// # Errors
    /// Those of the server and of the connection; they end the watches.
    pub async fn message(&mut self) -> Result<Option<WatchResponse>, Status> {
        self.0.message().await?.map(decode).transpose()
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

/// Passes messages on as they are: they are encoded before, and decoded afterwards.
#[derive(Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Encoded;
    type Decoder = Encoded;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Encoded {
        Encoded
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
