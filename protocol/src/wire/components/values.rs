//! What is more than a struct or an enum of ours: ids, heads of requests, maps, the codes of errors.
//!
//! There is one encoding of every value here too, so what could be written in two ways is refused in one of them: the keys of a map
//! ascend, and a header comes once, with all of its values.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::component::{ComponentHash, ComponentRefusal};
use crate::database::DatabaseError;
use crate::id::{Id, RequestId};
use crate::message::CallError;
use crate::trace::{Carried, SpanContext};
use crate::wire::bare::{DecodeError, Problem, Reader, Wire, Writer};
use crate::wire::version::Feature;

/// Every group and code that an error of a database may have, by the number that stands for it. The last is what all others
/// become, with their own in the text.
const DATABASE_CODES: &[(&str, &str)] = &[
    ("depot", "database_not_found"),
    ("depot", "head_fence_mismatch"),
    ("depot", "meta_missing"),
    ("depot", "commit_too_large"),
    ("depot", "stage_not_found"),
    ("depot", "stage_segment_invalid"),
    ("depot", "quota_exceeded"),
    ("sqlite", "invalid_request"),
    ("core", "internal_error"),
];

impl Wire for DatabaseError {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let at = r.at();
        let number = r.uint()?;
        let known = usize::try_from(number).ok().and_then(|number| DATABASE_CODES.get(number));
        let (group, code) = known.ok_or_else(|| r.no_member(at, "DatabaseError", number))?;
        Ok(DatabaseError { group, code, message: Wire::read(r)? })
    }

    fn write(&self, w: &mut Writer) {
        let DatabaseError { group, code, message } = self;
        match DATABASE_CODES.iter().position(|known| *known == (*group, *code)) {
            Some(number) => {
                w.uint(number as u64);
                message.write(w);
            }
            None => {
                w.uint(DATABASE_CODES.len() as u64 - 1);
                format!("{group}.{code}: {message}").write(w);
            }
        }
    }
}

impl<T: Wire> Wire for Box<T> {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        T::read(r).map(Box::new)
    }

    fn write(&self, w: &mut Writer) {
        (**self).write(w);
    }
}

impl<T: Wire> Wire for Arc<T> {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        T::read(r).map(Arc::new)
    }

    fn write(&self, w: &mut Writer) {
        (**self).write(w);
    }
}

macro_rules! results {
    ($($error:ty),*) => { $(
        impl<T: Wire> Wire for Result<T, $error> {
            fn read(r: &mut Reader) -> Result<Self, DecodeError> {
                let at = r.at();
                match r.uint()? {
                    0 => Ok(Ok(T::read(r)?)),
                    1 => Ok(Err(Wire::read(r)?)),
                    tag => Err(r.no_member(at, "Result", tag)),
                }
            }

            fn write(&self, w: &mut Writer) {
                w.uint(u64::from(self.is_err()));
                match self {
                    Ok(value) => value.write(w),
                    Err(error) => error.write(w),
                }
            }
        }
    )* };
}

// Not of any error: that of Rivet's databases is written in another way.
results! { String, DatabaseError, CallError, ComponentRefusal }

/// A page of a database and its number.
impl Wire for (u32, Bytes) {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok((Wire::read(r)?, Wire::read(r)?))
    }

    fn write(&self, w: &mut Writer) {
        self.0.write(w);
        self.1.write(w);
    }
}

impl Wire for usize {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let at = r.at();
        usize::try_from(u64::read(r)?).map_err(|_| r.error(at, Problem::Not("a number of things in memory")))
    }

    fn write(&self, w: &mut Writer) {
        (*self as u64).write(w);
    }
}

/// Bit by bit: a number that is none has many forms, and each stays what it is.
impl Wire for f64 {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        u64::read(r).map(f64::from_bits)
    }

    fn write(&self, w: &mut Writer) {
        self.to_bits().write(w);
    }
}

