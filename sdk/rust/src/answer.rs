//! Arguments and answers: JSON on the wire, Rust's types here.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Failure;
pub use crate::bindings::http::exports::rivet::actor::http_handler::{Request, Response};
pub use crate::bindings::rivet::actor::types::Header;

/// What an action answers with.
///
/// ```
/// assert_eq!(rivet_actor::reply(["a", "b"]).unwrap().to_string(), r#"["a","b"]"#);
/// ```
pub fn reply(value: impl Serialize) -> Result<Value, Failure> {
    Ok(serde_json::to_value(value)?)
}

/// Something that came as JSON, such as the body of a request or the actor's input; a failure `invalid_json` if it does not fit.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    Ok(serde_json::from_slice(bytes)?)
}

/// The arguments of an action, as a tuple. Those that are missing are null: `Option` takes them. More than there are is an error.
pub trait Args: Sized {
    #[doc(hidden)]
    fn from_values(values: Vec<Value>) -> Result<Self, Failure>;
}

macro_rules! args {
    ($count:literal: $($name:ident)*) => {
        impl<$($name: DeserializeOwned),*> Args for ($($name,)*) {
            fn from_values(values: Vec<Value>) -> Result<Self, Failure> {
                if values.len() > $count {
                    return Err(invalid(format!("{} arguments were given, and there are {}", values.len(), $count)));
                }
                let mut values = values.into_iter().enumerate();
                Ok(($(one::<$name>(&mut values)?,)*))
            }
        }
    };
}

args!(1: A);
args!(2: A B);
args!(3: A B C);
args!(4: A B C D);
args!(5: A B C D E);
args!(6: A B C D E F);

impl Args for () {
    fn from_values(values: Vec<Value>) -> Result<Self, Failure> {
        if values.is_empty() { Ok(()) } else { Err(invalid(format!("{} arguments were given, and there are none", values.len()))) }
    }
}

fn one<T: DeserializeOwned>(values: &mut impl Iterator<Item = (usize, Value)>) -> Result<T, Failure> {
    match values.next() {
        Some((at, value)) => serde_json::from_value(value).map_err(|error| invalid(format!("argument {}: {error}", at + 1))),
        None => serde_json::from_value(Value::Null).map_err(|_| invalid("an argument is missing".into())),
    }
}

fn invalid(message: String) -> Failure {
    Failure::new("invalid_argument", message)
}

impl Request {
    /// The first header of this name, which is lower case; none if it is not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.name == name)?;
        std::str::from_utf8(&header.value).ok()
    }
}

impl Response {
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Response {
        let headers = vec![Header { name: "content-type".into(), value: content_type.into() }];
        Response { status, headers, body: body.into() }
    }

    pub fn text(status: u16, text: impl Into<String>) -> Response {
        Response::new(status, "text/plain; charset=utf-8", text.into())
    }

    /// The same with one more header, whose name is lower case.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Response {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// Panics if the value cannot be written as JSON, which a map with keys that are not strings cannot.
    pub fn json(status: u16, value: impl Serialize) -> Response {
        let body = serde_json::to_vec(&value).unwrap_or_else(|error| panic!("a response cannot be written as JSON: {error}"));
        Response::new(status, "application/json", body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_a_tuple_or_a_failure_that_says_which() {
        type Two = (i64, Option<String>);
        let rows: [(&str, Result<Two, &str>); 6] = [
            (r#"[1, "a"]"#, Ok((1, Some("a".into())))),
            ("[1]", Ok((1, None))),
            ("[1, null]", Ok((1, None))),
            ("[]", Err("an argument is missing")),
            (r#"[1, 2]"#, Err("argument 2: invalid type: integer `2`, expected a string")),
            (r#"[1, "a", 3]"#, Err("3 arguments were given, and there are 2")),
        ];
        for (given, expected) in rows {
            let seen = Two::from_values(serde_json::from_str(given).expect("rows are JSON")).map_err(|failure| failure.message);
            assert_eq!(seen, expected.map_err(String::from), "{given}");
        }
    }
}
