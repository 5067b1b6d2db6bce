//! Every message, as it comes out at the other end; and components that go in pieces.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::generate::Generate;
use super::*;
use crate::component::ComponentHash;
use crate::id::{Id, RequestId};
use crate::message::{Checkpoint, Event};

const MESSAGES: usize = 20_000;

/// Says every one of many generated messages. Which members were among them.
fn round_trips<T: Generate + Debug>(
    encode: impl Fn(&T) -> Result<Bytes, CannotSay>,
    decode: impl Fn(Bytes) -> Result<T, DecodeError>,
) -> BTreeSet<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut tags = BTreeSet::new();
    for _ in 0..MESSAGES {
        let said = T::generate(&mut random);
        let bytes = encode(&said).expect("whatever is generated can be said");
        tags.insert(bytes[0]);
        let heard = decode(bytes.clone()).unwrap_or_else(|error| panic!("{error} in {said:?}"));
        assert_eq!(format!("{heard:?}"), format!("{said:?}"));
        assert_eq!(encode(&heard).as_ref(), Ok(&bytes), "{said:?}");
    }
    tags
}

#[test]
fn what_is_said_is_what_is_heard() {
    let tags = round_trips(|said| encode_to_components(VERSION, said), |bytes| decode_to_components(VERSION, bytes));
    assert_eq!(tags, (0..=2).collect());
    let say = |said: &ToRunner| bare::encode(VERSION, &[], said);
    assert_eq!(round_trips(say, |bytes| bare::decode(VERSION, bytes)), (0..=15).collect());
    let tags = round_trips(|said| encode_from_components(VERSION, said), |bytes| decode_from_components(VERSION, bytes));
    assert_eq!(tags, (0..=19).collect());
}

#[test]
fn what_an_older_version_does_not_know_is_left_out() {
    use crate::trace::{Carried, SpanContext};
    let ray = Some(http::HeaderValue::from_static("ray"));
    let trace = Carried { ray, context: Some(SpanContext { trace_id: 1, span_id: 2, is_sampled: true }) };
    for version in ComponentsVersion::all() {
        let data = Bytes::from_static(b"hi");
        let said = ToRunner::SocketMessage { request: RequestId(1), index: 2, data, binary: false, trace: trace.clone() };
        let frame = encode_to_components(version, &ToComponents::Say(said)).expect("it can be said");
        match decode_to_components(version, frame) {
            Ok(ToComponents::Say(ToRunner::SocketMessage { data, trace: heard, .. })) => {
                assert_eq!(&data[..], b"hi");
                assert_eq!(heard == trace, version >= ComponentsVersion::NEWEST, "{version:?}: {heard:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_no_runner_of_components_says_cannot_be_said() {
    let checkpoint = Checkpoint { actor: Id::new([1; 16], 1), generation: 1, index: 1 };
    let rows: [(FromRunner, &str); 3] = [
        (FromRunner::Names(vec![]), "components protocol 3 has no FromRunner::Names"),
        (FromRunner::AckCommands(vec![checkpoint]), "components protocol 3 has no FromRunner::AckCommands"),
        (FromRunner::Event(checkpoint, Event::SetAlarm(None)), "components protocol 3 has no Event::SetAlarm"),
    ];
    for (message, error) in rows {
        assert_eq!(encode_from_components(VERSION, &message).map_err(|error| error.to_string()), Err(error.to_string()));
    }
    let component = ToRunner::Component { component: ComponentHash([0; 32]), bytes: Ok(Bytes::new()) };
    let error = encode_to_components(VERSION, &ToComponents::Say(component)).expect_err("it goes in pieces");
    assert_eq!(error.to_string(), "components protocol 3 has no ToRunner::Component");
}

#[test]
fn an_error_whose_code_is_not_known_here_keeps_it_in_its_text() {
    use crate::database::DatabaseError;
    let error = DatabaseError { group: "depot", code: "new", message: "why".to_string() };
    let bytes = bare::encode(VERSION, &[], &error).expect("any error can be said");
    let heard: DatabaseError = bare::decode(VERSION, bytes).expect("it was just said");
    assert_eq!((heard.group, heard.code, heard.message.as_str()), ("core", "internal_error", "depot.new: why"));
}

#[test]
fn a_body_is_a_slice_of_its_frame() {
    let chunk = ToRunner::RequestChunk { request: RequestId(5), body: Bytes::from_static(b"chunk"), finish: true };
    let frame = encode_to_components(VERSION, &ToComponents::Say(chunk)).expect("it can be said");
    let Ok(ToComponents::Say(ToRunner::RequestChunk { body, .. })) = decode_to_components(VERSION, frame.clone()) else {
        panic!("a chunk expected");
    };
    assert_eq!(body.as_ptr(), frame[11..].as_ptr());
}

/// `a` and `b` are components; 0..3 are these bytes of one of 5, and ! is an error.
fn assembled(script: &[(u8, &str)]) -> Result<Vec<String>, PieceError> {
    let mut assembly = Assembly::default();
    let mut whole = Vec::new();
    for (name, what) in script {
        let component = ComponentHash([*name; 32]);
        let part = match what.split_once("..") {
            Some((at, end)) => {
                let (at, end): (u64, u64) = (at.parse().expect("a number"), end.parse().expect("a number"));
                let bytes = (at..end).map(|at| b'0' + at as u8).collect();
                Ok(Part { at, total: 5, bytes })
            }
            None => Err(what.to_string()),
        };
        match assembly.add(Piece { component, part })? {
            Some(ToRunner::Component { component, bytes }) => {
                let bytes = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                whole.push(format!("{} {bytes:?}", char::from(component.0[0])));
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    Ok(whole)
}

#[test]
fn pieces_become_a_component() {
    let whole = assembled(&[(b'a', "0..3"), (b'a', "3..5"), (b'b', "0..5"), (b'c', "0..1"), (b'c', "gone"), (b'd', "0..5")]);
    let expected = [r#"a Ok("01234")"#, r#"b Ok("01234")"#, r#"c Err("gone")"#, r#"d Ok("01234")"#];
    assert_eq!(whole, Ok(expected.map(str::to_string).to_vec()));
}

#[test]
fn pieces_out_of_turn_are_refused() {
    let rows: [&[(u8, &str)]; 5] = [
        &[(b'a', "1..3")],
        &[(b'a', "0..3"), (b'a', "0..3")],
        &[(b'a', "0..3"), (b'b', "3..5")],
        &[(b'a', "0..3"), (b'a', "3..3")],
        &[(b'a', "0..6")],
    ];
    for script in rows {
        assert!(matches!(assembled(script), Err(PieceError::OutOfTurn { .. })), "{script:?}");
    }
    let part = |at, total| Ok(Part { at, total, bytes: Bytes::from_static(b"x") });
    let add = |part| Assembly::default().add(Piece { component: ComponentHash([0; 32]), part }).map(drop);
    assert_eq!(add(part(0, u64::MAX)), Err(PieceError::TooLong { total: u64::MAX }));
    assert!(matches!(add(part(u64::MAX, 5)), Err(PieceError::OutOfTurn { .. })));
}
