//! Bytes that must never change: another engine or another runner of this version reads them.

use std::fmt::Write as _;

use super::generate::Generate;
use super::*;
use crate::id::RequestId;
use crate::wire::tests::hex;

/// FNV-1a.
fn digest(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn some_messages_byte_for_byte() {
    let mut table = String::new();
    let mut row = |name: &str, bytes: Result<Bytes, CannotSay>| {
        let bytes = bytes.expect("it can be said");
        writeln!(table, "{name}: {}", hex(&bytes)).expect("a text takes everything");
    };
    let request = RequestId(258);
    let welcome = Welcome { version: "1.2".to_string(), ping_interval_ms: 3, lost_ms: 15 };
    row("welcome", encode_to_components(VERSION, &ToComponents::Welcome(welcome)));
    let message = ToRunner::SocketClose { request, index: 7, code: Some(1000), reason: Some("ok".to_string()) };
    row("close", encode_to_components(VERSION, &ToComponents::Say(message)));
    let part = Ok(Part { at: 1, total: 2, bytes: Bytes::from_static(b"w") });
    let piece = Piece { component: crate::component::ComponentHash([0xab; 32]), part };
    row("piece", encode_to_components(VERSION, &ToComponents::Piece(piece)));
    let mut headers = http::HeaderMap::new();
    headers.append("x-a", http::HeaderValue::from_static("1"));
    headers.append("x-b", http::HeaderValue::from_static("2"));
    headers.append("x-a", http::HeaderValue::from_static("3"));
    let response = FromRunner::ResponseStart {
        request,
        status: http::StatusCode::OK,
        headers,
        body: Bytes::from_static(b"hi"),
        stream: false,
    };
    row("response", encode_from_components(VERSION, &response));
    row("stopping", encode_from_components(VERSION, &FromRunner::Stopping));
    assert_eq!(table, GOLDEN);
}

const GOLDEN: &str = "\
welcome: 0003312e3203000000000000000f00000000000000
close: 01080201000000000000070001e80301026f6b
piece: 02abababababababababababababababababababababababababababababababab00010000000000000002000000000000000177
response: 020201000000000000c8000203782d61020131013303782d6201013202686900
stopping: 01
";

/// All of the tables at once: a field that moves, or a number that changes, changes the digest. So does another way to generate.
#[test]
fn many_messages_by_their_digest() {
    let rows = [(2, "6bcfe68523ec2f10"), (3, "9bae2faa22e97f5a")];
    assert_eq!(
        rows.map(|(number, _)| number).to_vec(),
        ComponentsVersion::all().map(ComponentsVersion::number).collect::<Vec<_>>()
    );
    for (version, (_, expected)) in ComponentsVersion::all().zip(rows) {
        let mut random = fastrand::Rng::with_seed(1);
        let mut hash = 0xcbf2_9ce4_8422_2325;
        for _ in 0..5_000 {
            let to = encode_to_components(version, &ToComponents::generate(&mut random)).expect("it can be said");
            let from = encode_from_components(version, &FromRunner::generate(&mut random)).expect("it can be said");
            hash = digest(digest(hash, &to), &from);
        }
        let found = format!("{hash:016x}");
        assert_eq!(found, expected, "a change of the tables of version {} is a new version", version.number());
    }
}
