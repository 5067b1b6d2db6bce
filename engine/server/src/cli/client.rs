//! The way to an engine that runs: its API over HTTP, with errors that name the remedy.

use std::error::Error;
use std::sync::Arc;

use reqwest::{Method, RequestBuilder, Response, Url};
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::tunnel::Tunnel;
use crate::form;

const NAMESPACE_DEFAULT: &str = "default";

/// An answer that is longer is not one of an engine.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// For https://.
    tunnel: Option<Tunnel>,
    pub namespace: String,
    /// Somebody said which namespace.
    is_named: bool,
    token: Option<String>,
}

/// An error as the API answers it.
#[derive(Deserialize)]
struct Refused {
    group: String,
    code: String,
    message: String,
}

impl Client {
    /// `tls`: for https://.
    pub fn new(engine: &str, namespace: Option<String>, token: Option<String>, tls: Arc<ClientConfig>) -> Result<Client, String> {
        let Endpoint { base, namespace, is_named, token } = Endpoint::new(engine, namespace, token)?;
        // A proxy that the environment names is for other hosts.
        let mut http = reqwest::Client::builder().no_proxy();
        let tunnel = match base.scheme() {
            "https" => Some(Tunnel::open(&base, tls)?),
            _ => None,
        };
        if let Some(tunnel) = &tunnel {
            http = http.unix_socket(tunnel.path());
        }
        let http = http.build().map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Client { http, base, tunnel, namespace, is_named, token })
    }

    /// A request in the namespace; each part of the path is one segment, whatever is in it.
    pub fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        self.request_of_engine(method, path, &[&[("namespace", self.namespace.as_str())], query].concat())
    }

    /// The same about everything that the token may see, or about the namespace if somebody said which.
    pub fn request_of_all(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        match self.is_named {
            true => self.request(method, path, query),
            false => self.request_of_engine(method, path, query),
        }
    }

    /// Whatever the namespace is.
    pub fn request_of_engine(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        if self.tunnel.is_some() {
            // What goes into the tunnel is plain; the name and the port stay, for the header `host`.
            let port = url.port_or_known_default();
            let plain = url.set_scheme("http").and_then(|()| url.set_port(port));
            debug_assert!(plain.is_ok(), "https and http are of one kind");
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Result<Response, String> {
        self.accepted(self.reach(request).await?).await
    }

    /// Whatever it answers. An error means that nobody does.
    pub async fn reach(&self, request: RequestBuilder) -> Result<Response, String> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    pub async fn accepted(&self, response: Response) -> Result<Response, String> {
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
        if let Some(why) = self.tunnel.as_ref().and_then(Tunnel::failed) {
            return format!(
                "no engine answers at {} ({why}); is it the port that speaks TLS (guard.https.port), and whoever signed its \
                 certificate trusted (--ca)?",
                self.base
            );
        }
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

/// Where an engine is, in which namespace, and with which token: all three may be in one URL, as clients of the original write it.
#[derive(PartialEq, Debug)]
pub struct Endpoint {
    /// Without names and tokens.
    pub base: Url,
    pub namespace: String,
    /// Here or there, and not only by default.
    pub is_named: bool,
    pub token: Option<String>,
}

impl Endpoint {
    pub fn new(engine: &str, namespace: Option<String>, token: Option<String>) -> Result<Endpoint, String> {
        // The URL may hold a token, so it is not repeated.
        let mut base = Url::parse(engine)
            .map_err(|error| format!("the engine's address is not a URL ({error}); http://127.0.0.1:6420 is one"))?;
        let part = |text: &str| form::decode_percent(text).map(|text| text.into_owned()).map_err(|_| "the address is not UTF-8");
        let in_url = Some(part(base.username())?).filter(|name| !name.is_empty());
        let token_in_url = base.password().map(part).transpose()?;
        if token_in_url.is_some() && in_url.is_none() {
            return Err("the address holds a token and no namespace; http://NAMESPACE:TOKEN@HOST is expected".to_string());
        }
        if (in_url.is_some() && namespace.is_some()) || (token_in_url.is_some() && token.is_some()) {
            return Err("namespace or token is given twice: in the address, and as a flag or variable; give it once".to_string());
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err("the address has a query or a fragment; leave out what follows `?` or `#`".to_string());
        }
        if base.set_username("").and_then(|()| base.set_password(None)).is_err() || !matches!(base.scheme(), "http" | "https") {
            return Err(format!("{base} is not an address of an engine; http://127.0.0.1:6420 is one"));
        }
        let named = in_url.or(namespace);
        let is_named = named.is_some();
        let namespace = named.unwrap_or_else(|| NAMESPACE_DEFAULT.to_string());
        Ok(Endpoint { base, namespace, is_named, token: token_in_url.or(token) })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let told = |engine: &str, namespace: Option<&str>, token: Option<&str>| {
            let endpoint = Endpoint::new(engine, namespace.map(str::to_string), token.map(str::to_string)).ok()?;
            Some(format!("{} {} {}", endpoint.base, endpoint.namespace, endpoint.token.unwrap_or_default()))
        };
        let rows = [
            ("http://a", None, None, Some("http://a/ default ")),
            ("http://a:1/b", Some("n"), Some("t"), Some("http://a:1/b n t")),
            ("http://n@a", None, Some("t"), Some("http://a/ n t")),
            ("http://n%2D1:t%3A@a:1", None, None, Some("http://a:1/ n-1 t:")),
            ("http://n:t@a", None, Some("t"), None),
            ("http://n@a", Some("n"), None, None),
            ("http://:t@a", None, None, None),
            ("http://a?x", None, None, None),
            ("http://a#x", None, None, None),
            ("https://n:t@a", None, None, Some("https://a/ n t")),
            ("ftp://a", None, None, None),
            ("data:x", None, None, None),
            ("a", None, None, None),
        ];
        for (engine, namespace, token, expected) in rows {
            assert_eq!(told(engine, namespace, token).as_deref(), expected, "{engine}");
        }
        let tls = crate::trust::client_config(None).expect("TLS can be set up");
        let refused = Client::new("https://n:s3cret@a?b", None, None, tls).err().expect("a query");
        assert!(!refused.contains("s3cret"), "{refused}");
    }
}
