//! The paths that RivetKit's clients ask for, answered by every actor that was built against version 0.2: actions, the queue,
//! health.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use protocol::component::Handler;
use protocol::message::Failure;

use super::{Response, Route, buffered};
use crate::actor::{Actor, Completion, Instance, Request};
use crate::bindings::exports::rivet::actor::action_handler::Origin;
use crate::client::call::{Push, Pushed};
use crate::client::{Broken, ClientError, Encoding, call, handshake, json};
use crate::config::{OUTGOING_BYTES_MAX, QUEUE_WAIT_MS_MAX};
use crate::sockets::serve::{Unanswered, without_prefix};
use crate::state::Refusal;

/// Set by the engine, never by a client: the actor that calls.
const CALLER: &str = "x-rivet-caller";

/// What a request is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Surface {
    Action(String),
    Queue(String),
    Health,
    /// The guest's own, under the path that the guest is to see.
    Raw(String),
    /// The guest's own, as it is.
    Other,
    WrongMethod,
}

pub fn surface(method: &Method, target: &str) -> Surface {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let named = |prefix: &str| {
        let name = path.strip_prefix(prefix).filter(|name| !name.is_empty() && !name.contains('/'))?;
        percent_decode_str(name).decode_utf8().ok().map(String::from)
    };
    let only = |allowed: Method, surface: Surface| if *method == allowed { surface } else { Surface::WrongMethod };
    if let Some(name) = named("/action/") {
        return only(Method::POST, Surface::Action(name));
    }
    if let Some(name) = named("/queue/") {
        return only(Method::POST, Surface::Queue(name));
    }
    if path == "/health" {
        return only(Method::GET, Surface::Health);
    }
    match without_prefix(path, "/request") {
        unchanged if unchanged == path => Surface::Other,
        rest => Surface::Raw(query.map_or_else(|| rest.to_string(), |query| format!("{rest}?{query}"))),
    }
}

pub async fn serve(instance: &mut Instance, request: Box<Request>, surface: Surface) -> Result<(), Failure> {
    let actor = Arc::clone(&instance.actor);
    let Some((head, route, body)) = buffered::whole(&actor, request) else { return Ok(()) };
    let encoding = handshake::encoding(&head.headers);
    let answered = match surface {
        Surface::Health => Ok(plain("ok")),
        Surface::Queue(name) => {
            let pushed = match read(instance, &body, |bytes_max| call::read_push(encoding, &body, bytes_max)) {
                Ok(push) => enqueue(&actor, instance.has(Handler::Queue), name, &push).await.map(|number| (number, push)),
                Err(error) => Err(error),
            };
            match pushed {
                Ok((number, push)) if push.wait => {
                    let completion = actor.completion(number);
                    let wait_ms = push.timeout_ms.unwrap_or(u64::MAX).min(QUEUE_WAIT_MS_MAX);
                    actor.shared.runtime.spawn(complete(route, encoding, completion, Duration::from_millis(wait_ms)));
                    return Ok(());
                }
                Ok(_) => Ok(pushed_response(encoding, &Pushed::Completed(None))),
                Err(error) => Ok(refused(instance, encoding, &error)),
            }
        }
        Surface::Action(name) => {
            let outcome = match read(instance, &body, |bytes_max| call::read_action(encoding, &body, bytes_max)) {
                Ok(args) => instance.act(name, args, origin(&head.headers)).await,
                Err(error) => Ok(Err(error)),
            };
            match outcome {
                Err(Unanswered { failure, told: Some(error) }) => {
                    // The guest has ended, and its caller is answered all the same.
                    actor.drop_writes();
                    let response = refused(instance, encoding, &error);
                    return buffered::say(&actor, route, Ok(response)).await.and(Err(failure));
                }
                Ok(outcome) => {
                    actor.commit().await.map(|()| outcome.and_then(|output| write(encoding, call::write_action(encoding, &output))))
                }
                Err(Unanswered { failure, told: None }) => Err(failure),
            }
            .map(|outcome| outcome.unwrap_or_else(|error| refused(instance, encoding, &error)))
        }
        Surface::WrongMethod | Surface::Raw(_) | Surface::Other => {
            let path = head.path.split('?').next().unwrap_or_default();
            let error = ClientError::new("actor", "method_not_allowed", format!("{} is not allowed for {path}", head.method));
            Ok(refused(instance, encoding, &error))
        }
    };
    buffered::say(&actor, route, answered).await
}

fn read<T>(instance: &Instance, body: &[u8], read: impl FnOnce(usize) -> Result<T, Broken>) -> Result<T, ClientError> {
    let bytes_max = instance.actor.message_bytes_max();
    if body.len() > bytes_max {
        return Err(ClientError::incoming_too_long(body.len(), bytes_max));
    }
    // What CBOR says in few bytes can be longer in JSON.
    read(2 * bytes_max).map_err(ClientError::of)
}

