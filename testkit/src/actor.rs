//! One actor, as its clients and its operators see it.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::error::Error;
use crate::socket::Socket;
use crate::{TestKit, encoded, refused};

/// An actor that was found or created. Whether it is awake, or still there, does not matter to this.
#[derive(Clone)]
pub struct Actor<'a> {
    kit: &'a TestKit,
    id: String,
}

/// A line that the actor has logged or printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// By the kit's clock.
    pub time_ms: u64,
    pub level: String,
    pub text: String,
}

impl<'a> Actor<'a> {
    pub(crate) fn new(kit: &'a TestKit, id: String) -> Actor<'a> {
        Actor { kit, id }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Calls an action with these arguments, a JSON array, and gives back what it answers.
    pub fn action(&self, name: &str, args: Value) -> Result<Value, Error> {
        let mut answer = self.ask("action", name, json!({ "args": args }))?;
        Ok(answer["output"].take())
    }

    /// Puts a message into one of the actor's queues, as JSON.
    pub fn push(&self, queue: &str, body: Value) -> Result<(), Error> {
        self.ask("queue", queue, json!({ "body": body })).map(drop)
    }

    fn ask(&self, surface: &str, name: &str, body: Value) -> Result<Value, Error> {
        let target = format!("/gateway/{}/{surface}/{}", self.id, encoded(name));
        let request = Request::builder().method(Method::POST).uri(target);
        let request = request.header("content-type", "application/json").header("x-rivet-encoding", "json");
        let response = self.send(request.body(body.to_string().into()))?;
        let answer = serde_json::from_slice(response.body()).unwrap_or_default();
        match response.status() {
            StatusCode::OK => Ok(answer),
            status => Err(refused(status, answer)),
        }
    }

    /// A request to the actor's HTTP handler, with its path there. Whatever the status, the answer is one.
    pub fn http(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let target = format!("/gateway/{}/request{path}", self.id);
        parts.uri = target.parse().map_err(|error| Error::broken(&target, &error))?;
        self.send(Ok(Request::from_parts(parts, body)))
    }

    fn send(&self, request: http::Result<Request<Bytes>>) -> Result<Response<Bytes>, Error> {
        let request = request.map_err(|error| Error::broken("this cannot be asked", &error))?;
        self.kit.run(async |running| {
            let answer = running.answered(running.send(request)).await;
            running.rest().await;
            answer
        })
    }

    /// Opens a WebSocket: `/connect` as clients of RivetKit do, `/websocket/…` for the actor's own.
    pub fn socket(&self, path: &str) -> Result<Socket<'a>, Error> {
        Socket::open(self.kit, &format!("/gateway/{}{path}", self.id))
    }

    /// Puts it to sleep, if it is awake.
    pub fn sleep(&self) -> Result<(), Error> {
        let target = format!("/actors/{}/sleep?namespace=default", self.id);
        self.kit.ask(Method::POST, &target, &[], json!({}).to_string()).map(drop)
    }

    pub fn destroy(&self) -> Result<(), Error> {
        self.kit.ask(Method::DELETE, &format!("/actors/{}?namespace=default", self.id), &[], "").map(drop)
    }

    /// The actor as the engine's API shows it; null if it is not there any more.
    pub fn shown(&self) -> Result<Value, Error> {
        let target = format!("/actors?namespace=default&actor_ids={}", self.id);
        let mut listed = self.kit.ask(Method::GET, &target, &[], "")?;
        Ok(listed["actors"][0].take())
    }

    /// It is in memory, and answers.
    pub fn is_awake(&self) -> Result<bool, Error> {
        Ok(self.shown()?["connectable_ts"].is_number())
    }

    /// The newest 10,000 lines that it has logged since the engine was started.
    pub fn logs(&self) -> Result<Vec<LogLine>, Error> {
        let target = format!("/actors/{}/logs?namespace=default&limit=10000", self.id);
        let text = self.kit.ask_text(Method::GET, &target, &[], "")?;
        let line = |line: &[u8]| {
            let line: Value = serde_json::from_slice(line).map_err(|error| Error::broken("a line of the log", &error))?;
            let text = |field: &str| line[field].as_str().unwrap_or_default().to_string();
            Ok(LogLine { time_ms: line["ts"].as_u64().unwrap_or_default(), level: text("level"), text: text("text") })
        };
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(line).collect()
    }
}
