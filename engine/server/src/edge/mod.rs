//! What is asked of clients before anything is done for them: how many connections one may have, how many requests at one time and
//! in a while, and how long it may take to say what it wants.
//!
//! Who a client is, is its address; of IPv6 the network of 64 bits, which is what one customer gets. Behind a proxy it is whom the
//! proxy names, if that proxy was configured to be believed. Probes and runners are not counted, nor is who was exempted: by default
//! this machine.
//!
//! In reading order:
//! - [`clients`]: the table of clients, and what each has used up.
//! - [`forwarded`]: whom a proxy speaks for.
//! - [`visit`]: one connection: who it is from, and whether it has said anything yet.
//! - [`speech`]: tells a client that speaks TLS where none is spoken, or none where it is.
//! - [`counted`]: the body of an answer, which keeps its request counted until it is sent.
//! - [`sockets`]: what the kernel is told about connections.

pub mod clients;
pub mod counted;
pub mod forwarded;
pub mod sockets;
pub mod speech;
pub mod visit;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use serde_json::json;

use crate::config::edge::EdgeConfig;
use crate::edge::clients::{Client, Clients, Rate};
use crate::error::ApiError;

pub struct Edge {
    pub limits: EdgeConfig,
    rate: Rate,
    clients: Clients,
    began: Instant,
    pub refused: Refused,
}

/// How often a client wanted more than it may.
#[derive(Default)]
pub struct Refused {
    pub connections: AtomicU64,
    pub in_flight: AtomicU64,
    pub rate: AtomicU64,
}

/// Where a connection comes from.
pub struct Peer {
    ip: IpAddr,
    /// Its address as actors are told it.
    shown: HeaderValue,
    /// None if it is not counted, or speaks for others.
    client: Option<Arc<Client>>,
    is_proxy: bool,
}

/// Counts a connection for as long as it is there.
pub struct Connected(Option<Arc<Client>>);

/// Counts a request, or a WebSocket, for as long as it is there.
pub struct Slot(Option<Arc<Client>>);

impl Edge {
    pub fn new(limits: EdgeConfig) -> Edge {
        let rate = Rate::new(limits.requests, limits.period_ms);
        Edge { rate, clients: Clients::new(limits.clients_max), limits, began: Instant::now(), refused: Refused::default() }
    }

