//! Requests that leave the machine: `wasi:http/outgoing-handler`, as far as a deployment's list allows.
//!
//! A request leaves when everything that its actor has committed is durable. It goes to the very address that was judged: no second
//! look-up. One connection a request, no redirects, HTTP/1.1, TLS with whom the configuration trusts. What it costs is
//! bounded: so many at a time for one actor, so long until each step, so large a head of the response.
//!
//! - [`policy`]: where requests may go.

pub mod policy;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, Uri};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use protocol::message::LogLevel;
use protocol::trace::{self, Kind, SpanContext, TRACEPARENT, TRACESTATE};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use self::policy::Policy;
use crate::actor::Actor;
use crate::config::{
    OUTBOUND_AT_ONCE_MAX, OUTBOUND_CONNECT_MS, OUTBOUND_HEAD_BYTES_MAX, OUTBOUND_HEADERS_MAX, OUTBOUND_WAIT_MS,
    OUTBOUND_WAIT_MS_MAX,
};

/// What an instance's outgoing requests find; made of the deployment's list at the first of them.
pub struct Outgoing {
    actor: Arc<Actor>,
    granted: Option<Arc<Granted>>,
}

struct Granted {
    policy: Policy,
    at_once: Arc<Semaphore>,
}

type Answer<T> = Box<dyn Future<Output = Result<T, Error>> + Send>;

impl Outgoing {
    pub fn new(actor: Arc<Actor>) -> Outgoing {
        Outgoing { actor, granted: None }
    }

    fn granted(&mut self) -> Arc<Granted> {
        let actor = &self.actor;
        let granted = self.granted.get_or_insert_with(|| {
            let list = actor.settings().map(|settings| &settings.outbound[..]).unwrap_or_default();
            let (policy, unreadable) = Policy::new(list);
            for entry in unreadable {
                actor.log(
                    LogLevel::Warn,
                    format!("the deployment's outbound host {entry:?} is no host, address or range, and is ignored"),
                );
            }
            Arc::new(Granted { policy, at_once: Arc::new(Semaphore::new(OUTBOUND_AT_ONCE_MAX)) })
        });
        Arc::clone(granted)
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Answer<()>,
    ) -> Answer<(http::Response<WasiBody>, Answer<()>)> {
        let (actor, granted) = (Arc::clone(&self.actor), self.granted());
        let mut span = trace::child("http.request", Kind::Client);
        if let Some(context) = span.context() {
            if actor.shared.sends_traceparent {
                tell(context, request.headers_mut());
            }
            span.set("server.address", || request.uri().host().unwrap_or_default());
            span.set("http.request.method", || request.method().as_str());
        }
        let sent = async move {
            let limits = Times::new(options.unwrap_or_default());
            let Ok(permit) = Arc::clone(&granted.at_once).try_acquire_owned() else {
                actor.log(LogLevel::Warn, format!("{OUTBOUND_AT_ONCE_MAX} outgoing requests are under way, as many as may be"));
                return Err(Error::ConnectionLimitReached);
            };
            let target = Target::of(request.uri())?;
            if let Some(isolated) = &actor.shared.isolated {
                let to = target.to_string();
                (isolated.outgoing)(&format!("{} {to}", request.method()));
                actor.log(
                    LogLevel::Warn,
                    format!("an outgoing request to {to} was refused: this is a check, and nothing leaves it"),
                );
                return Err(Error::HttpRequestDenied);
            }
            let connected = async {
                let addresses = target.addresses(&granted.policy, &actor).await?;
                // Not before: what the other side hears of must not be lost.
                actor.durable().await;
                target.connect(&addresses).await
            };
            let stream = tokio::time::timeout(limits.connect, connected).await.map_err(|_| Error::ConnectionTimeout)??;
            match target.is_tls {
                true => {
                    let connecting = actor.shared.tls.connect(target.server_name()?, stream);
                    let stream = tokio::time::timeout(limits.connect, connecting).await.map_err(|_| Error::ConnectionTimeout)?;
                    let stream = stream.map_err(|error| {
                        let Target { host, port, .. } = &target;
                        actor.log(LogLevel::Warn, format!("an outgoing request to {host}:{port} failed, for its TLS: {error}"));
                        tls_error(error)
                    })?;
                    exchange(stream, request, limits, permit).await
                }
                false => exchange(stream, request, limits, permit).await,
            }
        };
        Box::new(async move {
            let answered = sent.await;
            match &answered {
                Ok((response, _)) => span.set("http.response.status_code", || u64::from(response.status().as_u16())),
                Err(error) => span.fail(|| name(error)),
            }
            // Its response has begun.
            drop(span);
            answered
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        protocol::limits::BODY_CHUNK_BYTES_MAX
    }
}

/// Which trace a request belongs to: what the guest says itself about that would contradict it.
fn tell(context: SpanContext, headers: &mut HeaderMap) {
    let named = headers.get(TRACEPARENT).and_then(SpanContext::parse);
    if named.is_none_or(|named| named.trace_id != context.trace_id) {
        headers.remove(TRACESTATE);
    }
    headers.insert(TRACEPARENT, context.header());
}

/// Without what it is about.
fn name(error: &Error) -> String {
    let text = format!("{error:?}");
    text.split(|char: char| !char.is_ascii_alphanumeric()).next().unwrap_or_default().to_string()
}

/// How long each step may take: what the guest asks for, and never longer than ours.
#[derive(Clone, Copy)]
struct Times {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Times {
    fn new(options: RequestOptions) -> Times {
        let within = |asked: Option<Duration>, usual_ms, most_ms| {
            asked.unwrap_or(Duration::from_millis(usual_ms)).min(Duration::from_millis(most_ms))
        };
        Times {
            connect: within(options.connect_timeout, OUTBOUND_CONNECT_MS, OUTBOUND_CONNECT_MS),
            first_byte: within(options.first_byte_timeout, OUTBOUND_WAIT_MS, OUTBOUND_WAIT_MS_MAX),
            between_bytes: within(options.between_bytes_timeout, OUTBOUND_WAIT_MS, OUTBOUND_WAIT_MS_MAX),
        }
    }
}

/// Where a request wants to go.
struct Target {
    host: String,
    port: u16,
    is_tls: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl Target {
    fn of(uri: &Uri) -> Result<Target, Error> {
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(Error::HttpRequestUriInvalid),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or(Error::HttpRequestUriInvalid)?;
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_string();
        Ok(Target { host, port, is_tls })
    }

    /// What the host stands for. One address that is refused is enough to refuse them all: which one would be taken is chance.
    async fn addresses(&self, policy: &Policy, actor: &Actor) -> Result<Vec<SocketAddr>, Error> {
        let Target { host, port, .. } = self;
        let refused = |refused: policy::Refused| {
            actor.log(LogLevel::Warn, format!("an outgoing request to {host}:{port} was refused: {refused}"));
            match refused {
                policy::Refused::Host => Error::HttpRequestDenied,
                policy::Refused::Address(_) => Error::DestinationIpProhibited,
            }
        };
        if let Ok(ip) = host.parse::<IpAddr>() {
            policy.check_literal(ip, *port).map_err(refused)?;
            return Ok(vec![SocketAddr::new(ip, *port)]);
        }
        policy.check_name(host, *port).map_err(refused)?;
        let unknown = |_| Error::DnsError { rcode: None, info_code: None };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), *port)).await.map_err(unknown)?.collect();
        for address in &addresses {
            policy.check_resolved(address.ip(), *port).map_err(refused)?;
        }
        Ok(addresses)
    }

    /// To the first that answers.
    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
        let mut last = Error::DestinationNotFound;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Error::Connect(error),
            }
        }
        Err(last)
    }

    fn server_name(&self) -> Result<ServerName<'static>, Error> {
        ServerName::try_from(self.host.clone()).map_err(|_| Error::HttpRequestUriInvalid)
    }
}