async fn enqueue(actor: &Actor, has_handler: bool, name: String, push: &Push) -> Result<u64, ClientError> {
    if !has_handler {
        let message = "the actor takes no messages: its component exports no rivet:actor/queue-handler".to_string();
        return Err(ClientError::new("queue", "not_handled", message));
    }
    actor.enqueue(name, push.body.clone()).await.map_err(|refusal| {
        let text = refusal.text().to_string();
        match refusal {
            Refusal::QuotaExceeded(_) => ClientError::new("queue", "full", text),
            Refusal::TooLarge(_) => ClientError::new("queue", "message_too_large", text),
            Refusal::Invalid(_) => ClientError::new("queue", "invalid_payload", text),
            Refusal::Other(_) => ClientError::new("core", "internal_error", text),
        }
    })
}

/// Answers when the message has been handled, which is durable then. It stays in the queue if nobody waits any more.
async fn complete(route: Arc<Route>, encoding: Encoding, completion: Completion, wait: Duration) {
    let completed = tokio::select! {
        completed = tokio::time::timeout(wait, completion) => completed,
        () = route.gone() => return,
    };
    // Closed without a word: the actor has left memory, and goes on with it when it is back.
    let pushed = match completed.ok().and_then(Result::ok) {
        // The handler's text, which nobody has looked at.
        Some(said) => Pushed::Completed(said.filter(|said| said.len() <= OUTGOING_BYTES_MAX && json::check(said).is_ok())),
        None => Pushed::TimedOut,
    };
    route.respond(pushed_response(encoding, &pushed));
}

fn pushed_response(encoding: Encoding, pushed: &Pushed) -> Response {
    // It may be nested too deep for CBOR.
    let body = call::write_push(encoding, pushed).or_else(|_| call::write_push(encoding, &Pushed::Completed(None)));
    response(StatusCode::OK, encoding.content_type(), body.unwrap_or_default())
}

fn origin(headers: &HeaderMap) -> Origin {
    let caller = headers.get(CALLER).and_then(|caller| caller.to_str().ok());
    caller.map_or(Origin::Http, |caller| Origin::Actor(caller.to_string()))
}

fn write(encoding: Encoding, written: Result<Vec<u8>, Broken>) -> Result<Response, ClientError> {
    match written {
        Ok(body) => Ok(response(StatusCode::OK, encoding.content_type(), body)),
        Err(broken) => Err(ClientError::new("actor", "invalid_response", format!("the result cannot be sent: {broken}"))),
    }
}

fn refused(instance: &Instance, encoding: Encoding, error: &ClientError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let speaker = instance.actor.speaker();
    // Metadata was checked, and may be nested too deep for CBOR all the same.
    let body = call::write_error(encoding, error, &speaker)
        .or_else(|_| call::write_error(encoding, &ClientError { metadata: None, ..error.clone() }, &speaker));
    response(status, encoding.content_type(), body.unwrap_or_default())
}

fn plain(text: &'static str) -> Response {
    response(StatusCode::OK, "text/plain; charset=utf-8", text.into())
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    Response { status, headers, body: body.into(), sending: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_what_they_are_for() {
        let action = |name: &str| Surface::Action(name.to_string());
        let raw = |path: &str| Surface::Raw(path.to_string());
        let rows = [
            ("POST", "/action/add", action("add")),
            ("POST", "/action/add?x=1", action("add")),
            ("POST", "/action/no%20args%2F%C3%B6", action("no args/ö")),
            ("GET", "/action/add", Surface::WrongMethod),
            ("POST", "/action/", Surface::Other),
            ("POST", "/action/a/b", Surface::Other),
            ("POST", "/action/%ff", Surface::Other),
            ("POST", "/queue/jobs", Surface::Queue("jobs".to_string())),
            ("PUT", "/queue/jobs", Surface::WrongMethod),
            ("GET", "/health", Surface::Health),
            ("POST", "/health", Surface::WrongMethod),
            ("GET", "/healthy", Surface::Other),
            ("GET", "/request", raw("/")),
            ("GET", "/request?x=1", raw("/?x=1")),
            ("PUT", "/request/a/b?x=1", raw("/a/b?x=1")),
            ("GET", "/request/request/a", raw("/request/a")),
            ("GET", "/requests", Surface::Other),
            ("GET", "/", Surface::Other),
            ("GET", "/connect", Surface::Other),
        ];
        for (method, path, expected) in rows {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(surface(&method, path), expected, "{method} {path}");
        }
    }
}