    /// A connection from there. None if the client has as many as it may.
    pub fn arrived(&self, from: SocketAddr) -> Option<(Peer, Connected)> {
        let ip = from.ip().to_canonical();
        let is_proxy = self.limits.trusted_proxies.iter().any(|network| network.holds(ip));
        let client = if is_proxy { None } else { self.client(ip) };
        if let Some(client) = &client
            && !client.connect(self.limits.connections_max)
        {
            self.refused.connections.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let shown = HeaderValue::from_str(&ip.to_string()).expect("an address makes a header");
        Some((Peer { ip, shown, client: client.clone(), is_proxy }, Connected(client)))
    }

    /// Who asks: what a trusted proxy says, or else who the connection is with.
    pub fn who(&self, peer: &Peer, headers: &HeaderMap) -> IpAddr {
        let trusted = |ip: IpAddr| self.limits.trusted_proxies.iter().any(|network| network.holds(ip));
        match peer.is_proxy {
            true => forwarded::client(headers, trusted).unwrap_or(peer.ip),
            false => peer.ip,
        }
    }

    /// Whether one more request may be begun.
    pub fn admit(&self, peer: &Peer, headers: &HeaderMap) -> Result<Slot, ApiError> {
        let ip = self.who(peer, headers);
        let client = if peer.is_proxy { self.client(ip) } else { peer.client.clone() };
        let Some(client) = client else { return Ok(Slot::free()) };
        if !client.begin(self.limits.in_flight_max) {
            self.refused.in_flight.fetch_add(1, Ordering::Relaxed);
            return Err(too_many_in_flight(ip, self.limits.in_flight_max));
        }
        // From here on it is given back, also when the rate is refused.
        let slot = Slot(Some(client.clone()));
        client.take(self.now_ns(), self.rate).map_err(|wait_ns| {
            self.refused.rate.fetch_add(1, Ordering::Relaxed);
            too_fast(ip, &self.limits, wait_ns.div_ceil(1_000_000))
        })?;
        Ok(slot)
    }

    /// Clients that are remembered.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// None if nothing of it is counted.
    fn client(&self, ip: IpAddr) -> Option<Arc<Client>> {
        let is_exempt = self.limits.exempt.iter().any(|network| network.holds(ip));
        (!is_exempt).then(|| self.clients.find(ip, self.now_ns()))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Slot {
    /// Of what is not counted.
    pub fn free() -> Slot {
        Slot(None)
    }
}

impl Peer {
    /// What actors are told of it.
    pub fn shown(&self) -> &HeaderValue {
        &self.shown
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            client.disconnect();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            client.end();
        }
    }
}

fn too_fast(ip: IpAddr, limits: &EdgeConfig, wait_ms: u64) -> ApiError {
    let EdgeConfig { requests, period_ms, .. } = limits;
    let message = format!(
        "{ip} has made {requests} requests within {period_ms} ms, which is what one client may; try again in {wait_ms} ms, or have \
         guard.rate_limit.requests or guard.exempt_cidrs changed"
    );
    ApiError::new("guard", "rate_limit", message)
        .with(json!({ "ip": ip, "requests": requests, "period_ms": period_ms, "retry_after_ms": wait_ms }))
}

fn too_many_in_flight(ip: IpAddr, max: u32) -> ApiError {
    let message = format!(
        "{ip} has {max} requests and WebSockets open, which is what one client may; end some, or have guard.max_in_flight or \
         guard.exempt_cidrs changed"
    );
    ApiError::new("guard", "max_in_flight", message).with(json!({ "ip": ip, "max_in_flight": max }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(change: impl FnOnce(&mut EdgeConfig)) -> Edge {
        let mut limits = EdgeConfig { exempt: Vec::new(), ..EdgeConfig::default() };
        change(&mut limits);
        Edge::new(limits)
    }

    fn from(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().expect("an address"), 5)
    }

    /// How many of so many requests from each address get through, all kept open.
    fn check(edge: &Edge, each: usize, addresses: &[&str], forwarded: &str, expected: &[usize]) {
        let mut headers = HeaderMap::new();
        if !forwarded.is_empty() {
            headers.insert("x-forwarded-for", forwarded.parse().expect("a header"));
        }
        let mut slots = Vec::new();
        let through = addresses.iter().map(|address| {
            let (peer, _connected) = edge.arrived(from(address)).expect("a connection");
            let admitted: Vec<Slot> = (0..each).filter_map(|_| edge.admit(&peer, &headers).ok()).collect();
            let count = admitted.len();
            slots.extend(admitted);
            count
        });
        assert_eq!(through.collect::<Vec<_>>(), expected, "{addresses:?} {forwarded:?}");
    }

    #[test]
    fn who_counts_as_one_client() {
        let few = |limits: &mut EdgeConfig| limits.requests = 3;
        check(&edge(few), 5, &["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1"], "", &[3, 3, 0]);
        check(&edge(few), 5, &["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"], "", &[3, 0, 3]);
        // Of nobody who was not configured is it believed.
        check(&edge(few), 5, &["192.0.2.1", "192.0.2.1"], "198.51.100.7", &[3, 0]);
        let proxied = |limits: &mut EdgeConfig| {
            few(limits);
            limits.trusted_proxies = vec!["192.0.2.0/24".parse().expect("a network")];
        };
        check(&edge(proxied), 5, &["192.0.2.1", "192.0.2.9", "198.51.100.7"], "198.51.100.7", &[3, 0, 0]);
        let exempt = |limits: &mut EdgeConfig| {
            proxied(limits);
            limits.exempt = vec!["10.0.0.0/8".parse().expect("a network")];
        };
        check(&edge(exempt), 5, &["10.1.2.3"], "", &[5]);
        check(&edge(exempt), 5, &["192.0.2.1"], "10.1.2.3", &[5]);
        check(&edge(exempt), 5, &["192.0.2.1"], "", &[3]);
    }

    #[test]
    fn what_is_open_counts_until_it_is_closed() {
        let edge = edge(|limits| {
            limits.in_flight_max = 2;
            limits.connections_max = 2;
        });
        let (peer, first) = edge.arrived(from("192.0.2.1")).expect("the first");
        let second = edge.arrived(from("192.0.2.1")).expect("the second");
        assert!(edge.arrived(from("192.0.2.1")).is_none() && edge.arrived(from("192.0.2.2")).is_some());
        drop(first);
        assert!(edge.arrived(from("192.0.2.1")).is_some(), "one has ended");
        drop(second);
        let none = HeaderMap::new();
        let slots: Vec<Slot> = (0..2).map(|_| edge.admit(&peer, &none).expect("there is room")).collect();
        let error = edge.admit(&peer, &none).err().expect("there is none");
        assert_eq!((error.group, error.code), ("guard", "max_in_flight"));
        drop(slots);
        assert!(edge.admit(&peer, &none).is_ok());
    }

    #[test]
    fn a_refusal_says_when_to_come_back_and_repeats_no_address() {
        let edge = edge(|limits| limits.requests = 1);
        let (peer, _connected) = edge.arrived(from("192.0.2.1")).expect("a connection");
        let none = HeaderMap::new();
        drop(edge.admit(&peer, &none).expect("the first"));
        let error = edge.admit(&peer, &none).err().expect("it comes too soon");
        assert_eq!((error.code, error.retry_after().expect("it says when")), ("rate_limit", HeaderValue::from_static("60")));
        assert_eq!(edge.refused.rate.load(Ordering::Relaxed), 1);
    }
}
