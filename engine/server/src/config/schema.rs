//! `config schema`: the table of keys as a JSON Schema (2020-12), for editors and for checks before anything is rolled out.
//!
//! Takes the same files as the engine, as far as one value tells: what several keys mean together, and what the machine has, is for
//! `config check`.

use serde_json::{Map, Value, json};

use crate::config::args::StartArgs;
use crate::config::keys::{Fate, KEYS, Key, Kind};
use crate::config::sources::Sources;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const TRUE: &str = "[Tt][Rr][Uu][Ee]|1|[Yy][Ee][Ss]|[Oo][Nn]";
const FALSE: &str = "[Ff][Aa][Ll][Ss][Ee]|0|[Nn][Oo]|[Oo][Ff][Ff]";

pub fn schema() -> Value {
    let flags = flags();
    let mut root = Map::new();
    for key in KEYS {
        let mut parts: Vec<&str> = key.path.split('.').collect();
        // What is below is the value's own.
        if parts.last() == Some(&"**") {
            parts.pop();
        }
        insert(&mut root, &parts, leaf(key, &flags));
    }
    let mut schema = section(root);
    schema["$schema"] = DIALECT.into();
    schema["title"] = "Configuration of rivet-engine".into();
    schema
}

/// Keys and the flags of `start` that set them.
pub fn flags() -> Vec<(&'static str, &'static str)> {
    let mut sources = Sources::default();
    StartArgs::default().tell(&mut sources);
    sources.flags()
}

/// Into the tree of sections; a leaf is a schema already.
fn insert(section: &mut Map<String, Value>, parts: &[&str], leaf: Value) {
    let [name, below @ ..] = parts else { return };
    if below.is_empty() {
        section.insert(name.to_string(), json!({ "leaf": leaf }));
        return;
    }
    let inner = section.entry(name.to_string()).or_insert_with(|| json!({ "section": {} }));
    if let Some(Value::Object(inner)) = inner.get_mut("section") {
        insert(inner, below, leaf);
    }
}

/// Nothing may be in a section but what is known; null says nothing.
fn section(tree: Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut others = Value::Bool(false);
    for (name, node) in tree {
        let schema = match node {
            Value::Object(mut node) => match (node.remove("leaf"), node.remove("section")) {
                (Some(leaf), _) => leaf,
                (None, Some(Value::Object(inner))) => section(inner),
                (None, _) => continue,
            },
            _ => continue,
        };
        match name.as_str() {
            "*" => others = schema,
            // The older form is a list, each with its name.
            "datacenters" => drop(properties.insert(name, listed(schema))),
            _ => drop(properties.insert(name, schema)),
        }
    }
    json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": others })
}

fn listed(by_name: Value) -> Value {
    let mut entry = by_name["additionalProperties"].clone();
    entry["type"] = "object".into();
    entry["required"] = json!(["name"]);
    entry["properties"]["name"] = json!({ "const": "default" });
    // Sections of another name are refused when all is read; there is one datacenter.
    let mut by_name = by_name;
    by_name["propertyNames"] = json!({ "const": "default" });
    json!({ "anyOf": [by_name, { "type": "array", "items": entry }] })
}

fn leaf(key: &Key, flags: &[(&str, &str)]) -> Value {
    let mut schema = match key.fate {
        Fate::Refused(_) => json!({ "type": "null" }),
        _ => form(key),
    };
    let flag = flags.iter().find(|(path, _)| *path == key.path).map(|(_, flag)| format!(" Flag: {flag}."));
    let told = match key.fate {
        Fate::Used => {
            let unit = match key.unit() {
                "" => String::new(),
                unit => format!(" ({unit})"),
            };
            let (meaning, default, variable) = (key.meaning, key.default, key.variable());
            format!("{meaning}. Default{unit}: {default}. Variable: {variable}.{}", flag.unwrap_or_default())
        }
        Fate::SameAs(other) => format!("Another spelling of {other}."),
        Fate::Idle(why) | Fate::NoEffect(why) => format!("Without effect: {why}."),
        Fate::Refused(remedy) => format!("Refused: {remedy}."),
    };
    schema["description"] = told.into();
    schema
}

fn form(key: &Key) -> Value {
    let text = match key.pattern {
        "" => json!({ "type": "string" }),
        pattern => json!({ "type": "string", "pattern": pattern }),
    };
    let or_null = |mut forms: Vec<Value>| {
        forms.push(json!({ "type": "null" }));
        json!({ "anyOf": forms })
    };
    match key.kind {
        Kind::Any => json!({}),
        Kind::Text | Kind::Secret => or_null(vec![text]),
        Kind::Flag => or_null(vec![
            json!({ "enum": [true, false, 0, 1] }),
            json!({ "type": "string", "pattern": format!("^(?:{TRUE}|{FALSE})$") }),
        ]),
        Kind::Whole { min, max } => or_null(vec![
            json!({ "type": "integer", "minimum": min, "maximum": max }),
            json!({ "type": "string", "pattern": digits(min, max) }),
        ]),
        Kind::Number => or_null(vec![
            json!({ "type": "number" }),
            json!({ "type": "string", "pattern": r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?$" }),
        ]),
        Kind::Texts => or_null(vec![json!({ "type": "array", "items": text })]),
    }
}

/// A whole number in digits, up to the largest; 0 only if that is allowed. A least number above 1 is told by the engine alone.
fn digits(min: u64, max: u64) -> String {
    let text = max.to_string();
    let mut forms = Vec::new();
    if min == 0 {
        forms.push("0".to_string());
    }
    if text.len() > 1 {
        forms.push(format!("[1-9][0-9]{{0,{}}}", text.len() - 2));
    }
    for (at, digit) in text.bytes().enumerate() {
        let least = if at == 0 { b'1' } else { b'0' };
        if digit > least {
            let (before, rest) = (&text[..at], text.len() - at - 1);
            forms.push(format!("{before}[{}-{}][0-9]{{{rest}}}", char::from(least), char::from(digit - 1)));
        }
    }
    forms.push(text);
    format!(r"^\+?0*(?:{})$", forms.join("|"))
}
