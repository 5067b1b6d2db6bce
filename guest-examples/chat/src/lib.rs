//! A chat room: RivetKit clients and plain WebSockets in one room, with a history in SQL.
//!
//! Who somebody is, is the state of the connection: it is there again when the room has slept, so an idle room costs no memory while
//! all its sockets stay open.

use rivet_actor::{
    Action, Actions, Connections, Failure, Http, Message, OpenRequest, Origin, Request, Response, Start, StartReason, Value,
    WebSockets, clock, connections, json, reply, sql,
};

const NAME_BYTES_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 4096;
const HISTORY_MAX: i64 = 100;

#[derive(Default)]
struct Room;

rivet_actor::export!(Room: Start + Actions + Connections + WebSockets + Http);

impl Start for Room {
    fn start(&mut self, _reason: StartReason) -> Result<(), String> {
        let schema = "CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, at INTEGER NOT NULL)";
        sql::script(schema).map_err(|error| error.message)
    }
}

impl Connections for Room {
    fn connect(&mut self, _id: &str, params: Option<Value>) -> Result<Vec<u8>, Failure> {
        name_of(params.as_ref().and_then(|params| params["name"].as_str()))
    }
}

impl Actions for Room {
    fn action(&mut self, call: Action) -> Result<Value, Failure> {
        match call.name.as_str() {
            "say" => {
                let (text,): (String,) = call.args()?;
                let Origin::Connection(id) = &call.origin else {
                    return Err(Failure::new("not_connected", "connect with a name first"));
                };
                reply(say(id, &text)?)
            }
            "history" => {
                let (before, limit): (Option<i64>, Option<i64>) = call.args()?;
                reply(history(before, limit.unwrap_or(HISTORY_MAX))?)
            }
            "here" => reply(connections::list().iter().map(|one| text_of(&one.state)).collect::<Vec<_>>()),
            _ => call.unknown(),
        }
    }
}

impl WebSockets for Room {
    /// `/?name=ada`
    fn open(&mut self, _id: &str, request: OpenRequest) -> Result<Vec<u8>, Failure> {
        let query = request.query.unwrap_or_default();
        name_of(query.split('&').find_map(|pair| pair.strip_prefix("name=")))
    }

    fn receive(&mut self, id: &str, message: Message) {
        let said = match &message {
            Message::Text(text) => say(id, text),
            Message::Binary(_) => Err(Failure::new("not_text", "say it in words")),
        };
        if let Err(failure) = said {
            let refused = json!({ "error": failure.code, "message": failure.message }).to_string();
            connections::send(id, &refused.into()).expect("a short message to one that is open");
        }
    }
}

impl Http for Room {
    fn request(&mut self, request: Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => match history(None, HISTORY_MAX) {
                Ok(messages) => Response::json(200, messages),
                Err(failure) => Response::text(500, failure.to_string()),
            },
            _ => Response::text(404, "there is only GET /"),
        }
    }
}

/// Keeps a message, and tells it to all who are here: events to RivetKit clients, JSON to plain WebSockets.
fn say(id: &str, text: &str) -> Result<Value, Failure> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(Failure::new("invalid_text", format!("a message has 1 to {TEXT_BYTES_MAX} bytes, and not {}", text.len())));
    }
    let name = connections::get(id).map(|connection| text_of(&connection.state)).unwrap_or_default();
    let at = clock::now_ms();
    let statement = "INSERT INTO message (name, text, at) VALUES (?, ?, ?)";
    let added = sql::execute(statement, &[name.as_str().into(), text.into(), at.cast_signed().into()])?;
    let message = json!({ "id": added.last_insert_row_id, "name": name, "text": text, "at": at });
    connections::broadcast("message", (&message,))?;
    let line = Message::Text(message.to_string());
    for socket in connections::list().iter().filter(|one| one.kind == connections::Kind::Websocket) {
        connections::send(&socket.id, &line)?;
    }
    Ok(message)
}

/// The newest before this id, oldest first.
fn history(before: Option<i64>, limit: i64) -> Result<Vec<Value>, Failure> {
    let statement = "SELECT id, name, text, at FROM message WHERE id < ? ORDER BY id DESC LIMIT ?";
    let found = sql::execute(statement, &[before.unwrap_or(i64::MAX).into(), limit.clamp(1, HISTORY_MAX).into()])?;
    let message = |row: &Vec<sql::Value>| json!({ "id": row[0].integer(), "name": row[1].text(), "text": row[2].text(), "at": row[3].integer() });
    Ok(found.rows.iter().rev().map(message).collect())
}

fn name_of(name: Option<&str>) -> Result<Vec<u8>, Failure> {
    match name {
        Some(name) if !name.is_empty() && name.len() <= NAME_BYTES_MAX => Ok(name.into()),
        _ => Err(Failure::new("invalid_name", format!("say who you are: a name of 1 to {NAME_BYTES_MAX} bytes"))),
    }
}

fn text_of(state: &[u8]) -> String {
    String::from_utf8_lossy(state).into_owned()
}
