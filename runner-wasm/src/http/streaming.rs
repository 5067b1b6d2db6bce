//! `wasi:http/incoming-handler`: bodies as streams, both ways.
//!
//! **Setting the response's head ends the transaction.** What the message has written until then becomes its commit; head and
//! body leave, as they are produced, once that commit is durable; later writes of the same message are refused. The message
//! itself ends when the handler returns, and the next one waits until then. A trap after the head cuts the response off.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};
use protocol::message::{Failure, FailureKind, RequestStart};
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, WasiHttpView};

use super::route::Piece;
use super::{Route, response};
use crate::actor::{Actor, Held, Instance, Request, Sending, guarded, stopped};

type Head = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

pub async fn serve(instance: &mut Instance, request: Request) -> Result<(), Failure> {
    let Request { head, route, .. } = request;
    let Instance { actor, store, handlers, .. } = instance;
    let Some(handler) = handlers.wasi_http else { return Ok(()) };
    let incoming = match incoming(head, Arc::clone(&route), actor.limits.message_bytes) {
        Ok(incoming) => incoming,
        Err(failure) => {
            route.abort_with(failure);
            return Ok(());
        }
    };
    actor.books().state.begin();
    let (tell, mut set) = oneshot::channel();
    let sealed = Arc::clone(actor);
    let mut view = store.data_mut().http();
    let resources = view.new_incoming_request(Scheme::Http, incoming).and_then(|request| {
        let out = view.new_response_outparam_from_callback(move |head| {
            sealed.books().state.seal();
            let _ = tell.send(head);
        })?;
        Ok((request, out))
    });
    let (request, out) = match resources {
        Ok(resources) => resources,
        Err(error) => {
            // The guest has filled its table: it kept what earlier requests gave it.
            let failure =
                Failure { kind: FailureKind::HandlerError, message: format!("the actor takes no more requests: {error:#}") };
            actor.say(Held::Abort(route, failure.clone()));
            return Err(failure);
        }
    };
    store.set_epoch_deadline(1);
    let mut response = Pending::new(actor, &route);
    let called = {
        let limit_ms = actor.shared.limits.message_ms;
        let call = guarded(actor, "http", limit_ms, deadline(actor, &route), handler.call_async(store, (request, out)));
        let mut call = std::pin::pin!(call);
        loop {
            tokio::select! {
                biased;
                head = &mut set, if !response.is_set => response.set(head.ok()).await,
                called = &mut call => break called,
            }
        }
    };
    // Set in the same breath as the handler returned.
    if !response.is_set {
        response.set(set.try_recv().ok()).await;
    }
    response.end(called.map_err(Failure::from))
}

/// The response of a handler that is running.
struct Pending<'a> {
    actor: &'a Arc<Actor>,
    route: &'a Arc<Route>,
    is_set: bool,
    /// To the one who sends the body: how the handler ended.
    ended: Option<oneshot::Sender<Result<(), Failure>>>,
    refused: bool,
    invalid: Option<Failure>,
}

impl<'a> Pending<'a> {
    fn new(actor: &'a Arc<Actor>, route: &'a Arc<Route>) -> Pending<'a> {
        Pending { actor, route, is_set: false, ended: None, refused: false, invalid: None }
    }

    async fn set(&mut self, head: Option<Head>) {
        self.is_set = true;
        match head {
            Some(Ok(head)) => {
                let (parts, body) = head.into_parts();
                match response::status(parts.status.as_u16()).and_then(|_| response::sendable(parts.headers)) {
                    // The transaction ends here; the guest is not called while it does.
                    Ok(headers) => match self.actor.commit().await {
                        Ok(()) => self.begin(parts.status, headers, body),
                        Err(failure) => self.invalid = Some(failure),
                    },
                    Err(failure) => self.invalid = Some(failure),
                }
            }
            Some(Err(code)) => self.refuse(&code),
            // The guest dropped its right to answer.
            None => {}
        }
    }

    fn begin(&mut self, status: StatusCode, headers: HeaderMap, body: HyperOutgoingBody) {
        let (open, opened) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        self.ended = Some(tell);
        let outgoing = OutgoingResponse {
            route: Arc::clone(self.route),
            status,
            headers,
            body,
            ended,
            end: None,
            _sending: Sending::new(self.actor, None),
        };
        self.actor.shared.runtime.spawn(async move {
            // Never opened: the actor was given up, and with it its requests.
            if opened.await.is_ok() {
                outgoing.send().await;
            }
        });
        self.actor.say(Held::Signal(open));
    }

    fn refuse(&mut self, code: &ErrorCode) {
        self.refused = true;
        self.actor.drop_writes();
        let message = cut(format!("the actor's http handler refused: {code:?}"), FAILURE_TEXT_BYTES_MAX);
        self.actor.say(Held::Abort(Arc::clone(self.route), Failure { kind: FailureKind::HandlerError, message }));
    }

    fn end(self, called: Result<(), Failure>) -> Result<(), Failure> {
        if let Some(tell) = self.ended {
            // Before the instance is dropped: its end would look like the end of the body.
            let _ = tell.send(called.clone());
            return called;
        }
        if self.refused {
            return called;
        }
        let unanswered = || Failure {
            kind: FailureKind::HandlerError,
            message: "the actor's http handler returned without a response".to_string(),
        };
        let failure = called.err().or(self.invalid).unwrap_or_else(unanswered);
        self.actor.drop_writes();
        self.actor.say(Held::Abort(Arc::clone(self.route), failure.clone()));
        Err(failure)
    }
}

