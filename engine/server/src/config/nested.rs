//! JSON5 as a value, of bounded depth: its reader nests as deep as its text, and a stack has an end.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Lists and sections inside each other; keys have four at most.
const DEPTH_MAX: usize = 64;

pub fn read(text: &str) -> Result<Value, json5::Error> {
    json5::from_str(text).map(|Whole(value)| value)
}

struct Whole(Value);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Whole, D::Error> {
        Nested { left: DEPTH_MAX }.deserialize(deserializer).map(Whole)
    }
}

#[derive(Clone, Copy)]
struct Nested {
    left: usize,
}

impl Nested {
    fn inner<E: Error>(self) -> Result<Nested, E> {
        let left = self.left.checked_sub(1);
        left.map(|left| Nested { left })
            .ok_or_else(|| E::custom(format!("more than {DEPTH_MAX} lists or sections inside each other")))
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    /// JSON has no infinity, and no number that is none.
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut section: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut fields = Map::new();
        while let Some(name) = section.next_key()? {
            fields.insert(name, section.next_value_seed(inner)?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_and_their_depth() {
        let rows = [
            ("{a: [1, -2, 0x10, .5, 'b', true, null,],}", Some(json!({ "a": [1, -2, 16, 0.5, "b", true, null] }))),
            ("[NaN, Infinity]", Some(json!([null, null]))),
            ("{", None),
            ("{} {}", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text).ok(), expected, "{text}");
        }
        let nested = |depth: usize| read(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        assert!(nested(DEPTH_MAX).is_ok());
        for depth in [DEPTH_MAX + 1, 500_000] {
            let error = nested(depth).expect_err("it is too deep").to_string();
            assert!(error.contains("inside each other"), "{error}");
        }
        assert!(read(&"{a:".repeat(300_000)).is_err());
    }
}
