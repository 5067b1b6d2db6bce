//! How the places are written that an actor's outgoing requests may go to: `host`, `host:port`, `*.host`, an address, with a port or
//! not, or a range of addresses. Which request fits is the runner's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host's name, as DNS has it.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Whether this is one, in lower case.
pub fn is_pattern(pattern: &str) -> bool {
    if let Some((address, bits)) = pattern.split_once('/') {
        let width = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        return is_number(bits) && bits.parse().is_ok_and(|bits: u8| bits <= width);
    }
    if pattern.parse::<IpAddr>().is_ok() {
        return true;
    }
    let host = match pattern.rsplit_once(':') {
        Some((host, port)) if is_number(port) && port.parse().is_ok_and(|port: u16| port > 0) => host,
        Some(_) => return false,
        None => pattern,
    };
    let name = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'));
        !label.is_empty() && label.len() <= LABEL_BYTES_MAX && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    // What ends in a number is an address, and this is none.
    let address_like = name.rsplit('.').next().is_some_and(is_number);
    let address = host.parse::<Ipv4Addr>().is_ok();
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bracketed.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
        || address
        || (!address_like && name.len() <= HOST_BYTES_MAX && name.split('.').all(label))
}

/// Without the sign that the standard library would take.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_pattern;

    #[test]
    fn what_is_a_pattern_and_what_is_none() {
        let good = [
            "example.com",
            "localhost",
            "a.b.c:8080",
            "*.example.com",
            "*.example.com:443",
            "10.0.0.1",
            "10.0.0.1:80",
            "10.0.0.0/8",
            "::1",
            "fd00::/8",
            "[::1]:443",
            "xn--bcher-kva.example",
            "my_service",
        ];
        for pattern in good {
            assert!(is_pattern(pattern), "{pattern}");
        }
        let long = "a".repeat(64);
        let bad = [
            "",
            "*",
            "*.",
            "http://a",
            "a/b",
            "a:0",
            "a:65536",
            "a:+1",
            "a:",
            ":80",
            "a..b",
            "-a",
            "a-",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0/8",
            "1.2.3",
            "fd00::/129",
            "[::1",
            "[a]:1",
            "a b",
            "ä.de",
            "a.*.b",
            "**.a",
            "256.1.1.1",
            "A",
            &long,
        ];
        for pattern in bad {
            assert!(!is_pattern(pattern), "{pattern}");
        }
    }
}
