//! JSON text: checked, copied and taken apart. Never a tree of it in memory.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Broken;

/// Where the parts of a value go, in their order.
pub trait Sink {
    fn null(&mut self);
    fn bool(&mut self, value: bool);
    fn unsigned(&mut self, value: u64);
    fn signed(&mut self, value: i64);
    fn float(&mut self, value: f64);
    fn text(&mut self, value: &str);
    /// What it gives back comes with the end.
    fn begin(&mut self, container: Container) -> usize;
    /// The element, or the key, with this number follows.
    fn next(&mut self, number: usize);
    /// The value of the key before follows.
    fn value(&mut self);
    fn end(&mut self, container: Container, began: usize, elements: usize);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Container {
    Array,
    Object,
}

/// Reads one value and gives its parts away. serde_json bounds the depth.
pub struct Parts<'a, S>(pub &'a mut S);

impl<'de, S: Sink> DeserializeSeed<'de> for Parts<'_, S> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Parts<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.null();
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.bool(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.unsigned(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.signed(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.float(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.text(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let began = self.0.begin(Container::Array);
        let mut elements = 0;
        while array.next_element_seed(Element { sink: &mut *self.0, number: elements })?.is_some() {
            elements += 1;
        }
        self.0.end(Container::Array, began, elements);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let began = self.0.begin(Container::Object);
        let mut elements = 0;
        while object.next_key_seed(Element { sink: &mut *self.0, number: elements })?.is_some() {
            self.0.value();
            object.next_value_seed(Parts(&mut *self.0))?;
            elements += 1;
        }
        self.0.end(Container::Object, began, elements);
        Ok(())
    }
}

struct Element<'a, S> {
    sink: &'a mut S,
    number: usize,
}

impl<'de, S: Sink> DeserializeSeed<'de> for Element<'_, S> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.sink.next(self.number);
        deserializer.deserialize_any(Parts(self.sink))
    }
}

/// JSON text that is being written.
#[derive(Default)]
pub struct Text(pub String);

impl Sink for Text {
    fn null(&mut self) {
        self.0.push_str("null");
    }

    fn bool(&mut self, value: bool) {
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn unsigned(&mut self, value: u64) {
        self.0.push_str(&value.to_string());
    }

    fn signed(&mut self, value: i64) {
        self.0.push_str(&value.to_string());
    }

    /// As JavaScript writes it: a guest that wants an integer must find one.
    fn float(&mut self, value: f64) {
        const EXACT: f64 = (1u64 << 53) as f64;
        if !value.is_finite() {
            self.null();
        } else if value.fract() == 0.0 && value.abs() < EXACT {
            self.signed(value as i64);
        } else {
            self.0.push_str(&serde_json::Number::from_f64(value).map_or_else(|| "null".to_string(), |number| number.to_string()));
        }
    }

    fn text(&mut self, value: &str) {
        push_text(&mut self.0, value);
    }

    fn begin(&mut self, container: Container) -> usize {
        self.0.push(if container == Container::Array { '[' } else { '{' });
        self.0.len()
    }

    fn next(&mut self, number: usize) {
        if number > 0 {
            self.0.push(',');
        }
    }

    fn value(&mut self) {
        self.0.push(':');
    }

    fn end(&mut self, container: Container, _: usize, _: usize) {
        self.0.push(if container == Container::Array { ']' } else { '}' });
    }
}

/// Goes nowhere: to check.
struct Nowhere;

impl Sink for Nowhere {
    fn null(&mut self) {}
    fn bool(&mut self, _: bool) {}
    fn unsigned(&mut self, _: u64) {}
    fn signed(&mut self, _: i64) {}
    fn float(&mut self, _: f64) {}
    fn text(&mut self, _: &str) {}
    fn begin(&mut self, _: Container) -> usize {
        0
    }
    fn next(&mut self, _: usize) {}
    fn value(&mut self) {}
    fn end(&mut self, _: Container, _: usize, _: usize) {}
}

/// Puts all parts of one JSON text into the sink.
pub fn read(text: &[u8], sink: &mut impl Sink) -> Result<(), Broken> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Parts(sink).deserialize(&mut deserializer).and_then(|()| deserializer.end()).map_err(|error| malformed(&error))
}

/// Whether this is one JSON value, not nested too deep.
pub fn check(text: &str) -> Result<(), Broken> {
    read(text.as_bytes(), &mut Nowhere)
}

pub fn is_array(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('[')
}

/// With its quotes.
pub fn push_text(out: &mut String, value: &str) {
    out.push('"');
    let mut clean = 0;
    for (at, byte) in value.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&value[clean..at]);
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte => out.push_str(&format!("\\u{byte:04x}")),
        }
        clean = at + 1;
    }
    out.push_str(&value[clean..]);
    out.push('"');
}

/// `["$BigInt","n"]`
pub fn push_bigint(out: &mut String, value: impl fmt::Display) {
    out.push_str("[\"$BigInt\",\"");
    out.push_str(&value.to_string());
    out.push_str("\"]");
}

/// The fields of an object that are asked for, each as JSON text; of two with one name the last. The others are skipped.
pub fn fields<const N: usize>(text: &[u8], names: [&str; N]) -> Result<[Option<String>; N], Broken> {
    struct Fields<'a, const N: usize>([&'a str; N]);

    impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
        type Value = [Option<String>; N];

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "an object with {}", self.0.join(", "))
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            let mut found = std::array::from_fn(|_| None);
            while let Some(key) = object.next_key::<String>()? {
                match self.0.iter().position(|name| *name == key) {
                    Some(at) => {
                        let mut text = Text::default();
                        object.next_value_seed(Parts(&mut text))?;
                        found[at] = Some(text.0);
                    }
                    None => drop(object.next_value::<IgnoredAny>()?),
                }
            }
            Ok(found)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let found = deserializer.deserialize_map(Fields(names));
    found.and_then(|found| deserializer.end().map(|()| found)).map_err(|error| malformed(&error))
}

/// How `undefined` is written.
pub const UNDEFINED: &str = "[\"$Undefined\",0]";

/// A string that may not be there; `null` and undefined count as that.
pub fn text(name: &str, field: Option<String>) -> Result<Option<String>, Broken> {
    parsed(name, field)
}

pub fn flag(name: &str, field: Option<String>) -> Result<Option<bool>, Broken> {
    parsed(name, field)
}

/// A whole number, as a number or as `["$BigInt", "n"]`.
pub fn uint(name: &str, field: Option<String>) -> Result<Option<u64>, Broken> {
    let Some(field) = field.filter(|field| field != UNDEFINED) else { return Ok(None) };
    let plain = serde_json::from_str::<Option<u64>>(&field).ok();
    let tagged = || match serde_json::from_str::<(String, String)>(&field) {
        Ok((tag, digits)) if tag == "$BigInt" => digits.parse().ok().map(Some),
        _ => None,
    };
    plain.or_else(tagged).ok_or_else(|| Broken::Malformed(format!("`{name}` is not a whole number of at most 64 bits")))
}

fn parsed<T: serde::de::DeserializeOwned>(name: &str, field: Option<String>) -> Result<Option<T>, Broken> {
    let Some(field) = field.filter(|field| field != UNDEFINED) else { return Ok(None) };
    serde_json::from_str::<Option<T>>(&field).map_err(|error| Broken::Malformed(format!("`{name}`: {error}")))
}

fn malformed(error: &serde_json::Error) -> Broken {
    Broken::Malformed(format!("not the JSON that is expected: {error}"))
}
