//! Where the engine may connect to, when a client of its API names the address.
//!
//! Whoever may configure a pool must not reach what only the engine's machine reaches. So the addresses that a name stands for are
//! judged, at each connection anew: a name may stand for another one a moment later.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use url::{Host, Url};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    pub allow_loopback: bool,
    pub allow_private_networks: bool,
    /// Plain HTTP.
    pub allow_insecure_scheme: bool,
    /// Allowed whatever they are.
    pub allow_networks: Vec<Network>,
    /// Refused whatever else says; goes before everything.
    pub deny_networks: Vec<Network>,
    /// Names in lower case; `*.` in front is any name below.
    pub allow_hosts: Vec<String>,
    pub max_redirects: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            allow_loopback: true,
            allow_private_networks: false,
            allow_insecure_scheme: true,
            allow_networks: Vec::new(),
            deny_networks: Vec::new(),
            allow_hosts: Vec::new(),
            max_redirects: 5,
        }
    }
}

/// Why a destination is refused: a sentence for whoever named it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked(pub String);

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Policy {
    /// What can be said without looking the name up.
    pub fn check_url(&self, url: &Url) -> Result<(), Blocked> {
        match url.scheme() {
            "https" => {}
            "http" if self.allow_insecure_scheme => {}
            "http" => {
                return Err(Blocked("plain http is not allowed; use https, or set outbound.allow_insecure_scheme".to_string()));
            }
            other => return Err(Blocked(format!("the scheme {other} is not allowed; http or https is expected"))),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Blocked("the URL holds a user name or password; send a header instead".to_string()));
        }
        match url.host() {
            None => Err(Blocked("the URL names no host".to_string())),
            Some(Host::Domain(_)) => Ok(()),
            Some(Host::Ipv4(ip)) => self.check_address("", ip.into()),
            Some(Host::Ipv6(ip)) => self.check_address("", ip.into()),
        }
    }

    /// Whether to connect to this address, which the host stands for.
    pub fn check_address(&self, host: &str, ip: IpAddr) -> Result<(), Blocked> {
        let (named, ip) = (ip, meant(ip));
        // A network may be listed as it is written, or as what it leads to.
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.holds(named) || network.holds(ip));
        if is_in(&self.deny_networks) {
            return Err(Blocked(format!("the address {ip} is in outbound.deny_cidrs")));
        }
        if is_in(&self.allow_networks) || self.allows_host(host) {
            return Ok(());
        }
        match class(ip) {
            Class::Public => Ok(()),
            Class::Loopback if self.allow_loopback => Ok(()),
            Class::Loopback => Err(Blocked(format!("{ip} is this machine; set outbound.allow_loopback to allow that"))),
            Class::Private if self.allow_private_networks => Ok(()),
            Class::Private => {
                Err(Blocked(format!("{ip} is in a private network; set outbound.allow_private_networks or outbound.allow_cidrs")))
            }
            Class::Special => Err(Blocked(format!("{ip} is no address of a host; list it in outbound.allow_cidrs if it is"))),
        }
    }

    fn allows_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        !host.is_empty()
            && self.allow_hosts.iter().any(|allowed| match allowed.strip_prefix("*.") {
                Some(above) => host.strip_suffix(above).is_some_and(|below| below.ends_with('.')),
                None => host == *allowed,
            })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Public,
    Loopback,
    /// Reachable inside somebody's network only, link-local and shared addresses among them.
    Private,
    /// Unspecified, multicast, broadcast, reserved, for documentation.
    Special,
}

/// The IPv4 address where an IPv6 address only carries one: connecting to the one reaches the other.
fn meant(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match [a, b, c, d, e, f] {
        // Mapped, and the older "compatible" form; `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0xffff] => v4(g, h),
        [0, 0, 0, 0, 0, 0] if g != 0 => v4(g, h),
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0] => v4(g, h),
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        _ => ip,
    }
}

fn class(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(ip) => class_v4(ip),
        IpAddr::V6(ip) => class_v6(ip),
    }
}

fn class_v4(ip: Ipv4Addr) -> Class {
    match ip.octets() {
        [127, ..] => Class::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [169, 254, ..] | [100, 64..=127, ..] => Class::Private,
        // This network, protocol assignments, documentation, benchmarks, multicast, reserved, broadcast.
        [0, ..] | [192, 0, 0, _] | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18..=19, ..] | [224..=255, ..] => {
            Class::Special
        }
        _ => Class::Public,
    }
}

fn class_v6(ip: Ipv6Addr) -> Class {
    if ip.is_loopback() {
        return Class::Loopback;
    }
    match ip.segments() {
        [0xfc00..=0xfdff, ..] | [0xfe80..=0xfebf, ..] | [0xfec0..=0xfeff, ..] => Class::Private,
        // Documentation.
        [0x2001, 0xdb8, ..] => Class::Special,
        // Only this eighth is given out for use on the Internet.
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Special,
    }
}

