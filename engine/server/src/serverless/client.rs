//! One HTTP request to an address that a client of the API has named.
//!
//! Keeps to the [`Policy`] at every step: the URL, each address that its name stands for, each redirect. Connects to the very
//! address that was judged. One connection a request: such calls are few, and the long ones keep theirs anyway. HTTP/1.1; TLS with
//! the system's certificates and Mozilla's.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Position, Url};

use crate::serverless::policy::{Blocked, Policy};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("RivetEngine/", env!("CARGO_PKG_VERSION")));

/// For a connection, from the look-up of its name to the end of the TLS handshake.
const CONNECT_MS_MAX: u64 = 10_000;

/// Why there is no answer.
#[derive(Debug)]
pub enum CallError {
    Blocked(Blocked),
    /// The cause, from the outermost to the innermost.
    Failed(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Blocked(blocked) => blocked.fmt(f),
            CallError::Failed(cause) => f.write_str(cause),
        }
    }
}

/// What is sent. Headers that cannot be sent are left out.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// TLS that trusts the system's certificates, Mozilla's, and these.
pub fn tls_config(authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for authority in authorities {
        roots.add(authority)?;
    }
    let (_, unusable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if unusable > 0 {
        tracing::debug!(unusable, "some of the system's certificates cannot be used");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    Ok(config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}

pub struct Client {
    policy: Policy,
    tls: TlsConnector,
}

impl Client {
    /// Reads the system's certificates.
    pub fn new(policy: Policy) -> Result<Client, rustls::Error> {
        Ok(Client { policy, tls: TlsConnector::from(Arc::new(tls_config(Vec::new())?)) })
    }

    /// Whether calls to this URL will be refused, as far as that can be known now: a name that cannot be looked up may be one that
    /// can be later.
    pub async fn check(&self, url: &Url) -> Result<(), Blocked> {
        self.policy.check_url(url)?;
        match in_time(self.addresses(url)).await {
            Err(CallError::Blocked(blocked)) => Err(blocked),
            Ok(_) | Err(CallError::Failed(_)) => Ok(()),
        }
    }

    /// Sends it, follows redirects, and returns the answer once its head is there. How long to wait for that is the caller's to
    /// say; only each connection has a limit of its own.
    pub async fn send(&self, mut call: Call) -> Result<Response<Incoming>, CallError> {
        for _ in 0..=self.policy.max_redirects {
            let response = self.send_once(&call).await?;
            match redirected(&call, &response) {
                Some(next) => call = next?,
                None => return Ok(response),
            }
        }
        Err(CallError::Failed(format!("more than {} redirects", self.policy.max_redirects)))
    }

    async fn send_once(&self, call: &Call) -> Result<Response<Incoming>, CallError> {
        self.policy.check_url(&call.url).map_err(CallError::Blocked)?;
        if call.url.scheme() == "https" {
            return exchange(call, in_time(self.connect_tls(&call.url)).await?).await;
        }
        exchange(call, in_time(self.connect(&call.url)).await?).await
    }

    async fn connect_tls(&self, url: &Url) -> Result<TlsStream<TcpStream>, CallError> {
        let stream = self.connect(url).await?;
        let name = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_string();
        let name = ServerName::try_from(name).map_err(|error| failed(&error))?;
        self.tls.connect(name, stream).await.map_err(|error| failed(&error))
    }

    /// To the first address that answers.
    async fn connect(&self, url: &Url) -> Result<TcpStream, CallError> {
        let port = url.port_or_known_default().unwrap_or(80);
        let mut last = io::Error::other("its name stands for no address");
        for ip in self.addresses(url).await? {
            match TcpStream::connect((ip, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(CallError::Failed(format!("{} cannot be reached: {last}", url.host_str().unwrap_or_default())))
    }

    /// What the URL's host stands for. One address that is refused is enough to refuse them all: which one would be taken is chance.
    async fn addresses(&self, url: &Url) -> Result<Vec<IpAddr>, CallError> {
        let (name, addresses): (&str, Vec<IpAddr>) = match url.host() {
            Some(Host::Ipv4(ip)) => ("", vec![ip.into()]),
            Some(Host::Ipv6(ip)) => ("", vec![ip.into()]),
            Some(Host::Domain(name)) => {
                let found = tokio::net::lookup_host((name, 0)).await;
                let found = found.map_err(|error| CallError::Failed(format!("{name} cannot be looked up: {error}")))?;
                (name, found.map(|address| address.ip()).collect())
            }
            None => return Err(CallError::Blocked(Blocked("the URL names no host".to_string()))),
        };
        for ip in &addresses {
            self.policy.check_address(name, *ip).map_err(CallError::Blocked)?;
        }
        Ok(addresses)
    }
}

async fn in_time<T>(connecting: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let connected = tokio::time::timeout(Duration::from_millis(CONNECT_MS_MAX), connecting).await;
    connected.unwrap_or_else(|_| Err(CallError::Failed(format!("no connection within {CONNECT_MS_MAX} ms"))))
}

async fn exchange(
    call: &Call,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Response<Incoming>, CallError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    // Ends when the answer has been read, or dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a call to a pool's URL ended badly");
        }
    });
    let url = &call.url;
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = url[Position::BeforePath..Position::AfterQuery].parse().map_err(|error| failed(&error))?;
    *request.headers_mut() = call.headers.clone();
    let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).map_err(|error| failed(&error))?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.entry(USER_AGENT).or_insert(AGENT);
    sender.send_request(request).await.map_err(|error| failed(&error))
}

/// What to send instead, if the answer says so. Headers go to another host only if they are nobody's secret, which nobody knows: so
/// none does. The same host over TLS is no other.
fn redirected(call: &Call, response: &Response<Incoming>) -> Option<Result<Call, CallError>> {
    let repeats = matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let moves = matches!(response.status(), StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER);
    if !(repeats || moves && call.method == Method::GET) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let url = match call.url.join(location) {
        Ok(url) => url,
        Err(error) => return Some(Err(CallError::Failed(format!("it redirects to {location:?}, which is no URL: {error}")))),
    };
    let headers = if same_host(&call.url, &url) { call.headers.clone() } else { HeaderMap::new() };
    Some(Ok(Call { url, headers, ..call.clone() }))
}

fn same_host(from: &Url, to: &Url) -> bool {
    let is = |url: &Url, scheme, port| url.scheme() == scheme && url.port_or_known_default() == Some(port);
    let to_tls = is(from, "http", 80) && is(to, "https", 443) && from.host() == to.host();
    to_tls || from.origin() == to.origin()
}

/// The headers of a pool's configuration; those that cannot be sent, or would change how the request is read, are left out.
pub fn headers(configured: &[(String, String)]) -> HeaderMap {
    const OURS: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "upgrade"];
    let mut headers = HeaderMap::new();
    for (name, value) in configured {
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) else { continue };
        if !OURS.contains(&name.as_str()) {
            headers.append(name, value);
        }
    }
    headers
}

fn failed(error: &dyn Error) -> CallError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    CallError::Failed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_headers_may_follow() {
        let rows = [
            ("http://a/x", "http://a/y", true),
            ("http://a", "https://a", true),
            ("http://a:80", "https://a:443", true),
            ("https://a", "http://a", false),
            ("http://a:8080", "https://a", false),
            ("http://a", "https://b", false),
            ("http://a", "http://a:81", false),
            ("https://a", "https://www.a", false),
        ];
        for (from, to, expected) in rows {
            let [from, to] = [from, to].map(|text| Url::parse(text).expect("a URL"));
            assert_eq!(same_host(&from, &to), expected, "{from} {to}");
        }
    }
}
