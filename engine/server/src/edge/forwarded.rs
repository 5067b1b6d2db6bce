//! Whom a proxy speaks for, and whom actors are told.
//!
//! Each proxy writes behind what it was given, so what stands last was written by the one that is connected here, and everything
//! before the first address that is no proxy of ours may have been made up by a client.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Nobody has more proxies in a row; what stands before was not written by them.
const HOPS_MAX: usize = 32;

/// The last address that is not trusted; or, if all are, the first. None if there is none that can be read.
pub fn client(headers: &HeaderMap, trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let hops: Box<dyn Iterator<Item = Option<IpAddr>>> = match headers.contains_key(X_FORWARDED_FOR) {
        true => Box::new(items(headers, X_FORWARDED_FOR).map(address)),
        false => Box::new(items(headers, FORWARDED).map(|element| address(for_of(element)?))),
    };
    let mut found = None;
    for hop in hops.take(HOPS_MAX) {
        // What cannot be read was written by nobody who is believed; who passed it on is the client, as far as is known.
        let Some(hop) = hop else { break };
        found = Some(hop);
        if !trusted(hop) {
            break;
        }
    }
    found
}

/// What actors are told: all that came, and behind it who is connected.
pub fn append(headers: &mut HeaderMap, peer: &HeaderValue) {
    let mut came = headers.get_all(X_FORWARDED_FOR).iter();
    let Some(first) = came.next() else {
        headers.insert(X_FORWARDED_FOR, peer.clone());
        return;
    };
    let mut text = first.as_bytes().to_vec();
    for value in came.chain([peer]) {
        text.extend_from_slice(b", ");
        text.extend_from_slice(value.as_bytes());
    }
    headers.insert(X_FORWARDED_FOR, HeaderValue::from_bytes(&text).expect("values of headers with commas between make one"));
}

/// The items of all its lines, from the last to the first.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().rev();
    // What is no text is one item that is no address.
    lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(',')).map(str::trim)
}

/// The value of `for` of one element, as in `for="[2001:db8::1]:4711";proto=https`.
fn for_of(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// With a port or without, IPv6 in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'static str, &'a str)];

    fn headers(lines: Lines<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    }

    #[test]
    fn the_last_that_is_no_proxy_is_the_client() {
        let trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
        let long = ["10.0.0.1"; 40].join(",");
        let rows: [(Lines<'_>, Option<&str>); 18] = [
            (&[], None),
            (&[("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "198.51.100.1, 192.0.2.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "198.51.100.1, 192.0.2.1,10.0.0.2")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "192.0.2.1, 10.0.0.2")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], Some("10.0.0.3")),
            (&[("x-forwarded-for", "made up, 10.0.0.2")], Some("10.0.0.2")),
            (&[("x-forwarded-for", "192.0.2.1:80")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "[2001:db8::1]:80")], Some("2001:db8::1")),
            (&[("x-forwarded-for", "2001:db8::1")], Some("2001:db8::1")),
            (&[("x-forwarded-for", "::ffff:192.0.2.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "")], None),
            (&[("x-forwarded-for", ",,,")], None),
            (&[("x-forwarded-for", "ä")], None),
            (&[("x-forwarded-for", &long)], Some("10.0.0.1")),
            (&[("forwarded", "for=198.51.100.1, for=\"[2001:db8::1]:4711\";proto=https;by=10.0.0.1")], Some("2001:db8::1")),
            (&[("forwarded", "proto=https;For=192.0.2.1, for=10.0.0.2")], Some("192.0.2.1")),
            (&[("forwarded", "for=unknown"), ("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
        ];
        for (lines, expected) in rows {
            let expected = expected.map(|ip| ip.parse().expect("an address"));
            assert_eq!(client(&headers(lines), trusted), expected, "{lines:?}");
        }
    }

    #[test]
    fn actors_are_told_all_that_came_and_who_is_connected() {
        let rows: [(Lines<'_>, &[u8]); 4] = [
            (&[], b"192.0.2.9"),
            (&[("x-forwarded-for", "a, b")], b"a, b, 192.0.2.9"),
            (&[("x-forwarded-for", "a"), ("x-forwarded-for", "b")], b"a, b, 192.0.2.9"),
            (&[("x-forwarded-for", "")], b", 192.0.2.9"),
        ];
        for (lines, expected) in rows {
            let mut headers = headers(lines);
            append(&mut headers, &HeaderValue::from_static("192.0.2.9"));
            let seen: Vec<&[u8]> = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(seen, [expected], "{lines:?}");
        }
    }
}
