//! The table of clients: what each has open, and what it has used of its rate.
//!
//! Bounded. Who has something open stays, which is bounded by what can be open; of the others the one that was seen least lately
//! makes room. That one is as if it had never been here: an attacker with very many addresses gains what it has anyway.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::lock::lock;

const SHARDS: usize = 16;
const NS_PER_MS: u64 = 1_000_000;

/// So many requests in a period, at once or spread over it; then one for each share of the period.
#[derive(Clone, Copy)]
pub struct Rate {
    period_ns: u64,
    share_ns: u64,
}

impl Rate {
    pub fn new(requests: u32, period_ms: u64) -> Rate {
        let period_ns = period_ms * NS_PER_MS;
        Rate { period_ns, share_ns: (period_ns / u64::from(requests.max(1))).max(1) }
    }
}

/// One client. Its rate is one number: the moment at which all that it has used would have been earned (GCRA).
#[derive(Default)]
pub struct Client {
    earned_ns: AtomicU64,
    in_flight: AtomicU32,
    connections: AtomicU32,
    seen_ns: AtomicU64,
}

impl Client {
    /// One request of its rate; or how long to wait for it.
    pub fn take(&self, now_ns: u64, rate: Rate) -> Result<(), u64> {
        self.seen_ns.store(now_ns, Ordering::Relaxed);
        let after = |earned_ns: u64| earned_ns.max(now_ns) + rate.share_ns;
        let taken = self.earned_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |earned_ns| {
            Some(after(earned_ns)).filter(|earned_ns| *earned_ns <= now_ns + rate.period_ns)
        });
        taken.map(drop).map_err(|earned_ns| after(earned_ns) - (now_ns + rate.period_ns))
    }

    pub fn begin(&self, max: u32) -> bool {
        one_more(&self.in_flight, max)
    }

    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn connect(&self, max: u32) -> bool {
        one_more(&self.connections, max)
    }

    pub fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn one_more(count: &AtomicU32, max: u32) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count + 1).filter(|count| *count <= max)).is_ok()
}

pub struct Clients {
    shards: [Mutex<HashMap<u128, Arc<Client>>>; SHARDS],
    hasher: RandomState,
    per_shard_max: usize,
}

impl Clients {
    pub fn new(max: usize) -> Clients {
        Clients { shards: Default::default(), hasher: RandomState::new(), per_shard_max: max.div_ceil(SHARDS).max(1) }
    }

    /// The client at this address, remembered from now on.
    pub fn find(&self, ip: IpAddr, now_ns: u64) -> Arc<Client> {
        let key = key(ip);
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        let mut shard = lock(&self.shards[shard]);
        if let Some(client) = shard.get(&key) {
            return client.clone();
        }
        if shard.len() >= self.per_shard_max {
            // A shard is small. Who is held elsewhere has something open.
            let idle = shard.iter().filter(|(_, client)| Arc::strong_count(client) == 1);
            let oldest = idle.min_by_key(|(_, client)| client.seen_ns.load(Ordering::Relaxed)).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                shard.remove(&oldest);
            }
        }
        let client = Arc::new(Client { seen_ns: AtomicU64::new(now_ns), ..Client::default() });
        shard.insert(key, client.clone());
        client
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

/// All of an IPv4 address, the network of an IPv6 one. They do not meet: the lower half of a network is empty.
fn key(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        IpAddr::V6(ip) => u128::from(ip) >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MS: u64 = NS_PER_MS;

    /// At each moment so many requests; how many get through.
    fn check(rate: (u32, u64), moments: &[(u64, usize, usize)]) {
        let (client, rate) = (Client::default(), Rate::new(rate.0, rate.1));
        for (at_ms, asked, expected) in moments {
            let through = (0..*asked).filter(|_| client.take(at_ms * MS, rate).is_ok()).count();
            assert_eq!(through, *expected, "at {at_ms} ms");
        }
    }

    #[test]
    fn a_rate_is_a_burst_and_then_its_shares() {
        check((10, 1_000), &[(0, 20, 10), (99, 5, 0), (100, 5, 1), (350, 5, 2), (10_000, 20, 10)]);
        check((1, 60_000), &[(0, 2, 1), (59_999, 1, 0), (60_000, 2, 1)]);
        check((u32::MAX, 1), &[(0, 1_000, 1_000)]);
    }

    #[test]
    fn who_is_too_early_hears_how_long_to_wait() {
        let (client, rate) = (Client::default(), Rate::new(2, 1_000));
        assert_eq!((client.take(0, rate), client.take(0, rate)), (Ok(()), Ok(())));
        assert_eq!(client.take(100 * MS, rate), Err(400 * MS));
        assert_eq!(client.take(500 * MS, rate), Ok(()));
    }

    #[test]
    fn the_table_keeps_who_is_here_and_forgets_who_was_long_ago() {
        let clients = Clients::new(64);
        let rate = Rate::new(1, 1_000_000);
        let here = clients.find(Ipv4Addr::new(192, 0, 2, 1).into(), 0);
        assert!(here.take(0, rate).is_ok());
        for address in 0..10_000u32 {
            clients.find(Ipv4Addr::from(0x0a00_0000 + address).into(), u64::from(address) + 1);
        }
        assert!(clients.len() <= 64, "{}", clients.len());
        assert!(clients.find(Ipv4Addr::new(192, 0, 2, 1).into(), 1).take(1, rate).is_err(), "it is still known");
        drop(here);
        for address in 0..10_000u32 {
            clients.find(Ipv4Addr::from(0x0a00_0000 + address).into(), u64::from(address) + 1);
        }
        assert!(clients.find(Ipv4Addr::new(192, 0, 2, 1).into(), 1).take(1, rate).is_ok(), "it was forgotten");
    }
}