/// A certificate that is not believed is told apart from everything else.
fn tls_error(error: std::io::Error) -> Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut request: http::Request<WasiBody>,
    limits: Times,
    permit: OwnedSemaphorePermit,
) -> Result<(http::Response<WasiBody>, Answer<()>), Error> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(OUTBOUND_HEAD_BYTES_MAX).max_headers(OUTBOUND_HEADERS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let mut connection = Box::pin(connection);
    let sending = tokio::time::timeout(limits.first_byte, sender.send_request(request));
    let mut sending = std::pin::pin!(sending);
    let mut is_over = false;
    let sent = loop {
        tokio::select! {
            biased;
            sent = &mut sending => break sent,
            // The response, or why there is none, comes from the other one.
            _ = &mut connection, if !is_over => is_over = true,
        }
    };
    let response = sent.map_err(|_| Error::ConnectionReadTimeout)??;
    let response = response.map(|incoming| {
        let waiting = Box::pin(tokio::time::sleep(limits.between_bytes));
        Incoming { incoming, waiting, between_bytes: limits.between_bytes, _permit: permit }.boxed_unsync()
    });
    let rest = async move { if is_over { Ok(()) } else { connection.await.map_err(Error::from) } };
    Ok((response, Box::new(rest)))
}

/// The body of a response, which must not pause for too long.
struct Incoming {
    incoming: hyper::body::Incoming,
    waiting: Pin<Box<Sleep>>,
    between_bytes: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.waiting.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout)));
        };
        let later = tokio::time::Instant::now() + self.between_bytes;
        self.waiting.as_mut().reset(later);
        Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
    }
}