/// A response whose commit is durable.
struct OutgoingResponse {
    route: Arc<Route>,
    status: StatusCode,
    headers: HeaderMap,
    body: HyperOutgoingBody,
    ended: oneshot::Receiver<Result<(), Failure>>,
    /// How the handler ended, once it has.
    end: Option<Result<(), Failure>>,
    _sending: Sending,
}

enum Next {
    Bytes(Bytes),
    End,
    Failed(Failure),
    Gone,
}

impl OutgoingResponse {
    async fn send(mut self) {
        if let Some(Err(failure)) = self.handler_end() {
            return self.route.abort_with(failure);
        }
        self.route.begin_stream(self.status, std::mem::take(&mut self.headers));
        loop {
            match self.next().await {
                Next::Bytes(bytes) => {
                    if !self.route.send_body(bytes).await {
                        return;
                    }
                }
                Next::End => return self.route.end_stream(),
                Next::Failed(failure) => return self.route.abort_with(failure),
                Next::Gone => return,
            }
        }
    }

    async fn next(&mut self) -> Next {
        loop {
            let frame = if self.end.is_some() {
                // What the handler has written is here; what is missing now will never come.
                match poll_fn(|cx| Poll::Ready(Pin::new(&mut self.body).poll_frame(cx))).await {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => return Next::Failed(self.failure()),
                }
            } else {
                tokio::select! {
                    biased;
                    frame = self.body.frame() => frame,
                    end = &mut self.ended => {
                        self.end = Some(end.unwrap_or_else(|_| Err(stopped())));
                        continue;
                    }
                    () = self.route.gone() => return Next::Gone,
                }
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => return Next::Bytes(bytes),
                    // Trailers: the engine has no place for them.
                    Err(_) => continue,
                },
                Some(Err(_)) => return Next::Failed(self.failure()),
                None if matches!(self.handler_end(), Some(Err(_))) => return Next::Failed(self.failure()),
                None => return Next::End,
            }
        }
    }

    fn handler_end(&mut self) -> Option<Result<(), Failure>> {
        if self.end.is_none() {
            self.end = match self.ended.try_recv() {
                Ok(end) => Some(end),
                Err(oneshot::error::TryRecvError::Empty) => None,
                // The task was dropped in the middle of the call.
                Err(oneshot::error::TryRecvError::Closed) => Some(Err(stopped())),
            };
        }
        self.end.clone()
    }

    fn failure(&mut self) -> Failure {
        match self.handler_end() {
            Some(Err(failure)) => failure,
            _ => {
                let message = "the actor did not finish the body of its response".to_string();
                Failure { kind: FailureKind::HandlerError, message }
            }
        }
    }
}

/// The request as `wasi:http` has it: with an authority, which an actor behind a gateway may not have been given.
fn incoming(head: RequestStart, route: Arc<Route>, bytes_left: usize) -> Result<http::Request<IncomingBody>, Failure> {
    let authority = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let uri = |authority: &str| Uri::builder().scheme("http").authority(authority).path_and_query(&head.path[..]).build();
    let uri = authority.and_then(|authority| uri(authority).ok()).map_or_else(|| uri("actor.invalid"), Ok);
    let uri = uri.map_err(|error| Failure {
        kind: FailureKind::HandlerError,
        message: format!("the request's path cannot be given to the actor: {error}"),
    })?;
    let mut request = http::Request::new(IncomingBody { route, bytes_left });
    *request.method_mut() = head.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = head.headers;
    Ok(request)
}

/// A message may take its time while it streams, as long as somebody listens.
fn deadline(actor: &Arc<Actor>, route: &Arc<Route>) -> impl Future<Output = ()> + use<> {
    let (actor, route) = (Arc::clone(actor), Arc::clone(route));
    let limit = Duration::from_millis(actor.shared.limits.message_ms);
    async move {
        loop {
            tokio::time::sleep(limit).await;
            if !actor.books().state.is_sealed() || route.is_gone() {
                return;
            }
        }
    }
}

/// The request's body, as the guest reads it: no more of it than the actor takes.
struct IncomingBody {
    route: Arc<Route>,
    bytes_left: usize,
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = self.get_mut();
        body.route.poll_piece(cx).map(|piece| match piece {
            Piece::Bytes(bytes) => Some(match body.bytes_left.checked_sub(bytes.len()) {
                Some(left) => {
                    body.bytes_left = left;
                    Ok(Frame::data(bytes))
                }
                None => Err(Error::HttpRequestBodySize(None)),
            }),
            Piece::End => None,
            Piece::Gone => Some(Err(Error::ConnectionTerminated)),
        })
    }
}
