//! etcd's messages, with those of their fields that a lock uses. The numbers are etcd's, from its
//! `rpc.proto` and `kv.proto`; fields that are not listed are left out of requests and ignored in answers.
//! Of the alternatives of a message (`oneof`), exactly one is set.

use prost::Message;

/// What each answer says about the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Header {
    #[prost(int64, tag = "3")]
    pub revision: i64,
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}

/// A key, as it is stored.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    /// Zero: on no lease.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// Reads one key, or with `range_end` all keys from `key` to before it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    /// The most keys to return; zero: all.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    #[prost(int32, tag = "5")]
    pub sort_order: i32,
    #[prost(int32, tag = "6")]
    pub sort_target: i32,
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
    #[prost(bool, tag = "9")]
    pub count_only: bool,
    /// Leaves out keys that were created later; zero: none.
    #[prost(int64, tag = "13")]
    pub max_create_revision: i64,
}

impl RangeRequest {
    /// A value of `sort_order`.
    pub const ASCEND: i32 = 1;
    /// A value of `sort_order`.
    pub const DESCEND: i32 = 2;
    /// A value of `sort_target`: the create revision.
    pub const CREATE: i32 = 2;

    /// Reads this key.
    pub fn of(key: impl Into<Vec<u8>>) -> RangeRequest {
        RangeRequest { key: key.into(), ..RangeRequest::default() }
    }

    /// Reads all keys that begin with this prefix.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> RangeRequest {
        let key = prefix.into();
        RangeRequest { range_end: end_of_prefix(&key), key, ..RangeRequest::default() }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left keys out.
    #[prost(bool, tag = "3")]
    pub more: bool,
    /// The number of keys in the range, with those that the limit left out.
    #[prost(int64, tag = "4")]
    pub count: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    /// Zero: on no lease.
    #[prost(int64, tag = "3")]
    pub lease: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct PutResponse {}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteRangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RequestOp {
    #[prost(message, optional, tag = "1")]
    pub range: Option<RangeRequest>,
    #[prost(message, optional, tag = "2")]
    pub put: Option<PutRequest>,
    #[prost(message, optional, tag = "3")]
    pub delete: Option<DeleteRangeRequest>,
}

impl RequestOp {
    /// Puts a key; lease 0 is none.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, lease: i64) -> RequestOp {
        PutRequest { key: key.into(), value: value.into(), lease }.into()
    }

    pub fn delete(key: impl Into<Vec<u8>>) -> RequestOp {
        let delete = Some(DeleteRangeRequest { key: key.into() });
        RequestOp { delete, ..RequestOp::default() }
    }
}

impl From<RangeRequest> for RequestOp {
    fn from(range: RangeRequest) -> RequestOp {
        RequestOp { range: Some(range), ..RequestOp::default() }
    }
}

impl From<PutRequest> for RequestOp {
    fn from(put: PutRequest) -> RequestOp {
        RequestOp { put: Some(put), ..RequestOp::default() }
    }
}

/// The answer to one operation of a transaction; that of a put or a delete has no content for us.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ResponseOp {
    #[prost(message, optional, tag = "1")]
    pub range: Option<RangeResponse>,
}

/// A condition of a transaction, on one key or a range of keys. An absent key has revision 0; a range
/// without keys fulfils any condition.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Compare {
    #[prost(int32, tag = "1")]
    pub result: i32,
    #[prost(int32, tag = "2")]
    pub target: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    #[prost(int64, optional, tag = "5")]
    pub create_revision: Option<i64>,
    #[prost(int64, optional, tag = "6")]
    pub mod_revision: Option<i64>,
    #[prost(int64, optional, tag = "8")]
    pub lease: Option<i64>,
    #[prost(bytes = "vec", tag = "64")]
    pub range_end: Vec<u8>,
}

impl Compare {
    /// A value of `result`.
    const GREATER: i32 = 1;
    /// Values of `target`.
    const CREATE: i32 = 1;
    const MOD: i32 = 2;
    const LEASE: i32 = 4;

    /// The key was created at this revision.
    pub fn created_at(key: impl Into<Vec<u8>>, revision: i64) -> Compare {
        let create_revision = Some(revision);
        Compare { target: Compare::CREATE, create_revision, ..Compare::of(key) }
    }

    /// The key was created after this revision.
    pub fn created_after(key: impl Into<Vec<u8>>, revision: i64) -> Compare {
        Compare { result: Compare::GREATER, ..Compare::created_at(key, revision) }
    }

    /// The key was changed last at this revision.
    pub fn changed_at(key: impl Into<Vec<u8>>, revision: i64) -> Compare {
        Compare { target: Compare::MOD, mod_revision: Some(revision), ..Compare::of(key) }
    }

    /// The key is on this lease.
    pub fn on_lease(key: impl Into<Vec<u8>>, lease: i64) -> Compare {
        Compare { target: Compare::LEASE, lease: Some(lease), ..Compare::of(key) }
    }

    fn of(key: impl Into<Vec<u8>>) -> Compare {
        Compare { key: key.into(), ..Compare::default() }
    }

    /// Makes it a condition on all keys that begin with its key.
    #[must_use]
    pub fn with_prefix(mut self) -> Compare {
        self.range_end = end_of_prefix(&self.key);
        self
    }
}

/// Does the operations of `success` if all conditions are true, else those of `failure`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

/// Grants a lease of this number; 0: the server chooses one.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseGrantRequest {
    /// In seconds.
    #[prost(int64, tag = "1")]
    pub ttl: i64,
    #[prost(int64, tag = "2")]
    pub id: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseGrantResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// In seconds, as granted.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseRevokeRequest {
    #[prost(int64, tag = "1")]
    pub id: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseRevokeResponse {}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseKeepAliveRequest {
    #[prost(int64, tag = "1")]
    pub id: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseKeepAliveResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    /// In seconds; zero or less: there is no such lease.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseTimeToLiveRequest {
    #[prost(int64, tag = "1")]
    pub id: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseTimeToLiveResponse {
    /// The rest, in seconds; below zero: there is no such lease.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
    #[prost(int64, tag = "4")]
    pub granted_ttl: i64,
}

/// Starts one watch on a stream of watches.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub create: Option<WatchCreateRequest>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct WatchCreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct WatchResponse {
    /// Whether the watch was refused, or is over.
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}

/// A change of a key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Event {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// After the change; of a deleted key there are only its name and the revision.
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
}

impl Event {
    /// A value of `kind`.
    pub const PUT: i32 = 0;
    /// A value of `kind`.
    pub const DELETE: i32 = 1;
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StatusRequest {}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatusResponse {
    #[prost(string, tag = "2")]
    pub version: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AuthenticateRequest {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub password: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AuthenticateResponse {
    #[prost(string, tag = "2")]
    pub token: String,
}

/// Returns the first key after all keys with this prefix; a zero byte, which means the end, if there is
/// none.
pub fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}
