//! A guest that shows what clients can do with an actor: actions, connections, events, WebSockets.
//!
//! It keeps a diary of what it was told, under keys in order, so that a test can see what was handled, how often, and what of it was
//! kept. Arguments are JSON text that is passed on and never read: whatever a client says comes back as it was.

wit_bindgen::generate!({ path: "wit", generate_all });

use exports::rivet::actor::{action_handler, connection_handler, http_handler, queue_handler, websocket_handler};
use rivet::actor::types::{Failure, Header, Message};
use rivet::actor::{connections, context, kv};

struct Sockets;
export!(Sockets);

impl action_handler::Guest for Sockets {
    fn handle(call: action_handler::Call) -> Result<String, Failure> {
        let action_handler::Call { name, args, origin } = call;
        match name.as_str() {
            "echo" => Ok(args),
            "count" => {
                write(&format!("count {args}"));
                Ok(diary().len().to_string())
            }
            "diary" => Ok(list(&diary())),
            "origin" => Ok(quoted(&match origin {
                action_handler::Origin::Http => "http".to_string(),
                action_handler::Origin::Connection(id) => format!("connection {id}"),
                action_handler::Origin::Actor(id) => format!("actor {id}"),
                action_handler::Origin::Schedule(scheduled) => format!("schedule {}", scheduled.id),
            })),
            "whoami" => match origin {
                action_handler::Origin::Connection(id) => {
                    let connection = connections::get(&id).expect("it is the caller's");
                    let state = String::from_utf8_lossy(&connection.state).into_owned();
                    Ok(format!("[{},{},{}]", quoted(&id), connection.params.unwrap_or("null".to_string()), quoted(&state)))
                }
                _ => Err(failure("not_connected", "call it over a connection", None)),
            },
            "remember" => match origin {
                action_handler::Origin::Connection(id) => {
                    connections::set_state(&id, args.as_bytes()).expect("it is short");
                    Ok("null".to_string())
                }
                _ => Err(failure("not_connected", "call it over a connection", None)),
            },
            "broadcast" => Ok(connections::broadcast("news", &args).map_err(refused)?.to_string()),
            "all" => Ok(connections::list().len().to_string()),
            "say-and-trap" => {
                write("trap");
                connections::broadcast("news", "[\"never\"]").map_err(refused)?;
                panic!("as ordered");
            }
            "fail" => {
                write("fail");
                Err(failure("not_today", "not today", Some(r#"{"retry":7}"#)))
            }
            "kick" => match origin {
                action_handler::Origin::Connection(id) => {
                    connections::close(&id, Some(4000), Some("kicked")).map_err(refused)?;
                    Ok("null".to_string())
                }
                _ => Err(failure("not_connected", "call it over a connection", None)),
            },
            "large" => Ok(quoted(&"x".repeat(2 << 20))),
            "no-json" => Ok("{".to_string()),
            "sleep" => {
                context::sleep();
                Ok("null".to_string())
            }
            _ => Err(failure("action_not_found", "there is no such action", None)),
        }
    }
}

impl queue_handler::Guest for Sockets {
    fn handle(message: queue_handler::Queued) -> Result<Option<String>, Failure> {
        write(&format!("queued {} {}", message.name, message.body));
        Ok(Some(message.body))
    }
}

impl connection_handler::Guest for Sockets {
    fn connect(id: String, params: Option<String>) -> Result<Vec<u8>, Failure> {
        let params = params.unwrap_or_default();
        write(&format!("connect {params}"));
        if params.contains("banned") {
            connections::set_state(&id, b"never").expect("it is short");
            return Err(failure("banned", "you are banned", None));
        }
        if params.contains("trap") {
            panic!("as ordered");
        }
        Ok(b"new".to_vec())
    }

    fn disconnect(id: String) {
        let connection = connections::get(&id).expect("it is still known");
        write(&format!("disconnect {}", String::from_utf8_lossy(&connection.state)));
    }
}

impl websocket_handler::Guest for Sockets {
    fn open(id: String, request: websocket_handler::OpenRequest) -> Result<Vec<u8>, Failure> {
        write(&format!("open {}", request.path));
        if request.path == "/closed" {
            return Err(failure("closed", "not here", None));
        }
        connections::send(&id, &Message::Text(format!("hello {}", request.query.unwrap_or_default()))).map_err(refused)?;
        Ok(request.path.into_bytes())
    }

    fn receive(id: String, message: Message) {
        let text = match &message {
            Message::Text(text) => text.as_str(),
            Message::Binary(_) => "",
        };
        match text {
            "trap" => {
                write("trap");
                panic!("as ordered");
            }
            "close" => connections::close(&id, Some(4001), Some("bye")).expect("it can be closed"),
            "close with a wrong code" => {
                let refused = connections::close(&id, Some(1005), None).expect_err("no such code can be sent");
                let _ = connections::send(&id, &Message::Text(format!("{refused:?}")));
            }
            "flood" => {
                let mut sent = 0;
                while connections::send(&id, &Message::Binary(vec![0; 1 << 20])).is_ok() {
                    sent += 1;
                }
                write(&format!("sent {sent}"));
            }
            "read" => connections::send(&id, &message).expect("it is short"),
            text => {
                write(&format!("receive {text}"));
                connections::send(&id, &message).expect("it is short");
            }
        }
    }

    fn close(id: String, code: Option<u16>, reason: Option<String>) {
        let connection = connections::get(&id).expect("it is still known");
        let path = String::from_utf8_lossy(&connection.state).into_owned();
        write(&format!("close {path} {code:?} {reason:?}"));
    }
}

impl http_handler::Guest for Sockets {
    fn handle(request: http_handler::Request) -> http_handler::Response {
        let (status, body) = match request.path.as_str() {
            "/diary" => (200, diary().join("\n")),
            "/sleep" => {
                context::sleep();
                (200, String::new())
            }
            path => (200, format!("{} {path} {}", request.method, request.query.unwrap_or_default())),
        };
        let headers = vec![Header { name: "content-type".into(), value: b"text/plain".to_vec() }];
        http_handler::Response { status, headers, body: body.into_bytes() }
    }
}

fn write(line: &str) {
    let next = diary().len() as u32;
    kv::put(&[b"diary/", &next.to_be_bytes()[..]].concat(), line.as_bytes()).expect("it is short");
}

fn diary() -> Vec<String> {
    let options = kv::ListOptions { reverse: false, limit: None, keys_only: false };
    let entries = kv::list(&kv::Selector::Prefix(b"diary/".to_vec()), options).expect("it can be read");
    entries.into_iter().map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).collect()
}

fn list(lines: &[String]) -> String {
    format!("[{}]", lines.iter().map(|line| quoted(line)).collect::<Vec<_>>().join(","))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn failure(code: &str, message: &str, metadata: Option<&str>) -> Failure {
    Failure { code: code.to_string(), message: message.to_string(), metadata: metadata.map(str::to_string) }
}

fn refused(error: rivet::actor::types::Error) -> Failure {
    failure("refused", &format!("{error:?}"), None)
}
