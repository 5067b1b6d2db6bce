//! A standard HTTP component: it knows WASI only, and runs on any host of `wasi:http`.
//!
//! Bodies are streams: nothing here holds a whole one, however large it is.

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// At most so many bytes are copied at once.
const PIECE_BYTES_MAX: u64 = 64 * 1024;

struct Http;
wasip2::http::proxy::export!(Http);

impl Guest for Http {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match (request.method(), path) {
            (Method::Get, "/") => respond(out, 200, |body| write(body, &format!("hello from {target}\n"))),
            (Method::Post, "/echo") => respond(out, 200, |body| echo(&request, body)),
            (Method::Get, "/stream") => respond(out, 200, |body| stream(query, body)),
            (Method::Get, _) if path.starts_with("/files/") => match open(&path["/files/".len()..]) {
                Ok(input) => respond(out, 200, |body| copy(&input, body)),
                Err(error) => respond(out, 404, |body| write(body, &format!("{path} cannot be read: {error}\n"))),
            },
            (_, "/" | "/echo" | "/stream") => respond(out, 405, |body| write(body, "use GET /, POST /echo or GET /stream\n")),
            _ => respond(out, 404, |body| write(body, &format!("there is no {path}\n"))),
        }
    }
}

fn echo(request: &IncomingRequest, output: &OutputStream) -> Result<(), StreamError> {
    let body = request.consume().expect("nobody took the body before");
    let input = body.stream().expect("nobody took the stream before");
    copy(&input, output)
}

/// A file in the first folder that the host shows; most hosts show none.
fn open(name: &str) -> Result<InputStream, ErrorCode> {
    let (folder, _) = preopens::get_directories().into_iter().next().ok_or(ErrorCode::NoEntry)?;
    let file = folder.open_at(PathFlags::empty(), name, OpenFlags::empty(), DescriptorFlags::READ)?;
    file.read_via_stream(0)
}

fn copy(input: &InputStream, output: &OutputStream) -> Result<(), StreamError> {
    loop {
        match output.blocking_splice(input, PIECE_BYTES_MAX) {
            Ok(_) => {}
            Err(StreamError::Closed) => return Ok(()),
            Err(failed) => return Err(failed),
        }
    }
}

/// `n` lines, each sent by itself, with `every_ms` milliseconds in between.
fn stream(query: &str, output: &OutputStream) -> Result<(), StreamError> {
    let every_ns = number(query, "every_ms=").unwrap_or(0).saturating_mul(1_000_000);
    for line in 1..=number(query, "n=").unwrap_or(5) {
        if line > 1 && every_ns > 0 {
            monotonic_clock::subscribe_duration(every_ns).block();
        }
        write(output, &format!("line {line}\n"))?;
    }
    Ok(())
}

fn respond(out: ResponseOutparam, status: u16, fill: impl FnOnce(&OutputStream) -> Result<(), StreamError>) {
    let headers = Fields::new();
    headers.append("content-type", b"text/plain; charset=utf-8").expect("a plain header");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a known status");
    let body = response.body().expect("the first to ask for it");
    let output = body.write().expect("the first to ask for it");
    // The head goes out here; the body follows as it is written.
    ResponseOutparam::set(out, Ok(response));
    let filled = fill(&output);
    drop(output);
    // A body that is dropped unfinished is cut off, so that nobody takes a part of it for the whole.
    if filled.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

/// WASI takes at most 4096 bytes in this call.
fn write(output: &OutputStream, text: &str) -> Result<(), StreamError> {
    text.as_bytes().chunks(4096).try_for_each(|piece| output.blocking_write_and_flush(piece))
}

fn number(query: &str, name: &str) -> Option<u64> {
    query.split('&').find_map(|pair| pair.strip_prefix(name))?.parse().ok()
}
