//! Requests of HTTP/2 that are opened and reset at once, as fast as they can be written (CVE-2023-44487): the engine ends such a
//! connection, and goes on answering the others.

use rivet_tests::Call;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{Stage, WITHIN, tls};

/// Far more than one connection may have open.
const STREAMS: u32 = 20_000;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
/// `END_STREAM` and `END_HEADERS`.
const WHOLE: u8 = 5;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
const FRAME_HEAD_BYTES: usize = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET /metadata`, in the static table's numbers and plain text.
fn head() -> Vec<u8> {
    let mut head = vec![0x82, 0x86];
    for (index, value) in [(0x04, "/metadata"), (0x01, "a")] {
        head.push(index);
        head.push(u8::try_from(value.len()).expect("a short value"));
        head.extend(value.as_bytes());
    }
    head
}

/// What the engine says last: the error of its GOAWAY. None if it goes on.
async fn attack(stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<u32> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        let mut words = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        for number in 0..STREAMS {
            let stream = 2 * number + 1;
            words.extend(frame(HEADERS, WHOLE, stream, &head()));
            words.extend(frame(RESET, 0, stream, &CANCEL.to_be_bytes()));
        }
        // It may be closed before all of it is written.
        let _ = writer.write_all(&words).await;
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut last = None;
        let mut head = [0; FRAME_HEAD_BYTES];
        while reader.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            if reader.read_exact(&mut payload).await.is_err() {
                break;
            }
            if head[3] == GO_AWAY {
                last = payload.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
            }
        }
        last
    };
    tokio::select! {
        last = read => last,
        () = write => None,
        () = tokio::time::sleep(WITHIN) => panic!("the connection is still open after {WITHIN:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_only_resets_is_ended() {
    // No limit of requests is to be what ends it.
    let stage = Stage::start_with("guard: {exempt_cidrs: [127.0.0.0/8]}\n").await;
    assert_eq!(attack(stage.connect().await).await, Some(ENHANCE_YOUR_CALM), "without TLS");
    assert_eq!(stage.engine.send(Call::get("/metadata")).await.status, 200);

    let stage = tls::Stage::start().await;
    let stream = stage.connect("localhost", &["h2"]).await.expect("a handshake");
    assert_eq!(attack(stream).await, Some(ENHANCE_YOUR_CALM), "with TLS");
    stage.connect("localhost", &["h2"]).await.expect("others are served");
    assert_eq!(stage.engine.send(Call::get("/metadata")).await.status, 200);
}
