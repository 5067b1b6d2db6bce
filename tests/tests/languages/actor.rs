//! The counter of one language under one key, spoken to as a RivetKit client does, in JSON.

use std::sync::Arc;

use rivet_tests::address::by_key;
use rivet_tests::{Answer, Call, Engine, Socket, until};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

#[derive(Clone)]
pub struct Actor {
    pub engine: Arc<Engine>,
    /// Under which its component is deployed.
    pub name: String,
    pub key: String,
}

/// A failure as a client sees it.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub group: String,
    pub code: String,
    pub message: String,
    pub metadata: Value,
}

impl Actor {
    pub fn new(engine: Arc<Engine>, name: impl Into<String>, key: impl Into<String>) -> Actor {
        Actor { engine, name: name.into(), key: key.into() }
    }

    /// The same component under another key.
    pub fn other(&self, key: &str) -> Actor {
        Actor { key: format!("{}-{key}", self.key), ..self.clone() }
    }

    pub async fn send(&self, call: fn(String) -> Call, path: &str) -> Answer {
        self.engine.send(call(by_key(&self.name, &self.key, path))).await
    }

    pub async fn try_call(&self, action: &str, args: Value) -> Result<Value, Refusal> {
        let call = Call::post(by_key(&self.name, &self.key, &format!("/action/{action}"))).json(&json!({ "args": args }));
        let answer = self.engine.send(call).await;
        let (status, said) = (answer.status, answer.json());
        if status == 200 { Ok(said["output"].clone()) } else { Err(refusal(&said)) }
    }

    /// An action that must answer.
    pub async fn call(&self, action: &str, args: Value) -> Value {
        let answer = self.try_call(action, args).await;
        answer.unwrap_or_else(|refusal| panic!("{} {action}: an answer expected, seen {refusal:?}", self.name))
    }

    /// The code with which an action refuses.
    pub async fn refusal(&self, action: &str, args: Value) -> String {
        let answer = self.try_call(action, args).await;
        answer.expect_err(&format!("{} {action}: a refusal expected", self.name)).code
    }

    pub async fn becomes(&self, action: &str, expected: Value) {
        until(&format!("{} {action} is {expected}", self.name), async || {
            let seen = self.call(action, json!([])).await;
            (seen == expected).then_some(()).ok_or(seen.to_string())
        })
        .await;
    }

    /// A message for its queue; the answer once it was handled.
    pub async fn push(&self, queue: &str, body: Value) -> Value {
        let said = json!({ "body": body, "wait": true, "timeout": 20_000 });
        let call = Call::post(by_key(&self.name, &self.key, &format!("/queue/{queue}"))).json(&said);
        self.engine.send(call).await.expect_ok("a message for a queue").json()
    }

    pub async fn id(&self) -> String {
        self.engine.get_or_create(&self.name, &self.key, None).await.0
    }

    pub async fn sleep(&self) {
        self.engine.sleep(&self.id().await).await;
    }

    /// A connection as RivetKit's clients open it, after its first message.
    pub async fn connect(&self, params: &str) -> Connection {
        let protocols = format!("rivet, rivet_encoding.json, rivet_conn_params.{}", percent_encoded(params));
        let mut socket = Socket::open(&self.engine, &by_key(&self.name, &self.key, "/connect"), &protocols).await;
        let init = next_json(&mut socket).await;
        assert_eq!(init["body"]["tag"], "Init", "{init}");
        Connection { socket, said: 0 }
    }

    pub async fn open(&self, path: &str) -> Socket {
        Socket::open(&self.engine, &by_key(&self.name, &self.key, &format!("/websocket{path}")), "rivet").await
    }
}

pub struct Connection {
    pub socket: Socket,
    said: u64,
}

impl Connection {
    async fn say(&mut self, tag: &str, val: Value) {
        let message = json!({ "body": { "tag": tag, "val": val } }).to_string();
        self.socket.send(Message::text(message)).await.expect("it is open");
    }

    pub async fn subscribe(&mut self, event: &str) {
        self.say("SubscriptionRequest", json!({ "eventName": event, "subscribe": true })).await;
        // An answer to what was said later: the subscription was heard.
        self.call("get", json!([])).await.expect("an answer");
    }

    pub async fn call(&mut self, action: &str, args: Value) -> Result<Value, Refusal> {
        self.said += 1;
        let id = json!(["$BigInt", self.said.to_string()]);
        self.say("ActionRequest", json!({ "id": id, "name": action, "args": args })).await;
        let said = self.next_of(&["ActionResponse", "Error"]).await;
        match said["tag"].as_str() {
            Some("ActionResponse") => Ok(said["val"]["output"].clone()),
            _ => Err(refusal(&said["val"])),
        }
    }

    /// The arguments of the next event, which must be of this name.
    pub async fn event(&mut self, name: &str) -> Value {
        let event = self.next_of(&["Event"]).await["val"].clone();
        assert_eq!(event["name"], name, "{event}");
        event["args"].clone()
    }

    /// Leaves out what is of another kind.
    async fn next_of(&mut self, tags: &[&str]) -> Value {
        loop {
            let body = next_json(&mut self.socket).await["body"].clone();
            if tags.iter().any(|tag| body["tag"] == *tag) {
                return body;
            }
        }
    }
}

fn refusal(said: &Value) -> Refusal {
    let text = |name: &str| said[name].as_str().unwrap_or_default().to_string();
    Refusal { group: text("group"), code: text("code"), message: text("message"), metadata: said["metadata"].clone() }
}

/// The next text of a socket.
pub async fn next_text(socket: &mut Socket) -> String {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => text.to_string(),
        other => panic!("a text expected, seen {other:?}"),
    }
}

async fn next_json(socket: &mut Socket) -> Value {
    let text = next_text(socket).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
