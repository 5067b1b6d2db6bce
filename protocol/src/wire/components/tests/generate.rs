//! Any value of any type that has bytes here. The tables of messages say how structs and enums are made; the rest is here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::component::ComponentHash;
use crate::database::DatabaseError;
use crate::id::{Id, RequestId};
use crate::trace::{Carried, SpanContext};

pub trait Generate: Sized {
    fn generate(random: &mut Rng) -> Self;
}

macro_rules! generated {
    ($($ty:ty = |$random:ident| $value:expr;)*) => { $(
        impl Generate for $ty {
            fn generate($random: &mut Rng) -> Self {
                $value
            }
        }
    )* };
}

generated! {
    bool = |random| random.bool();
    u16 = |random| random.u16(..) >> random.u32(..16);
    u32 = |random| random.u32(..) >> random.u32(..32);
    u64 = |random| random.u64(..) >> random.u32(..64);
    i64 = |random| random.i64(..) >> random.u32(..64);
    usize = |random| random.usize(..) >> random.u32(..usize::BITS);
    f64 = |random| [0.0, -0.0, f64::NAN, f64::INFINITY, f64::from_bits(random.u64(..))][random.usize(..5)];
    String = |random| (0..random.usize(..8)).map(|_| random.char('\0'..)).collect();
    Bytes = |random| (0..random.usize(..40)).map(|_| random.u8(..)).collect();
    Id = |random| Id::new(random.u128(..).to_le_bytes(), random.u16(..));
    RequestId = |random| RequestId(u64::generate(random));
    ComponentHash = |random| ComponentHash(std::array::from_fn(|_| random.u8(..)));
    Method = |random| [Method::GET, Method::POST, Method::DELETE, "PURGE".parse().expect("a method")][random.usize(..4)].clone();
    StatusCode = |random| StatusCode::from_u16(random.u16(100..1000)).expect("in range");
    (u32, Bytes) = |random| (u32::generate(random), Bytes::generate(random));
    BTreeMap<String, String> = |random| {
        (0..random.usize(..4)).map(|_| (String::generate(random), String::generate(random))).collect()
    };
    DatabaseError = |random| {
        let message = String::generate(random);
        match random.bool() {
            true => DatabaseError { group: "depot", code: "quota_exceeded", message },
            false => DatabaseError { group: "core", code: "internal_error", message },
        }
    };
    HeaderValue = |random| {
        let value: Vec<u8> = (0..random.usize(..9)).map(|_| random.u8(b' '..=b'~')).collect();
        HeaderValue::from_bytes(&value).expect("visible characters")
    };
    SpanContext = |random| {
        SpanContext { trace_id: random.u128(1..), span_id: random.u64(1..), is_sampled: random.bool() }
    };
    // By numbers of its own, so that the messages of a version without it stay what they were.
    Carried = |random| {
        let own = &mut random.clone();
        Carried { ray: Generate::generate(own), context: Generate::generate(own) }
    };
    HeaderMap = |random| {
        let mut headers = HeaderMap::new();
        for _ in 0..random.usize(..6) {
            let name = ["host", "x-a", "x-b", "cookie"][random.usize(..4)];
            let value: Vec<u8> = (0..random.usize(..9)).map(|_| random.u8(b' '..=b'~')).collect();
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(&value).expect("visible characters"));
        }
        headers
    };
}

impl<T: Generate> Generate for Option<T> {
    fn generate(random: &mut Rng) -> Self {
        random.bool().then(|| T::generate(random))
    }
}

impl<T: Generate> Generate for Vec<T> {
    fn generate(random: &mut Rng) -> Self {
        (0..random.usize(..4)).map(|_| T::generate(random)).collect()
    }
}

impl<T: Generate> Generate for Box<T> {
    fn generate(random: &mut Rng) -> Self {
        Box::new(T::generate(random))
    }
}

impl<T: Generate> Generate for Arc<T> {
    fn generate(random: &mut Rng) -> Self {
        Arc::new(T::generate(random))
    }
}

impl<T: Generate, E: Generate> Generate for Result<T, E> {
    fn generate(random: &mut Rng) -> Self {
        if random.bool() { Ok(T::generate(random)) } else { Err(E::generate(random)) }
    }
}
