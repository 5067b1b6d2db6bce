//! What goes over `/connect`: calls and subscriptions from the client, answers, events and errors to it.

use super::bare::{Reader, Writer};
use super::call::{arguments, finish, push_bare_error, push_bare_speaker, push_json_error};
use super::{Broken, ClientError, Encoding, Speaker, cbor, json};

/// From the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromClient {
    Call {
        /// The client's number for it.
        id: u64,
        name: String,
        /// JSON text, an array.
        args: String,
    },
    Subscribe {
        event: String,
        subscribe: bool,
    },
}

/// To the client. Values are JSON text that was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToClient<'a> {
    /// The first of all.
    Init {
        actor: &'a str,
        connection: &'a str,
    },
    /// Without the number of a call it is about the connection.
    Error {
        call: Option<u64>,
        error: &'a ClientError,
        actor: &'a Speaker,
    },
    Answer {
        call: u64,
        output: &'a str,
    },
    Event {
        name: &'a str,
        args: &'a str,
    },
}

pub fn read(encoding: Encoding, message: &[u8], bytes_max: usize) -> Result<FromClient, Broken> {
    match encoding {
        Encoding::Json => read_json(message),
        Encoding::Cbor => read_json(cbor::to_json(message, bytes_max)?.as_bytes()),
        Encoding::Bare => read_bare(message, bytes_max),
    }
}

fn read_json(text: &[u8]) -> Result<FromClient, Broken> {
    let missing = |what: &str| Broken::Malformed(format!("the message has no {what}"));
    let [body] = json::fields(text, ["body"])?;
    let [tag, val] = json::fields(body.ok_or_else(|| missing("`body`"))?.as_bytes(), ["tag", "val"])?;
    let tag = json::text("tag", tag)?.ok_or_else(|| missing("`body.tag`"))?;
    let val = val.ok_or_else(|| missing("`body.val`"))?;
    match &tag[..] {
        "ActionRequest" => {
            let [id, name, args] = json::fields(val.as_bytes(), ["id", "name", "args"])?;
            Ok(FromClient::Call {
                id: json::uint("id", id)?.ok_or_else(|| missing("`id`"))?,
                name: json::text("name", name)?.ok_or_else(|| missing("`name`"))?,
                args: arguments(args),
            })
        }
        "SubscriptionRequest" => {
            let [event, subscribe] = json::fields(val.as_bytes(), ["eventName", "subscribe"])?;
            Ok(FromClient::Subscribe {
                event: json::text("eventName", event)?.ok_or_else(|| missing("`eventName`"))?,
                subscribe: json::flag("subscribe", subscribe)?.ok_or_else(|| missing("`subscribe`"))?,
            })
        }
        other => Err(Broken::Malformed(format!(
            "`body.tag` is {:?}, not a message of a client",
            other.chars().take(64).collect::<String>()
        ))),
    }
}

fn read_bare(message: &[u8], bytes_max: usize) -> Result<FromClient, Broken> {
    let mut reader = Reader::new(message)?;
    let read = match reader.byte()? {
        0 => {
            let (id, name) = (reader.uint()?, reader.text()?);
            FromClient::Call { id, name, args: arguments(Some(cbor::to_json(reader.data()?, bytes_max)?)) }
        }
        1 => FromClient::Subscribe { event: reader.text()?, subscribe: reader.bool()? },
        other => return Err(reader.broken(&format!("{other} is not a message of a client"))),
    };
    reader.end()?;
    Ok(read)
}

pub fn write(encoding: Encoding, message: ToClient<'_>) -> Result<Vec<u8>, Broken> {
    if encoding == Encoding::Bare {
        return write_bare(message);
    }
    let (tag, val) = match message {
        ToClient::Init { actor, connection } => {
            let mut val = "\"actorId\":".to_string();
            json::push_text(&mut val, actor);
            val.push_str(",\"connectionId\":");
            json::push_text(&mut val, connection);
            ("Init", val)
        }
        ToClient::Error { call, error, actor } => {
            let mut val = String::new();
            push_json_error(&mut val, error, actor);
            val.push_str(",\"actionId\":");
            match call {
                Some(call) => json::push_bigint(&mut val, call),
                None => val.push_str("null"),
            }
            ("Error", val)
        }
        ToClient::Answer { call, output } => {
            let mut val = "\"id\":".to_string();
            json::push_bigint(&mut val, call);
            val.push_str(",\"output\":");
            val.push_str(output);
            ("ActionResponse", val)
        }
        ToClient::Event { name, args } => {
            let mut val = "\"name\":".to_string();
            json::push_text(&mut val, name);
            val.push_str(",\"args\":");
            val.push_str(args);
            ("Event", val)
        }
    };
    finish(encoding, format!("{{\"body\":{{\"tag\":\"{tag}\",\"val\":{{{val}}}}}}}"))
}

fn write_bare(message: ToClient<'_>) -> Result<Vec<u8>, Broken> {
    let mut writer = Writer::new();
    match message {
        ToClient::Init { actor, connection } => writer.byte(0).text(actor).text(connection),
        ToClient::Error { call, error, actor } => {
            push_bare_error(writer.byte(1), error)?;
            writer.optional(call, |writer, call| writer.uint(call));
            push_bare_speaker(&mut writer, actor);
            &mut writer
        }
        ToClient::Answer { call, output } => writer.byte(2).uint(call).data(&cbor::from_json(output)?),
        ToClient::Event { name, args } => writer.byte(3).text(name).data(&cbor::from_json(args)?),
    };
    Ok(writer.finish())
}
