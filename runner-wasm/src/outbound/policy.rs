//! Where an actor's outgoing requests may go: a list of its deployment. Nowhere, if it has none. Pure.
//!
//! **The rule.** A host that is named by a name must be on the list, as `host`, `host:port` or `*.host`; it is not even looked up
//! otherwise, because a question to a name server is a message too. What it stands for must be public addresses, or addresses that
//! are on the list themselves, as an address or a range. A host that is an address must be on the list itself. So a private address
//! is reached only where the list has that address, or a range around it; a name is never enough.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Default)]
pub struct Policy {
    entries: Vec<Entry>,
}

struct Entry {
    what: What,
    port: Option<u16>,
}

enum What {
    Host(String),
    /// With the dot in front: all names below it.
    Below(String),
    /// Addresses that have the first so many bits of this one, as IPv6.
    Range(u128, u32),
}

/// Why a request may not go there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The host is not on the list.
    Host,
    /// The host is, but not an address that it stands for.
    Address(IpAddr),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Host => f.write_str("the host is not on the deployment's list of outbound hosts"),
            Refused::Address(ip) => {
                write!(f, "it stands for {ip}, which is not a public address, and not on the deployment's list of outbound hosts")
            }
        }
    }
}

impl Policy {
    /// And the entries that say nothing.
    pub fn new(list: &[String]) -> (Policy, Vec<&str>) {
        let (mut policy, mut unreadable) = (Policy::default(), Vec::new());
        for text in list {
            match entry(&text.trim().to_ascii_lowercase()) {
                Some(entry) => policy.entries.push(entry),
                None => unreadable.push(text.as_str()),
            }
        }
        (policy, unreadable)
    }

    /// Whether a host that is named by a name may be looked up.
    pub fn check_name(&self, name: &str, port: u16) -> Result<(), Refused> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let named = self.entries.iter().any(|entry| {
            entry.port.is_none_or(|listed| listed == port)
                && match &entry.what {
                    What::Host(host) => *host == name,
                    What::Below(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
                    What::Range(..) => false,
                }
        });
        if named { Ok(()) } else { Err(Refused::Host) }
    }

    /// Whether an address may be connected to, which a permitted name stands for.
    pub fn check_resolved(&self, ip: IpAddr, port: u16) -> Result<(), Refused> {
        match self.has_address(ip, port) || is_public(ip) {
            true => Ok(()),
            false => Err(Refused::Address(ip)),
        }
    }

    /// Whether an address may be connected to that the request itself has in the place of a name.
    pub fn check_literal(&self, ip: IpAddr, port: u16) -> Result<(), Refused> {
        match self.has_address(ip, port) {
            true => Ok(()),
            false if is_public(ip) => Err(Refused::Host),
            false => Err(Refused::Address(ip)),
        }
    }

    fn has_address(&self, ip: IpAddr, port: u16) -> bool {
        let ip = bits(ip);
        self.entries.iter().any(|entry| {
            entry.port.is_none_or(|listed| listed == port)
                && matches!(entry.what, What::Range(of, length) if length == 0 || (ip ^ of) >> (128 - length) == 0)
        })
    }
}

