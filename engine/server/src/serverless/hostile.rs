//! What the URL of a pool may answer, and what may be named as one.

use protocol::limits::ACTOR_NAME_BYTES_MAX;
use url::{Host, Url};

use super::events::Events;
use super::metadata::{self, ENVOY_PROTOCOL_MAX, NAMES_MAX};
use super::policy::{Network, Policy};
use crate::hostile::Inputs;

/// The names of events, up to what makes no sense, and whether there was any such.
fn heard<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, bool) {
    let (mut events, mut names) = (Events::default(), Vec::new());
    for piece in pieces {
        if events.hear(piece, |name| names.push(name.to_string())).is_err() {
            return (names, true);
        }
    }
    (names, false)
}

#[test]
fn streams_of_events() {
    let valid = [
        "event: ping\ndata:\n\nevent: stopping\ndata:\n\n",
        "event: ping\r\ndata: \r\n\r\nevent:stopping\r\n\r\n",
        ": a comment\r\rid: 7\rretry: 5\revent\r\r",
        "\u{feff}data: a\ndata: b\n\nevent:  two blanks \n\nevent: stop\u{e4}\n\n",
    ];
    let words = ["\n", "\r", "\r\n", "\n\n", "event:", "event: ", "data:", ":", " ", "\u{feff}", "ä", "stopping", "\0"];
    Inputs::new("event streams", 1, &valid, &words).each(|random, bytes| {
        let whole = heard([bytes].into_iter());
        let mut rest = bytes;
        let cut = std::iter::from_fn(|| {
            let (piece, after) = rest.split_at(random.usize(1..=rest.len().clamp(1, 40)).min(rest.len()));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        });
        assert_eq!(heard(cut), whole, "however it is cut");
        assert!(whole.0.iter().all(|name| !name.contains(['\n', '\r'])));
        !whole.1
    });
}

#[test]
fn what_urls_say_about_themselves() {
    let valid = [
        r#"{"runtime":"rivetkit","version":"2.3.19","envoyProtocolVersion":8,"envoy":{"kind":{"serverless":{}},"version":5},
            "actorNames":{"counter":{"metadata":{"icon":"x"}},"odd":{"metadata":7},"bare":{}},"clientEndpoint":"http://a"}"#,
        r#"{"runtime":"rivetkit","version":"1","runner":{"version":3}}"#,
        r#"{"runtime":"rivetkit","version":"1","actorNames":{"":{"metadata":{}}}}"#,
    ];
    let words =
        ["{", "}", "[", "]", ",", ":", "\"", "null", "0", "-1", "1e999", "18446744073709551616", "\\u0000", "\\ud800", "true", "ä"];
    Inputs::new("metadata of URLs", 1, &valid, &words).each(|_, bytes| match metadata::read(bytes) {
        Ok(metadata) => {
            assert!(metadata.protocol_version().is_none_or(|version| (1..=ENVOY_PROTOCOL_MAX).contains(&version)));
            let names = metadata.names();
            assert!(names.len() <= NAMES_MAX);
            for (name, about) in names {
                assert!((1..=ACTOR_NAME_BYTES_MAX).contains(&name.len()), "{name:?}");
                assert!(crate::runners::is_object(&about), "{about}");
            }
            true
        }
        Err(error) => {
            let shown = serde_json::to_value(&error).expect("an error is JSON");
            assert!(shown["metadata"]["kind"].is_string() && !error.to_string().is_empty(), "{shown}");
            assert!(shown.to_string().len() < 16 * 1024, "an error is short");
            false
        }
    });
}

#[test]
fn destinations() {
    let valid = [
        "http://127.0.0.1:3000/api",
        "https://example.com/a?b#c",
        "http://[::ffff:169.254.169.254]/",
        "http://0xa9.0376.43518/",
        "http://2852039166/",
        "http://user:word@10.0.0.1/",
        "https://[2606:4700::1111]:8443",
        "http://[64:ff9b::a00:1]/",
        "http://[2002:a00:1::]/",
    ];
    let words = [
        "http://",
        "https://",
        "[",
        "]",
        ":",
        "/",
        "@",
        ".",
        "0x",
        "0",
        "::",
        "%2e",
        "\\",
        "127.0.0.1",
        "169.254.169.254",
        "10.",
        "ffff:",
        "①",
        "。",
        "\t",
        "localhost",
        "?",
        "#",
    ];
    let policy = Policy { allow_loopback: false, ..Policy::default() };
    Inputs::new("destinations", 1, &valid, &words).each_text(|_, text| {
        let Ok(url) = Url::parse(text) else { return false };
        let judged = policy.check_url(&url);
        let again = Url::parse(url.as_str()).expect("what was printed can be read");
        assert_eq!(policy.check_url(&again), judged, "{url}");
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => ip,
            Some(Host::Ipv6(ip)) => ip.to_ipv4_mapped().unwrap_or(std::net::Ipv4Addr::BROADCAST),
            Some(Host::Domain(_)) | None => return true,
        };
        let is_inside = ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast();
        assert!(!is_inside || judged.is_err(), "{url} is {ip}");
        true
    });
}

#[test]
fn networks() {
    let valid =
        ["10.0.0.0/8 10.1.2.3", "::/0 ::1", "64:ff9b::/96 64:ff9b::808:808", "2002::/16 2002:808:808::", "fd00:1::/32 fd00:1::2"];
    let words = ["/", "0", "128", "32", "::", ".", ":", "ffff", "10", "+", "-", " ", "64:ff9b::", "::ffff:", "/8"];
    Inputs::new("networks", 1, &valid, &words).each_text(|_, text| {
        let Some((network, ip)) = text.split_once(' ') else { return false };
        let (Ok(network), Ok(ip)) = (network.parse::<Network>(), ip.parse()) else { return false };
        let deny = Policy { deny_networks: vec![network], ..Policy::default() };
        let allow = Policy { allow_networks: vec![network], allow_loopback: false, ..Policy::default() };
        let is_in = network.holds(ip);
        assert!(!is_in || deny.check_address("", ip).is_err(), "{ip} is in a network that is denied");
        assert!(!is_in || allow.check_address("", ip).is_ok(), "{ip} is in a network that is allowed");
        true
    });
}