impl Wire for Id {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let at = r.at();
        Id::from_bytes(r.array()?).map_err(|_| r.error(at, Problem::Not("an id")))
    }

    fn write(&self, w: &mut Writer) {
        self.as_bytes().write(w);
    }
}

impl Wire for RequestId {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        u64::read(r).map(RequestId)
    }

    fn write(&self, w: &mut Writer) {
        self.0.write(w);
    }
}

impl Wire for ComponentHash {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        r.array().map(ComponentHash)
    }

    fn write(&self, w: &mut Writer) {
        self.0.write(w);
    }
}

/// Nothing in versions that do not know it: whoever hears those begins anew.
impl Wire for Carried {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        if !r.has(Feature::Carried) {
            return Ok(Carried::default());
        }
        Ok(Carried { ray: Wire::read(r)?, context: Wire::read(r)? })
    }

    fn write(&self, w: &mut Writer) {
        if w.has(Feature::Carried) {
            self.ray.write(w);
            self.context.write(w);
        }
    }
}

/// As in W3C Trace Context: no number is 0.
impl Wire for SpanContext {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let at = r.at();
        let (trace_id, span_id) = (u128::from_be_bytes(r.array()?), u64::from_be_bytes(r.array()?));
        if trace_id == 0 || span_id == 0 {
            return Err(r.error(at, Problem::Not("the number of a span")));
        }
        Ok(SpanContext { trace_id, span_id, is_sampled: Wire::read(r)? })
    }

    fn write(&self, w: &mut Writer) {
        self.trace_id.to_be_bytes().write(w);
        self.span_id.to_be_bytes().write(w);
        self.is_sampled.write(w);
    }
}

impl Wire for HeaderValue {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let at = r.at();
        HeaderValue::from_maybe_shared(Bytes::read(r)?).map_err(|_| r.error(at, Problem::Not("a header's value")))
    }

    fn write(&self, w: &mut Writer) {
        w.data(self.as_bytes());
    }
}

impl Wire for Method {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let at = r.at();
        Method::from_str(&String::read(r)?).map_err(|_| r.error(at, Problem::Not("a method")))
    }

    fn write(&self, w: &mut Writer) {
        w.text(self.as_str());
    }
}

impl Wire for StatusCode {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let at = r.at();
        StatusCode::from_u16(u16::read(r)?).map_err(|_| r.error(at, Problem::Not("a status")))
    }

    fn write(&self, w: &mut Writer) {
        self.as_u16().write(w);
    }
}

/// Each name once and in lower case, with its values, of which there is at least one.
impl Wire for HeaderMap {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let at = r.at();
        let said: Vec<(String, Vec<Bytes>)> = Wire::read(r)?;
        let not = |what| r.error(at, Problem::Not(what));
        let mut headers = HeaderMap::new();
        for (name, values) in said {
            let name = HeaderName::from_lowercase(name.as_bytes()).map_err(|_| not("a header's name in lower case"))?;
            if values.is_empty() {
                return Err(not("a header with a value"));
            }
            for value in values {
                let value = HeaderValue::from_maybe_shared(value).map_err(|_| not("a header's value"))?;
                headers.try_append(name.clone(), value).map_err(|_| not("as many headers as a request can have"))?;
            }
        }
        Ok(headers)
    }

    fn write(&self, w: &mut Writer) {
        w.uint(self.keys_len() as u64);
        for name in self.keys() {
            w.text(name.as_str());
            let values = self.get_all(name);
            w.uint(values.iter().count() as u64);
            values.iter().for_each(|value| w.data(value.as_bytes()));
        }
    }
}

impl Wire for BTreeMap<String, String> {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let at = r.at();
        let entries: Vec<(String, String)> = Wire::read(r)?;
        if !entries.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(r.error(at, Problem::Not("a map whose keys ascend")));
        }
        Ok(entries.into_iter().collect())
    }

    fn write(&self, w: &mut Writer) {
        w.uint(self.len() as u64);
        for (key, value) in self {
            key.write(w);
            value.write(w);
        }
    }
}
