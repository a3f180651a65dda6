//! The answers: the page and the stream of events. There is nothing else, and no request changes
//! anything.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::door::Door;
use super::feed::Feed;
use super::page;
use super::strangers::Pass;

/// The number of event streams at once.
const VIEWERS: usize = 256;

#[derive(Clone)]
struct Served {
    feed: Feed,
    door: Arc<Door>,
    seats: Arc<Semaphore>,
}

pub(super) fn routes(feed: Feed, door: Door) -> Router {
    let (door, seats) = (Arc::new(door), Arc::new(Semaphore::new(VIEWERS)));
    let served = Served { feed, door, seats };
    Router::new()
        .route("/", get(page))
        .route("/events", get(events))
        .fallback(async || (StatusCode::NOT_FOUND, "Not found; the page is at /.\n"))
        .layer(from_fn_with_state(served.clone(), guarded))
        .with_state(served)
}

/// Answers permitted requests, refuses others, and adds the security headers to every answer.
async fn guarded(State(served): State<Served>, request: Request, next: Next) -> Response {
    let (method, headers) = (request.method(), request.headers());
    let pass = request.extensions().get::<ConnectInfo<Pass>>();
    let admit = || pass.is_none_or(|ConnectInfo(pass)| pass.admit());
    let query = request.uri().query().unwrap_or_default();
    let mut response = match served.door.admits(method, headers) {
        Err(refusal) => refused(refusal),
        Ok(()) => match served.door.cookie_for(query) {
            Some(cookie) => {
                let to = [(SET_COOKIE, cookie), (LOCATION, "/".into())];
                (StatusCode::SEE_OTHER, to).into_response()
            }
            None => match served.door.knows(headers) {
                Ok(()) if !admit() => crowded("Too many connections are open; try again.\n".into()),
                Ok(()) => next.run(request).await,
                Err(refusal) => refused(refusal),
            },
        },
    };
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 7] = [
        // One answer per connection: none is kept open for a request that may never arrive.
        (CONNECTION, "close"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let nothing = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(nothing));
    response
}

fn refused((status, why): super::door::Refusal) -> Response {
    let mut response = (status, why + "\n").into_response();
    let headers = response.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn crowded(why: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")], why).into_response()
}

async fn page() -> Response {
    let page = page::fresh();
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CONTENT_SECURITY_POLICY, page.policy),
    ];
    (headers, page.html).into_response()
}

async fn events(State(served): State<Served>, method: Method) -> Response {
    let headers = [(CONTENT_TYPE, "text/event-stream")];
    if method == Method::HEAD {
        return headers.into_response();
    }
    let Ok(seat) = Arc::clone(&served.seats).try_acquire_owned() else {
        return crowded(format!("{VIEWERS} viewers are connected already; close one.\n"));
    };
    let viewer = Viewer { feed: served.feed, changes: None, _seat: seat };
    let messages = stream::unfold(viewer, |mut viewer| async {
        let message = viewer.next().await?;
        Some((Ok::<_, Infallible>(message), viewer))
    });
    (headers, Body::from_stream(messages)).into_response()
}

/// A viewer of the event stream.
struct Viewer {
    feed: Feed,
    /// The messages that it has not been sent yet; `None` if it needs the whole board.
    changes: Option<Receiver<Bytes>>,
    _seat: OwnedSemaphorePermit,
}

impl Viewer {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(changes) = &mut self.changes {
            match changes.recv().await {
                Ok(message) => return Some(message),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
        // The board may be large: it is serialized on a thread that nothing else waits for.
        let feed = self.feed.clone();
        let (all, changes) = tokio::task::spawn_blocking(move || feed.subscribe()).await.ok()?;
        self.changes = Some(changes);
        Some(all)
    }
}
