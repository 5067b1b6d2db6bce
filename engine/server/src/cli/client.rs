//! The way to an engine that runs: its API over HTTP, with errors that name the remedy.

use std::error::Error;

use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde_json::Value;

/// An answer that is longer is not one of an engine.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

pub struct Client {
    http: reqwest::Client,
    base: Url,
    pub namespace: String,
}

/// An error as the API answers it.
#[derive(Deserialize)]
struct Refused {
    group: String,
    code: String,
    message: String,
}

impl Client {
    pub fn new(engine: &str, namespace: &str) -> Result<Client, String> {
        let base =
            Url::parse(engine).map_err(|error| format!("{engine:?} is not a URL ({error}); http://127.0.0.1:6420 is one"))?;
        if base.scheme() != "http" || base.cannot_be_a_base() {
            return Err(format!(
                "{engine} cannot be reached: only http:// is spoken here; use a tunnel or a proxy on this machine"
            ));
        }
        // A proxy that the environment names is for other hosts.
        let http = reqwest::Client::builder().no_proxy().build().map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Client { http, base, namespace: namespace.to_string() })
    }

    /// A request in the namespace; each part of the path is one segment, whatever is in it.
    pub fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.query_pairs_mut().append_pair("namespace", &self.namespace).extend_pairs(query);
        self.http.request(method, url)
    }

    pub async fn send(&self, request: RequestBuilder) -> Result<Response, String> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        match serde_json::from_slice::<Refused>(&body) {
            Ok(refused) => Err(format!("{} ({}.{})", refused.message, refused.group, refused.code)),
            Err(_) => Err(format!("{} answered with status {status}; is it an engine?", self.base)),
        }
    }

    pub async fn json(&self, request: RequestBuilder) -> Result<Value, String> {
        let response = self.send(request).await?;
        response.json().await.map_err(|error| format!("the engine's answer is not JSON: {}", chain(&error)))
    }

    /// Hands over each line of an answer as it comes.
    pub async fn lines(&self, mut response: Response, mut take: impl FnMut(Value) -> Result<(), String>) -> Result<(), String> {
        let mut line = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            for part in chunk.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.len() > LINE_BYTES_MAX {
                    return Err(format!("the engine sent a line of more than {LINE_BYTES_MAX} bytes"));
                }
                if part.ends_with(b"\n") {
                    let value = serde_json::from_slice(&line)
                        .map_err(|error| format!("the engine sent a line that is not JSON: {error}"))?;
                    take(value)?;
                    line.clear();
                }
            }
        }
        Ok(())
    }

    fn unreachable(&self, error: &reqwest::Error) -> String {
        if error.is_connect() {
            return format!(
                "no engine answers at {} ({}); start one with `rivet-engine start`, or name another with --engine",
                self.base,
                chain(error)
            );
        }
        format!("the connection to {} broke: {}", self.base, chain(error))
    }
}

/// The innermost cause, which is the one that tells something.
fn chain(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
