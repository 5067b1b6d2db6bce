//! What the npm client `rivetkit` 2.3.19 sends, byte for byte, and what hostile clients might.

use std::fmt::Debug;

use super::call::{Push, Pushed};
use super::connection::{FromClient, ToClient};
use super::*;

const MAX: usize = 1 << 20;

fn bytes(hex: &str) -> Vec<u8> {
    assert_eq!(hex.len() % 2, 0, "{hex}");
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("two digits")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One call of the npm client in its three encodings: what the actor is given, once per encoding where they differ.
fn check_action(json: &str, cbor: &str, bare: &str, expected: [&str; 3]) {
    let read = [
        call::read_action(Encoding::Json, json.as_bytes(), MAX),
        call::read_action(Encoding::Cbor, &bytes(cbor), MAX),
        call::read_action(Encoding::Bare, &bytes(bare), MAX),
    ];
    for (read, expected) in read.into_iter().zip(expected) {
        assert_eq!(read.as_deref(), Ok(expected), "{json}");
    }
}

#[test]
fn arguments_of_the_npm_client() {
    // The same in all of them.
    let rows = [
        (r#"{"args":[]}"#, "b90001646172677380", "04000180"),
        (r#"{"args":[5]}"#, "b9000164617267738105", "0400028105"),
        (r#"{"args":[-5]}"#, "b9000164617267738124", "0400028124"),
        (r#"{"args":[2147483648]}"#, "b900016461726773811a80000000", "040006811a80000000"),
        (r#"{"args":[1099511627776]}"#, "b90001646172677381fb4270000000000000", "04000a81fb4270000000000000"),
        (r#"{"args":[1.5]}"#, "b90001646172677381fb3ff8000000000000", "04000a81fb3ff8000000000000"),
        (r#"{"args":["ö\n"]}"#, "b9000164617267738163c3b60a", "0400058163c3b60a"),
        (r#"{"args":[true]}"#, "b90001646172677381f5", "04000281f5"),
        (r#"{"args":[null]}"#, "b90001646172677381f6", "04000281f6"),
        (r#"{"args":[["$BigInt","5"]]}"#, "b900016461726773811b0000000000000005", "04000c81826724426967496e746135"),
        (r#"{"args":[["$BigInt","-5"]]}"#, "b900016461726773813b0000000000000004", "04000d81826724426967496e74622d35"),
        (
            r#"{"args":[["$BigInt","1180591620717411303424"]]}"#,
            "b90001646172677381c249400000000000000000",
            "04002181826724426967496e747631313830353931363230373137343131333033343234",
        ),
        (r#"{"args":[["$Uint8Array","AQID"]]}"#, "b90001646172677381d84043010203", "04001381826b2455696e743841727261796441514944"),
        (r#"{"args":[["$$foo",1]]}"#, "b90001646172677381826424666f6f01", "0400098182652424666f6f01"),
        (r#"{"args":["$$foo",1]}"#, "b900016461726773826424666f6f01", "04000882652424666f6f01"),
        (r#"{"args":[["$BigInt",1,2]]}"#, "b90001646172677381836724426967496e740102", "04000c81836724426967496e740102"),
        (r#"{"args":[{"a":[{}]}]}"#, "b90001646172677381b90001616181b90000", "04000a81b90001616181b90000"),
        (r#"{"args":["2023-11-14T22:13:20.123Z"]}"#, "b90001646172677381c1fb41d954fc4007df3b", "04000b81c1fb41d954fc4007df3b"),
    ];
    for (json, cbor, bare) in rows {
        let args = &json[r#"{"args":"#.len()..json.len() - 1];
        check_action(json, cbor, bare, [args; 3]);
    }
    // The client's own JSON cannot say these.
    let undefined = r#"[["$Undefined",0]]"#;
    check_action(
        r#"{"args":[null]}"#,
        "b90001646172677381f7",
        "04000e81826a24556e646566696e656400",
        ["[null]", undefined, undefined],
    );
    let set = r#"[["$Set",[1,"a"]]]"#;
    check_action(r#"{"args":[{}]}"#, "b90001646172677381d9010282016161", "04000b8182642453657482016161", ["[{}]", set, set]);
    let map = r#"[{"k":1}]"#;
    check_action(r#"{"args":[{}]}"#, "b90001646172677381d90103a1616b01", "04000881d90103a1616b01", ["[{}]", map, map]);
    check_action(
        r#"{"args":[["$ArrayBuffer","AQI="]]}"#,
        "b90001646172677381420102",
        "04001481826c244172726179427566666572644151493d",
        [r#"[["$ArrayBuffer","AQI="]]"#, r#"[["$Uint8Array","AQI="]]"#, r#"[["$ArrayBuffer","AQI="]]"#],
    );
}

#[test]
fn arguments_that_are_no_array() {
    let rows = [
        ("{}", "[]"),
        (r#"{"args":null}"#, "[]"),
        (r#"{"args":["$Undefined",0]}"#, "[]"),
        (r#"{"args":5}"#, "[5]"),
        (r#"{"args":{"a":1}}"#, r#"[{"a":1}]"#),
        (r#"{"other":[1],"args":[1],"args":[2]}"#, "[2]"),
        (" { \"args\" : [ 1 , 2.0, 1e3, -0.0, 1e300 ] } ", "[1,2,1000,0,1e+300]"),
    ];
    for (body, expected) in rows {
        assert_eq!(call::read_action(Encoding::Json, body.as_bytes(), MAX).as_deref(), Ok(expected), "{body}");
    }
}

#[test]
fn queued_messages_of_the_npm_client() {
    let waits = Push { name: Some("jobs".to_string()), body: r#"{"n":1}"#.to_string(), wait: true, timeout_ms: Some(1500) };
    let big = Push { name: Some("jobs".to_string()), body: r#"["$BigInt","5"]"#.to_string(), wait: false, timeout_ms: None };
    let rows = [
        (Encoding::Json, hex(br#"{"body":{"n":1},"name":"jobs","wait":true,"timeout":1500}"#), &waits),
        (Encoding::Cbor, "b9000464626f6479b90001616e01646e616d65646a6f62736477616974f56774696d656f75741905dc".to_string(), &waits),
        (Encoding::Bare, "040006b90001616e0101046a6f6273010101dc05000000000000".to_string(), &waits),
        (Encoding::Json, hex(br#"{"body":["$BigInt","5"],"name":"jobs","wait":false}"#), &big),
        (Encoding::Cbor, "b9000464626f64791b0000000000000005646e616d65646a6f62736477616974f46774696d656f7574f7".to_string(), &big),
        (Encoding::Bare, "04000b826724426967496e74613501046a6f6273010000".to_string(), &big),
    ];
    for (encoding, body, expected) in rows {
        assert_eq!(call::read_push(encoding, &bytes(&body), MAX).as_ref(), Ok(expected), "{encoding:?} {body}");
    }
}

#[test]
fn messages_of_a_connected_npm_client() {
    let subscribe = FromClient::Subscribe { event: "ev".to_string(), subscribe: true };
    let call = FromClient::Call { id: 0, name: "hi".to_string(), args: r#"[1,["$BigInt","5"]]"#.to_string() };
    let rows = [
        (
            Encoding::Json,
            hex(br#"{"body":{"tag":"SubscriptionRequest","val":{"eventName":"ev","subscribe":true}}}"#),
            &subscribe,
        ),
        (
            Encoding::Json,
            hex(br#"{"body":{"tag":"ActionRequest","val":{"id":["$BigInt","0"],"name":"hi","args":[1,["$BigInt","5"]]}}}"#),
            &call,
        ),
        // Other clients: a plain number, another order.
        (Encoding::Json, hex(br#"{"body":{"val":{"args":[1,["$BigInt","5"]],"name":"hi","id":0},"tag":"ActionRequest"}}"#), &call),
        (
            Encoding::Cbor,
            "b9000164626f6479b900026374616773537562736372697074696f6e526571756573746376616cb90002696576656e744e616d6562657669737562736372696265f5".to_string(),
            &subscribe,
        ),
        (
            Encoding::Cbor,
            "b9000164626f6479b90002637461676d416374696f6e526571756573746376616cb900036269641b0000000000000000646e616d65626869646172677382011b0000000000000005".to_string(),
            &call,
        ),
        (Encoding::Bare, "04000102657601".to_string(), &subscribe),
        (Encoding::Bare, "040000000268690d8201826724426967496e746135".to_string(), &call),
    ];
    for (encoding, message, expected) in rows {
        assert_eq!(connection::read(encoding, &bytes(&message), MAX).as_ref(), Ok(expected), "{encoding:?} {message}");
    }
}

#[test]
fn what_clients_are_sent() {
    let actor = Speaker { id: "id1".to_string(), generation: 3, key: Some("k".to_string()) };
    let keyless = Speaker { key: None, ..actor.clone() };
    let error =
        ClientError { metadata: Some(r#"{"a":1}"#.to_string()), ..ClientError::new("user", "no", "not \"now\"".to_string()) };
    let plain = ClientError::new("actor", "x", "m".to_string());
    let text = |written: Result<Vec<u8>, Broken>| String::from_utf8(written.expect("it can be written")).expect("JSON is text");
    let json = Encoding::Json;
    let rows = [
        (text(call::write_action(json, "[1]")), r#"{"output":[1]}"#),
        (text(call::write_push(json, &Pushed::TimedOut)), r#"{"status":"timedOut"}"#),
        (text(call::write_push(json, &Pushed::Completed(None))), r#"{"status":"completed"}"#),
        (text(call::write_push(json, &Pushed::Completed(Some("5".to_string())))), r#"{"status":"completed","response":5}"#),
        (
            text(call::write_error(json, &error, &actor)),
            r#"{"group":"user","code":"no","message":"not \"now\"","metadata":{"a":1},"actor":{"actorId":"id1","generation":3,"key":"k"}}"#,
        ),
        (
            text(call::write_error(json, &plain, &keyless)),
            r#"{"group":"actor","code":"x","message":"m","actor":{"actorId":"id1","generation":3}}"#,
        ),
        (
            text(connection::write(json, ToClient::Init { actor: "id1", connection: "c" })),
            r#"{"body":{"tag":"Init","val":{"actorId":"id1","connectionId":"c"}}}"#,
        ),
        (
            text(connection::write(json, ToClient::Answer { call: 7, output: "null" })),
            r#"{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","7"],"output":null}}}"#,
        ),
        (
            text(connection::write(json, ToClient::Event { name: "e", args: "[1]" })),
            r#"{"body":{"tag":"Event","val":{"name":"e","args":[1]}}}"#,
        ),
        (
            text(connection::write(json, ToClient::Error { call: None, error: &plain, actor: &keyless })),
            r#"{"body":{"tag":"Error","val":{"group":"actor","code":"x","message":"m","actor":{"actorId":"id1","generation":3},"actionId":null}}}"#,
        ),
    ];
    for (written, expected) in rows {
        assert_eq!(written, expected);
    }
    let bare = Encoding::Bare;
    let rows = [
        (call::write_action(bare, "[1]"), "0400069a0000000101"),
        (call::write_push(bare, &Pushed::Completed(Some("5".to_string()))), "040009636f6d706c65746564010105"),
        (call::write_push(bare, &Pushed::TimedOut), "04000874696d65644f757400"),
        (call::write_error(bare, &plain, &actor), "0400056163746f720178016d0001036964310301016b"),
        (connection::write(bare, ToClient::Init { actor: "id1", connection: "c" }), "040000036964310163"),
        (connection::write(bare, ToClient::Answer { call: 300, output: "null" }), "040002ac0201f6"),
        (connection::write(bare, ToClient::Event { name: "e", args: "[]" }), "0400030165059a00000000"),
    ];
    for (written, expected) in rows {
        assert_eq!(hex(&written.expect("it can be written")), expected);
    }
    // In CBOR the same shapes.
    let written = connection::write(Encoding::Cbor, ToClient::Answer { call: 7, output: "[-1.5]" }).expect("it can be written");
    let read = cbor::to_json(&written, MAX);
    assert_eq!(read.as_deref(), Ok(r#"{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","7"],"output":[-1.5]}}}"#));
}

#[test]
fn json_comes_back_from_cbor_as_it_was() {
    let long = format!("[{}]", vec!["\"ä\\\"\\\\\\u0001\""; 300].join(","));
    let rows = [
        "null",
        "true",
        "0",
        "23",
        "24",
        "255",
        "256",
        "65535",
        "65536",
        "4294967295",
        "4294967296",
        "-1",
        "-4294967296",
        "-4294967297",
        "9007199254740991",
        "1e+300",
        "0.1",
        "\"\"",
        "[]",
        "{}",
        r#"["$BigInt","123"]"#,
        r#"["$Undefined",0]"#,
        r#"["$$mine",1]"#,
        r#"{"a":[1,{"b":[]}],"":null}"#,
        &long,
    ];
    for text in rows {
        let cbor = cbor::from_json(text).expect(text);
        assert_eq!(cbor::to_json(&cbor, MAX).as_deref(), Ok(text));
    }
}

#[test]
fn cbor_of_other_clients() {
    let rows = [
        ("9f0102ff", "[1,2]"),
        ("bf6161f5ff", r#"{"a":true}"#),
        ("7f61616162ff", r#""ab""#),
        ("5f41014102ff", r#"["$Uint8Array","AQI="]"#),
        ("9f6424666f6f01ff", r#"["$$foo",1]"#),
        ("a10102", r#"{"1":2}"#),
        ("a12002", r#"{"-1":2}"#),
        ("f93c00", "1"),
        ("f97c00", "null"),
        ("f90001", "5.960464477539063e-8"),
        ("fa3fc00000", "1.5"),
        ("fb7ff8000000000000", "null"),
        ("c240", r#"["$BigInt","0"]"#),
        ("c340", r#"["$BigInt","-1"]"#),
        ("c3493fffffffffffffffff", r#"["$BigInt","-1180591620717411303424"]"#),
        ("c34120", r#"["$BigInt","-33"]"#),
        ("c341ff", r#"["$BigInt","-256"]"#),
        ("1bffffffffffffffff", r#"["$BigInt","18446744073709551615"]"#),
        ("3bffffffffffffffff", r#"["$BigInt","-18446744073709551616"]"#),
        ("c100", r#""1970-01-01T00:00:00.000Z""#),
        ("c11a65e05ac0", r#""2024-02-29T10:21:52.000Z""#),
        ("c120", r#""1969-12-31T23:59:59.000Z""#),
        ("c1fb7ff8000000000000", "null"),
        ("d9d9f705", "5"),
    ];
    for (message, expected) in rows {
        assert_eq!(cbor::to_json(&bytes(message), MAX).as_deref(), Ok(expected), "{message}");
    }
}

/// Refused, with a text that says what it is.
fn check_broken<T: Debug>(read: Result<T, Broken>, what: &str, says: &str) {
    match read {
        Err(broken) => assert!(broken.to_string().contains(says), "{what}: {broken}"),
        Ok(read) => panic!("{what}: {read:?}"),
    }
}

#[test]
fn broken_messages_are_refused_in_words() {
    let deep = "81".repeat(200) + "00";
    let deep_tags = "d9d9f7".repeat(200) + "00";
    let rows = [
        ("", "ends in the middle"),
        ("9b7fffffffffffffff", "ends in the middle"),
        ("5bffffffffffffffff00", "ends in the middle"),
        ("7b7fffffffffffffff00", "ends in the middle"),
        ("bb7fffffffffffffff", "ends in the middle"),
        ("9f01", "ends in the middle"),
        ("0000", "more behind"),
        ("61ff", "not UTF-8"),
        ("1c", "no valid length"),
        ("1f", "no valid length"),
        ("ff", "no valid length"),
        ("f8ff", "kind that is not known"),
        ("e0", "kind that is not known"),
        ("5f6161ff", "no string"),
        ("5f5f4101ffff", "no string"),
        ("a18001", "neither text nor an integer"),
        ("c1f6", "not a number"),
        ("c201", "not made of bytes"),
        ("d855480000803f00000040", "tag 85"),
        ("d81b836652656745787061616167", "tag 27"),
        (&deep, "deeper than 127"),
        (&deep_tags, "deeper than 127"),
    ];
    for (message, says) in rows {
        check_broken(cbor::to_json(&bytes(message), MAX), message, says);
    }
    check_broken(cbor::to_json(&bytes(&("c258ff".to_string() + &"ff".repeat(255))), MAX), "a bigint", "64 bytes");
    check_broken(cbor::to_json(&[&bytes("9a000f4240")[..], &vec![0xf7; 1_000_000]].concat(), MAX), "undefined", "1048576 bytes");
    let json = |text: &str| call::read_action(Encoding::Json, text.as_bytes(), MAX);
    for text in ["", "{", "[]", "5", "{\"args\":[}", "{\"args\":[]} x", "{\"args\":[1e999]}", "{\"args\":[\"\\ud800\"]}"] {
        check_broken(json(text), text, "not the JSON");
    }
    check_broken(json(&format!("{{\"args\":{}{}}}", "[".repeat(500), "]".repeat(500))), "deep JSON", "recursion");
    for (message, says) in [
        ("", "ends in the middle"),
        ("0300", "version 3"),
        ("0400ff", "255 is not a message"),
        ("04000102657602", "2 is neither"),
        ("0400010265760100", "more behind"),
        ("040001ffffffffffffffffff01", "ends in the middle"),
        ("040001ffffffffffffffffff02", "more than 64 bits"),
        ("04000101ff01", "not UTF-8"),
    ] {
        check_broken(connection::read(Encoding::Bare, &bytes(message), MAX), message, says);
    }
    for (text, says) in [
        ("{}", "`body`"),
        (r#"{"body":{"val":{}}}"#, "`body.tag`"),
        (r#"{"body":{"tag":"Init","val":{}}}"#, "Init"),
        (r#"{"body":{"tag":"ActionRequest","val":{"name":"x"}}}"#, "`id`"),
        (r#"{"body":{"tag":"ActionRequest","val":{"id":-1,"name":"x"}}}"#, "`id`"),
        (r#"{"body":{"tag":"ActionRequest","val":{"id":["$BigInt","x"],"name":"x"}}}"#, "`id`"),
        (r#"{"body":{"tag":"ActionRequest","val":{"id":1}}}"#, "`name`"),
        (r#"{"body":{"tag":"SubscriptionRequest","val":{"eventName":"x","subscribe":1}}}"#, "`subscribe`"),
    ] {
        check_broken(connection::read(Encoding::Json, text.as_bytes(), MAX), text, says);
    }
}

/// No bytes make it panic, and memory stays within a small multiple of the limit.
#[test]
fn any_bytes_are_read_or_refused() {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    let seeds = [
        "b9000164626f6479b90002637461676d416374696f6e526571756573746376616cb900036269641b0000000000000000646e616d65626869646172677382011b0000000000000005",
        "040000000268690d8201826724426967496e746135",
        "9f7f6161ffc258200101d9010281c1fb41d954fc4007df3bff",
    ];
    for round in 0..30_000 {
        let mut message = bytes(seeds[round % seeds.len()]);
        for _ in 0..=next() % 4 {
            let at = usize::from(next()) % message.len();
            message[at] = next();
        }
        message.truncate(usize::from(next()) % message.len() + message.len() / 2);
        for encoding in [Encoding::Json, Encoding::Cbor, Encoding::Bare] {
            let _ = connection::read(encoding, &message, 4096);
            let _ = call::read_push(encoding, &message, 4096);
        }
        if let Ok(text) = cbor::to_json(&message, 4096) {
            // What it gives is JSON, and can be said in CBOR again.
            json::check(&text).unwrap_or_else(|broken| panic!("{} {text}: {broken}", hex(&message)));
            cbor::from_json(&text).unwrap_or_else(|broken| panic!("{} {text}: {broken}", hex(&message)));
        }
    }
}

#[test]
fn a_socket_says_its_encoding_and_parameters() {
    let rows = [
        ("rivet, rivet_encoding.bare", Encoding::Bare, Ok(None)),
        (
            "rivet,rivet_encoding.cbor,rivet_conn_params.%7B%22user%22%3A%22ada%20%C3%B6%22%7D",
            Encoding::Cbor,
            Ok(Some(r#"{"user":"ada ö"}"#)),
        ),
        ("rivet", Encoding::Json, Ok(None)),
        ("rivet, rivet_encoding.xml", Encoding::Json, Ok(None)),
        ("rivet, rivet_conn_params.%7", Encoding::Json, Err("JSON")),
        ("rivet, rivet_conn_params.%ff", Encoding::Json, Err("UTF-8")),
    ];
    for (protocols, encoding, params) in rows {
        let mut headers = http::HeaderMap::new();
        headers.insert("sec-websocket-protocol", protocols.parse().expect("a header"));
        assert_eq!(handshake::socket_encoding(&headers), encoding, "{protocols}");
        match (handshake::params(&headers), params) {
            (Ok(read), Ok(expected)) => assert_eq!(read.as_deref(), expected, "{protocols}"),
            (Err(broken), Err(says)) => check_broken::<()>(Err(broken), protocols, says),
            (read, _) => panic!("{protocols}: {read:?}"),
        }
    }
}

#[test]
fn statuses_are_those_of_rivetkit() {
    let rows = [
        ("user", "anything", 500),
        ("actor", "action_not_found", 404),
        ("actor", "method_not_allowed", 405),
        ("actor", "invalid_request", 400),
        ("message", "incoming_too_long", 400),
        ("queue", "full", 400),
        ("actor", "trapped", 500),
    ];
    for (group, code, status) in rows {
        assert_eq!(ClientError::new(group, code, String::new()).status(), status, "{group}.{code}");
    }
}
