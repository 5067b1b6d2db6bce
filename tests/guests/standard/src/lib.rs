//! A component that knows only standard interfaces: `wasi:http` both ways, `wasi:keyvalue`, `wasi:config`. The path says what to do.

use std::cell::Cell;

wit_bindgen::generate!({ path: "wit", generate_all });

use wasi::config::store as config;
use wasi::keyvalue0_2_0_draft::{atomics, batch, store};
use wasi::keyvalue0_2_0_draft2::{atomics as atomics2, store as store2};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

thread_local! {
    /// Outlives its message.
    static KEPT: Cell<Option<atomics2::Cas>> = const { Cell::new(None) };
}

struct Standard;
wasip2::http::proxy::export!(Standard);

impl Guest for Standard {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let said = carry_out(&path.split('/').skip(1).collect::<Vec<_>>());
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the first to take it");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the first to take it");
        stream.blocking_write_and_flush(said.as_bytes()).expect("somebody reads");
        drop(stream);
        OutgoingBody::finish(body, None).expect("it has no length to keep to");
    }
}

fn carry_out(words: &[&str]) -> String {
    let bucket = || store::open("default").expect("it is always there");
    match words {
        ["open", name] => format!("{:?}", store::open(name).map(drop)),
        ["get", key] => shown(bucket().get(key).expect("it can be read")),
        ["set", key, value] => format!("{:?}", bucket().set(key, value.as_bytes())),
        ["delete", key] => format!("{:?}", bucket().delete(key)),
        ["exists", key] => format!("{:?}", bucket().exists(key)),
        ["fill", count] => {
            let pairs: Vec<_> = (0..count.parse().expect("a number")).map(|number: u32| (format!("{number:05}"), vec![])).collect();
            format!("{:?}", batch::set_many(&bucket(), &pairs))
        }
        ["many", first, second] => {
            let found = batch::get_many(&bucket(), &[first.to_string(), second.to_string()]).expect("they can be read");
            found.into_iter().map(|pair| shown(pair.map(|(_, value)| value))).collect::<Vec<_>>().join(" ")
        }
        ["drop", first, second] => format!("{:?}", batch::delete_many(&bucket(), &[first.to_string(), second.to_string()])),
        ["increment", key] => format!("{:?}", atomics::increment(&bucket(), key, 2)),
        ["decrement", key] => format!("{:?}", atomics2::increment(&store2::open("").expect("it is there"), key, -1)),
        ["cas", key, value] => {
            let cas = atomics2::Cas::new(&store2::open("").expect("it is there"), key).expect("it can be read");
            format!("{} {}", shown(cas.current().expect("it can be read")), swapped(atomics2::swap(cas, value.as_bytes())))
        }
        ["cas-keep", key] => {
            let cas = atomics2::Cas::new(&store2::open("").expect("it is there"), key);
            format!("{:?}", cas.map(|cas| KEPT.set(Some(cas))))
        }
        ["cas-swap", value] => {
            let cas = KEPT.take().expect("one was kept");
            swapped(atomics2::swap(cas, value.as_bytes()))
        }
        ["cas-many"] => {
            let bucket = store2::open("").expect("it is there");
            let many: Vec<_> = (0..1_000_000).map(|_| atomics2::Cas::new(&bucket, "a")).collect();
            many.len().to_string()
        }
        ["pages"] => {
            let (bucket, mut cursor, mut pages) = (bucket(), None, Vec::new());
            loop {
                let page = bucket.list_keys(cursor).expect("they can be listed");
                pages.push(page.keys.len().to_string());
                cursor = page.cursor;
                if cursor.is_none() {
                    return pages.join(" ");
                }
            }
        }
        ["pages2"] => {
            let (bucket, mut cursor, mut pages) = (store2::open("").expect("it is there"), None, Vec::new());
            loop {
                let page = bucket.list_keys(cursor.as_deref()).expect("they can be listed");
                pages.push(page.keys.len().to_string());
                cursor = page.cursor;
                if cursor.is_none() {
                    return pages.join(" ");
                }
            }
        }
        ["config", name] => format!("{:?}", config::get(name)),
        ["config"] => format!("{:?}", config::get_all()),
        ["fetch", authority] => fetch(&Scheme::Http, authority).unwrap_or_else(|code| format!("{code:?}")),
        ["fetch-tls", authority] => fetch(&Scheme::Https, authority).unwrap_or_else(|code| format!("{code:?}")),
        _ => "there is no such path".to_string(),
    }
}

fn fetch(scheme: &Scheme, authority: &str) -> Result<String, ErrorCode> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(scheme)).expect("it is one");
    request.set_authority(Some(authority)).expect("it is one");
    request.set_path_with_query(Some("/")).expect("it is one");
    let answer = outgoing_handler::handle(request, None)?;
    answer.subscribe().block();
    let response = answer.get().expect("it is there").expect("the first to take it")?;
    let body = response.consume().expect("the first to take it");
    let stream = body.stream().expect("the first to take it");
    let mut text = format!("{} ", response.status());
    loop {
        match stream.blocking_read(1024) {
            Ok(bytes) => text += &String::from_utf8_lossy(&bytes),
            Err(StreamError::Closed) => return Ok(text),
            Err(StreamError::LastOperationFailed(error)) => return Ok(format!("{text} and then {}", error.to_debug_string())),
        }
    }
}

/// A swap that came too late keeps the handle that it got for it.
fn swapped(result: Result<(), atomics2::CasError>) -> String {
    match result {
        Ok(()) => "swapped".to_string(),
        Err(atomics2::CasError::StoreError(error)) => format!("{error:?}"),
        Err(atomics2::CasError::CasFailed(cas)) => {
            let found = shown(cas.current().expect("it can be read"));
            KEPT.set(Some(cas));
            format!("too late: {found}")
        }
    }
}

fn shown(value: Option<Vec<u8>>) -> String {
    value.map_or("none".to_string(), |value| String::from_utf8_lossy(&value).into_owned())
}