fn entry(text: &str) -> Option<Entry> {
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(Entry { what: What::Range(bits(ip), 128), port: None });
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(Entry { what: What::Range(bits(address.ip()), 128), port: Some(address.port()) });
    }
    if let Some((ip, length)) = text.split_once('/') {
        let (ip, length): (IpAddr, u32) = (ip.parse().ok()?, length.parse().ok()?);
        let most = if ip.is_ipv4() { 32 } else { 128 };
        return (length <= most).then(|| Entry { what: What::Range(bits(ip), 128 - most + length), port: None });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if name.len() > 253 || !name.split('.').all(is_label) {
        return None;
    }
    let what = if name == host { What::Host(name.to_string()) } else { What::Below(format!(".{name}")) };
    Some(Entry { what, port })
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// Whether an address is one of the internet's, and of nothing nearer: not of this machine, this network or a cloud's metadata.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.segments() {
            // IPv4 inside: mapped, and as NAT64 translates it.
            [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(Ipv4Addr::from_bits(ip.to_bits() as u32)),
            segments => is_public_v6(segments),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    !matches!(
        ip.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    )
}

/// Global unicast is 2000::/3; in it are what is for documents, and the tunnels, which hold an address of IPv4 that somebody else chose.
fn is_public_v6(segments: [u16; 8]) -> bool {
    let is_tunnel = segments[0] == 0x2002 || segments[0] == 0x2001 && segments[1] < 0x200;
    let is_document = segments[0] == 0x2001 && segments[1] == 0xdb8 || segments[0] == 0x3fff && segments[1] < 0x1000;
    // A cloud's metadata: fd00:ec2::254 is outside anyway, as all of fc00::/7.
    segments[0] & 0xe000 == 0x2000 && !is_tunnel && !is_document && Ipv6Addr::from(segments).to_bits() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(list: &[&str]) -> Policy {
        let list: Vec<String> = list.iter().map(|entry| entry.to_string()).collect();
        let (policy, unreadable) = Policy::new(&list);
        assert_eq!(unreadable, Vec::<&str>::new());
        policy
    }

    #[test]
    fn names_must_be_on_the_list() {
        let list = ["Example.com", "api.example.org:8443", "*.example.net", "*.deep.example.info:80", "10.0.0.0/8"];
        let rows = [
            ("example.com", 443, true),
            ("EXAMPLE.com.", 80, true),
            ("www.example.com", 443, false),
            ("notexample.com", 443, false),
            ("api.example.org", 8443, true),
            ("api.example.org", 443, false),
            ("example.net", 443, false),
            ("a.example.net", 443, true),
            ("a.b.example.net", 443, true),
            ("aexample.net", 443, false),
            (".example.net", 443, false),
            ("x.deep.example.info", 80, true),
            ("x.deep.example.info", 81, false),
            ("10.example", 443, false),
            ("", 443, false),
        ];
        let policy = policy(&list);
        for (name, port, allowed) in rows {
            assert_eq!(policy.check_name(name, port).is_ok(), allowed, "{name}:{port}");
        }
        assert_eq!(Policy::default().check_name("example.com", 443), Err(Refused::Host));
    }

    #[test]
    fn addresses_that_a_name_stands_for_are_public_or_named() {
        let refused = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        let allowed =
            ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2001:4860::8888", "64:ff9b::101:101"];
        let name_only = policy(&["example.com", "*.internal"]);
        let all = policy(&["0.0.0.0/0", "::/0"]);
        for (rows, is_allowed) in [(&refused[..], false), (&allowed[..], true)] {
            for text in rows {
                let ip: IpAddr = text.parse().expect("an address");
                assert_eq!(name_only.check_resolved(ip, 443).is_ok(), is_allowed, "{text}");
                assert!(name_only.check_literal(ip, 443).is_err(), "{text}");
                assert_eq!((all.check_resolved(ip, 443), all.check_literal(ip, 443)), (Ok(()), Ok(())), "{text}");
            }
        }
    }

    #[test]
    fn addresses_and_ranges_that_are_named() {
        let policy = policy(&["10.2.0.0/16", "127.0.0.1:9000", "192.168.1.7", "fd00:1::/32", "[::1]:80", "[fe80::5]"]);
        let rows = [
            ("10.2.3.4", 1, true),
            ("10.3.0.0", 1, false),
            ("127.0.0.1", 9000, true),
            ("127.0.0.1", 9001, false),
            ("192.168.1.7", 5, true),
            ("192.168.1.8", 5, false),
            ("::ffff:192.168.1.7", 5, true),
            ("fd00:1:2::3", 5, true),
            ("fd00:2::3", 5, false),
            ("::1", 80, true),
            ("::1", 81, false),
            ("fe80::5", 81, true),
        ];
        for (text, port, allowed) in rows {
            let ip: IpAddr = text.parse().expect("an address");
            assert_eq!(policy.check_literal(ip, port).is_ok(), allowed, "{text}:{port}");
            assert_eq!(policy.check_resolved(ip, port).is_ok(), allowed, "{text}:{port}");
        }
        assert_eq!(policy.check_literal(IpAddr::from([1, 1, 1, 1]), 80), Err(Refused::Host));
    }

    #[test]
    fn entries_that_say_nothing_are_told() {
        let list: Vec<String> =
            ["", "*", "*.", "a..b", "a b", "http://a", "a:b", "a:99999", "10.0.0.0/33", "::/129", "10.0.0/8", "é.example", "*.*.a"]
                .map(String::from)
                .into();
        let (policy, unreadable) = Policy::new(&list);
        assert_eq!(unreadable, list);
        assert!(policy.entries.is_empty());
    }
}
