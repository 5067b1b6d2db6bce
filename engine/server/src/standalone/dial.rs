//! One connection to the engine: from its address to a WebSocket.

use std::io;
use std::time::Duration;

use http::{HeaderValue, Request};
use protocol::wire::ComponentsVersion;
use protocol::wire::components::{FRAME_BYTES_MAX, PATH};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;

use crate::websocket;

/// From the look-up of the engine's name to the end of the handshake.
const CONNECT_MS_MAX: u64 = 10_000;

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}
pub type Socket = WebSocketStream<Box<dyn Stream>>;

/// Which engine, and who calls it.
pub struct Target<'a> {
    pub engine: &'a Url,
    pub token: Option<&'a str>,
    pub key: &'a str,
    pub code_version: u32,
}

pub struct Dialer {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    request: Request<()>,
}

impl Dialer {
    pub fn new(target: Target<'_>, tls: TlsConnector) -> Result<Dialer, String> {
        let engine = target.engine;
        let secure = engine.scheme() == "https";
        // Of an IPv6 address, without the brackets that a URL needs.
        let host = engine.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_string();
        let port = engine.port_or_known_default().unwrap_or(if secure { 443 } else { 80 });
        let tls = match secure {
            true => {
                let name = ServerName::try_from(host.clone());
                Some((tls, name.map_err(|error| format!("{host:?} cannot be the name on a certificate: {error}"))?))
            }
            false => None,
        };
        let request = request(&target, if secure { "wss" } else { "ws" })?;
        Ok(Dialer { host, port, tls, request })
    }

    /// The error is why there is none, for people.
    pub async fn dial(&self) -> Result<Socket, String> {
        let within = Duration::from_millis(CONNECT_MS_MAX);
        let dialed = tokio::time::timeout(within, self.connect()).await;
        dialed.unwrap_or_else(|_| Err(format!("nothing answers at {}:{} within {CONNECT_MS_MAX} ms", self.host, self.port)))
    }

    async fn connect(&self) -> Result<Socket, String> {
        let unreachable = |error: io::Error| format!("{}:{} cannot be reached: {error}", self.host, self.port);
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        // What is said is small and somebody waits for it.
        stream.set_nodelay(true).map_err(unreachable)?;
        let stream: Box<dyn Stream> = match &self.tls {
            Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await.map_err(unreachable)?),
            None => Box::new(stream),
        };
        let config = websocket::wide(FRAME_BYTES_MAX);
        match client_async_with_config(self.request.clone(), stream, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => Err(format!(
                "{}:{} answers with status {}, and not as an engine that takes runners for components",
                self.host,
                self.port,
                response.status()
            )),
            Err(error) => Err(format!("{}:{} does not open a WebSocket: {error}", self.host, self.port)),
        }
    }
}

fn request(target: &Target<'_>, scheme: &str) -> Result<Request<()>, String> {
    let mut url = target.engine.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(PATH.split('/').filter(|segment| !segment.is_empty()));
    }
    url.query_pairs_mut()
        .append_pair("protocol_version", &ComponentsVersion::NEWEST.number().to_string())
        .append_pair("runner_key", target.key)
        .append_pair("version", &target.code_version.to_string());
    let (_, rest) = url.as_str().split_once(':').unwrap_or_default();
    let unusable = |error: Error| format!("{} cannot be called: {error}", target.engine);
    let mut request = format!("{scheme}:{rest}").into_client_request().map_err(unusable)?;
    if let Some(token) = target.token {
        let mut token = HeaderValue::from_str(token).map_err(|_| "the token has characters that no header can have")?;
        token.set_sensitive(true);
        request.headers_mut().insert("x-rivet-token", token);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let rows = [
            ("http://a", "ws://a/runners/components/connect?protocol_version=3&runner_key=k+1&version=3", "a"),
            ("http://a:1/b/", "ws://a:1/b/runners/components/connect?protocol_version=3&runner_key=k+1&version=3", "a:1"),
            ("https://[::1]:7", "wss://[::1]:7/runners/components/connect?protocol_version=3&runner_key=k+1&version=3", "[::1]:7"),
        ];
        for (engine, expected, host) in rows {
            let engine = Url::parse(engine).expect("a URL");
            let target = Target { engine: &engine, token: Some("t, 1"), key: "k 1", code_version: 3 };
            let request = request(&target, if engine.scheme() == "https" { "wss" } else { "ws" }).expect("it can be asked for");
            assert_eq!(request.uri().to_string(), expected);
            assert_eq!(request.headers()["host"], host);
            assert_eq!(request.headers()["x-rivet-token"], "t, 1");
        }
    }
}