/// `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    pub fn holds(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(ours), IpAddr::V4(ip)) => same(u32::from(ours).into(), u32::from(ip).into(), 32 - self.bits),
            (IpAddr::V6(ours), IpAddr::V6(ip)) => same(ours.into(), ip.into(), 128 - self.bits),
            _ => false,
        }
    }
}

/// Whether all but the last so many bits are the same.
fn same(a: u128, b: u128, rest: u32) -> bool {
    (a ^ b).checked_shr(rest).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong = || format!("{text:?} is no network; 10.0.0.0/8 is one");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        match bits <= most {
            true => Ok(Network { address, bits }),
            false => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let rows = [
            ("http://127.0.0.1:3000/api", true),
            ("https://example.com", true),
            ("http://[::1]/", true),
            ("http://[2606:4700::1111]/", true),
            ("ftp://example.com", false),
            ("http://user@example.com", false),
            ("http://user:word@example.com", false),
            ("http://10.0.0.1", false),
            ("http://0x7f.1/", true),
            ("http://0xa.0.0.1/", false),
            ("http://[fd00::1]/", false),
            ("http://169.254.169.254/latest", false),
            ("http://[::ffff:169.254.169.254]/", false),
            ("data:text/plain,x", false),
        ];
        let policy = Policy::default();
        for (text, allowed) in rows {
            assert_eq!(policy.check_url(&Url::parse(text).expect("a URL")).is_ok(), allowed, "{text}");
        }
        let strict = Policy { allow_insecure_scheme: false, allow_loopback: false, ..policy };
        for (text, allowed) in [("http://example.com", false), ("https://example.com", true), ("https://127.0.0.1", false)] {
            assert_eq!(strict.check_url(&Url::parse(text).expect("a URL")).is_ok(), allowed, "{text}");
        }
    }

    #[test]
    fn addresses() {
        let rows = [
            ("1.1.1.1", Class::Public),
            ("172.15.0.1", Class::Public),
            ("172.16.0.1", Class::Private),
            ("172.32.0.1", Class::Public),
            ("192.168.1.1", Class::Private),
            ("100.64.0.1", Class::Private),
            ("100.128.0.1", Class::Public),
            ("169.254.1.1", Class::Private),
            ("127.255.0.1", Class::Loopback),
            ("0.0.0.0", Class::Special),
            ("224.0.0.1", Class::Special),
            ("255.255.255.255", Class::Special),
            ("::1", Class::Loopback),
            ("::", Class::Special),
            ("fe80::1", Class::Private),
            ("fd12::1", Class::Private),
            ("ff02::1", Class::Special),
            ("2606:4700::1111", Class::Public),
            ("::ffff:127.0.0.1", Class::Loopback),
            ("::ffff:10.0.0.1", Class::Private),
            ("::10.0.0.1", Class::Private),
            ("64:ff9b::a00:1", Class::Private),
            ("2002:a00:1::", Class::Private),
        ];
        for (text, expected) in rows {
            assert_eq!(class(meant(text.parse().expect("an address"))), expected, "{text}");
        }
    }

    #[test]
    fn exceptions() {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
        let policy = Policy {
            allow_networks: networks(&["10.1.0.0/16", "fd00:1::/32"]),
            deny_networks: networks(&["10.1.2.3", "1.0.0.0/8", "64:ff9b::/96"]),
            allow_hosts: vec!["app.internal".to_string(), "*.svc.local".to_string()],
            ..Policy::default()
        };
        let rows = [
            ("", "10.1.0.1", true),
            ("", "10.2.0.1", false),
            ("", "10.1.2.3", false),
            ("", "1.1.1.1", false),
            ("", "2.1.1.1", true),
            ("", "2002:201:101::", true),
            ("", "2002:101:101::", false),
            ("", "64:ff9b::201:101", false),
            ("", "fd00:1:2::1", true),
            ("", "fd00:2::1", false),
            ("App.Internal.", "10.2.0.1", true),
            ("a.svc.local", "10.2.0.1", true),
            ("svc.local", "10.2.0.1", false),
            ("asvc.local", "10.2.0.1", false),
            ("app.internal", "10.1.2.3", false),
        ];
        for (host, ip, allowed) in rows {
            assert_eq!(policy.check_address(host, ip.parse().expect("an address")).is_ok(), allowed, "{host} {ip}");
        }
        for wrong in ["10.0.0.0/33", "10.0.0/8", "x", "::/129", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let any: Network = "::/0".parse().expect("everything");
        assert!(any.holds("2606::1".parse().expect("an address")));
    }
}
