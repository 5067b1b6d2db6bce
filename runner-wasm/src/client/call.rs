//! Actions, queued messages and errors over HTTP: one request, one answer.

use super::bare::{Reader, Writer};
use super::{Broken, ClientError, Encoding, Speaker, cbor, json};

/// A message for the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Push {
    /// If the body says it; the path does, too.
    pub name: Option<String>,
    /// JSON text.
    pub body: String,
    /// Answer only when the message has been handled.
    pub wait: bool,
    pub timeout_ms: Option<u64>,
}

/// How it came out for whom put it into the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pushed {
    Completed(Option<String>),
    TimedOut,
}

/// The arguments of an action: JSON text, an array.
pub fn read_action(encoding: Encoding, body: &[u8], bytes_max: usize) -> Result<String, Broken> {
    let args = match encoding {
        Encoding::Json => json::fields(body, ["args"])?,
        Encoding::Cbor => json::fields(cbor::to_json(body, bytes_max)?.as_bytes(), ["args"])?,
        Encoding::Bare => {
            let mut reader = Reader::new(body)?;
            let args = cbor::to_json(reader.data()?, bytes_max)?;
            reader.end()?;
            [Some(args)]
        }
    };
    let [args] = args;
    Ok(arguments(args))
}

/// What is not an array is the only argument; nothing is none.
pub fn arguments(args: Option<String>) -> String {
    match args {
        None => "[]".to_string(),
        Some(nothing) if nothing == "null" || nothing == json::UNDEFINED => "[]".to_string(),
        Some(args) if json::is_array(&args) => args,
        Some(only) => format!("[{only}]"),
    }
}

pub fn write_action(encoding: Encoding, output: &str) -> Result<Vec<u8>, Broken> {
    match encoding {
        Encoding::Bare => {
            let mut writer = Writer::new();
            writer.data(&cbor::from_json(output)?);
            Ok(writer.finish())
        }
        Encoding::Json | Encoding::Cbor => finish(encoding, format!("{{\"output\":{output}}}")),
    }
}

pub fn read_push(encoding: Encoding, body: &[u8], bytes_max: usize) -> Result<Push, Broken> {
    let of_json = |text: &[u8]| {
        let [body, name, wait, timeout] = json::fields(text, ["body", "name", "wait", "timeout"])?;
        Ok(Push {
            name: json::text("name", name)?,
            body: body.unwrap_or_else(|| "null".to_string()),
            wait: json::flag("wait", wait)?.unwrap_or(false),
            timeout_ms: json::uint("timeout", timeout)?,
        })
    };
    match encoding {
        Encoding::Json => of_json(body),
        Encoding::Cbor => of_json(cbor::to_json(body, bytes_max)?.as_bytes()),
        Encoding::Bare => {
            let mut reader = Reader::new(body)?;
            let push = Push {
                body: cbor::to_json(reader.data()?, bytes_max)?,
                name: reader.optional(Reader::text)?,
                wait: reader.optional(Reader::bool)?.unwrap_or(false),
                timeout_ms: reader.optional(Reader::u64)?,
            };
            reader.end()?;
            Ok(push)
        }
    }
}

pub fn write_push(encoding: Encoding, pushed: &Pushed) -> Result<Vec<u8>, Broken> {
    let (status, response) = match pushed {
        Pushed::Completed(response) => ("completed", response.as_deref()),
        Pushed::TimedOut => ("timedOut", None),
    };
    match encoding {
        Encoding::Bare => {
            let response = response.map(cbor::from_json).transpose()?;
            let mut writer = Writer::new();
            writer.text(status).optional(response, |writer, response| writer.data(&response));
            Ok(writer.finish())
        }
        Encoding::Json | Encoding::Cbor => {
            let response = response.map(|response| format!(",\"response\":{response}")).unwrap_or_default();
            finish(encoding, format!("{{\"status\":\"{status}\"{response}}}"))
        }
    }
}

pub fn write_error(encoding: Encoding, error: &ClientError, actor: &Speaker) -> Result<Vec<u8>, Broken> {
    match encoding {
        Encoding::Bare => {
            let mut writer = Writer::new();
            push_bare_error(&mut writer, error)?;
            push_bare_speaker(&mut writer, actor);
            Ok(writer.finish())
        }
        Encoding::Json | Encoding::Cbor => {
            let mut text = "{".to_string();
            push_json_error(&mut text, error, actor);
            text.push('}');
            finish(encoding, text)
        }
    }
}

/// The fields that an error has everywhere.
pub fn push_json_error(out: &mut String, error: &ClientError, actor: &Speaker) {
    for (name, value) in [("\"group\":", &error.group), (",\"code\":", &error.code), (",\"message\":", &error.message)] {
        out.push_str(name);
        json::push_text(out, value);
    }
    if let Some(metadata) = &error.metadata {
        out.push_str(",\"metadata\":");
        out.push_str(metadata);
    }
    out.push_str(",\"actor\":{\"actorId\":");
    json::push_text(out, &actor.id);
    out.push_str(&format!(",\"generation\":{}", actor.generation));
    if let Some(key) = &actor.key {
        out.push_str(",\"key\":");
        json::push_text(out, key);
    }
    out.push('}');
}

pub fn push_bare_error(writer: &mut Writer, error: &ClientError) -> Result<(), Broken> {
    let metadata = error.metadata.as_deref().map(cbor::from_json).transpose()?;
    writer.text(&error.group).text(&error.code).text(&error.message);
    writer.optional(metadata, |writer, metadata| writer.data(&metadata));
    Ok(())
}

pub fn push_bare_speaker(writer: &mut Writer, actor: &Speaker) {
    writer.optional(Some(actor), |writer, actor| {
        writer.text(&actor.id).uint(u64::from(actor.generation));
        writer.optional(actor.key.as_deref(), |writer, key| writer.text(key))
    });
}

/// JSON as it is, or the same shapes in CBOR.
pub fn finish(encoding: Encoding, text: String) -> Result<Vec<u8>, Broken> {
    if encoding == Encoding::Cbor { cbor::from_json(&text) } else { Ok(text.into_bytes()) }
}
