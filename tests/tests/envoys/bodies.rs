//! Requests and responses that stream to and from a runner that connects, and what breaks them.

use bytes::Bytes;
use futures_util::StreamExt;
use protocol::wire::EnvoyVersion;
use protocol::wire::tunnel::{AbortKind, MessageId, ToEnvoyTunnel, ToRivetTunnel};
use reqwest::Method;
use rivet_tests::address::by_id;
use rivet_tests::{Call, Engine, Envoy};
use tokio::sync::oneshot;

use crate::{make_pool, response, running};

const MIB: usize = 1024 * 1024;

/// An engine, an envoy, and an actor on it.
async fn all(version: EnvoyVersion) -> (Engine, Envoy, String) {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect_as(&engine, "p", "abc", version, 1).await;
    let (actor, _) = running(&engine, &mut envoy, "p", "k").await;
    (engine, envoy, actor)
}

fn begun() -> ToRivetTunnel {
    ToRivetTunnel::ResponseStart { status: 200, headers: Vec::new(), body: None, stream: true }
}

fn chunk(bytes: usize, finish: bool) -> ToRivetTunnel {
    ToRivetTunnel::ResponseChunk { body: Bytes::from(vec![7; bytes]), finish }
}

fn after(id: MessageId, index: u16) -> MessageId {
    MessageId { index, ..id }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_streams_with_credit() {
    let (engine, mut envoy, actor) = all(EnvoyVersion::NEWEST).await;
    let client = async {
        let answer = engine.http(Method::GET, &by_id(&actor, "/")).send().await.expect("an answer");
        answer.bytes().await.expect("all of it").len()
    };
    let serve = async {
        let (id, _) = envoy.tunnel().await;
        envoy.respond(id, begun()).await;
        // As much as may be on its way; then only what has been consumed.
        let (mut sent, mut consumed, mut index) = (0, 0, 1);
        while sent <= 5 * MIB {
            let is_last = sent == 5 * MIB;
            let bytes = if is_last { 1 } else { 65_536 };
            while sent + bytes > consumed + MIB {
                let (_, message) = envoy.tunnel().await;
                let ToEnvoyTunnel::ResponseBodyWindowUpdate { consumed_bytes } = message else { panic!("{message:?}") };
                assert!(consumed_bytes as usize > consumed && consumed_bytes as usize <= sent, "{consumed_bytes}");
                consumed = consumed_bytes as usize;
            }
            envoy.respond(after(id, index), chunk(bytes, is_last)).await;
            (sent, index) = (sent + bytes, index + 1);
        }
    };
    let (bytes, ()) = tokio::join!(client, serve);
    assert_eq!(bytes, 5 * MIB + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_response_that_has_begun() {
    let (engine, mut envoy, actor) = all(EnvoyVersion::NEWEST).await;
    // Its first chunk comes, and then: a gap, too much, the runner's own abort.
    for (what, index, message) in [
        ("a gap", 3, chunk(1, false)),
        ("more than the window", 2, chunk(MIB + 1, false)),
        ("an abort", 2, ToRivetTunnel::ResponseAbort { reason: Default::default() }),
    ] {
        let is_abort = matches!(message, ToRivetTunnel::ResponseAbort { .. });
        // An answer that breaks before its head has left is none.
        let (has_begun, begins) = oneshot::channel();
        let client = async {
            let answer = engine.http(Method::GET, &by_id(&actor, "/")).send().await.expect("an answer");
            let mut body = answer.bytes_stream();
            body.next().await.expect("a chunk").expect("a chunk");
            has_begun.send(()).expect("the envoy waits for it");
            while let Some(Ok(_)) = body.next().await {}
        };
        let serve = async {
            let (id, _) = envoy.tunnel().await;
            envoy.respond(id, begun()).await;
            envoy.respond(after(id, 1), chunk(1, false)).await;
            begins.await.expect("the client says so");
            envoy.respond(after(id, index), message).await;
            if is_abort {
                return;
            }
            let (_, heard) = envoy.tunnel().await;
            let ToEnvoyTunnel::RequestAbort { actor_id, actor_generation, reason } = heard else { panic!("{what}: {heard:?}") };
            assert_eq!((actor_id.as_deref(), actor_generation), (Some(&*actor), Some(1)), "{what}");
            assert_eq!(reason.kind, AbortKind::InternalError, "{what}");
            assert!(reason.detail.is_some(), "{what}");
        };
        tokio::join!(client, serve);
    }
    let client = async {
        let answer = engine.http(Method::GET, &by_id(&actor, "/")).send().await.expect("an answer");
        let mut body = answer.bytes_stream();
        body.next().await.expect("a chunk").expect("a chunk");
    };
    let serve = async {
        let (id, _) = envoy.tunnel().await;
        envoy.respond(id, begun()).await;
        envoy.respond(after(id, 1), chunk(1, false)).await;
        id
    };
    let ((), id) = tokio::join!(client, serve);
    // The client has left.
    let (heard_id, heard) = envoy.tunnel().await;
    let ToEnvoyTunnel::RequestAbort { reason, .. } = heard else { panic!("{heard:?}") };
    assert_eq!((heard_id.stream, heard_id.index, reason.kind), (id.stream, 1, AbortKind::Cancelled));
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_that_cannot_be_sent() {
    let (engine, mut envoy, actor) = all(EnvoyVersion::NEWEST).await;
    let with_body = |bytes: usize| ToRivetTunnel::ResponseStart {
        status: 200,
        headers: Vec::new(),
        body: Some(Bytes::from(vec![7; bytes])),
        stream: false,
    };
    let rows = [
        ("20 MiB", with_body(20 * MIB), 200, ""),
        ("a byte more", with_body(20 * MIB + 1), 502, "guard.invalid_response_body"),
        ("status 0", response(0, &[], ""), 500, "actor.invalid_response"),
        ("status 99", response(99, &[], ""), 500, "actor.invalid_response"),
        ("status 101", response(101, &[], ""), 500, "actor.invalid_response"),
        ("status 65535", response(65_535, &[], ""), 500, "actor.invalid_response"),
        ("a header's name with a blank", response(200, &[("a b", "c")], ""), 500, "actor.invalid_response"),
        ("a header's value with an end of line", response(200, &[("a", "b\r\nc: d")], ""), 500, "actor.invalid_response"),
        ("an abort", ToRivetTunnel::ResponseAbort { reason: Default::default() }, 503, "guard.tunnel_request_aborted"),
        ("headers about the connection", response(200, &[("transfer-encoding", "x"), ("content-length", "99")], "abc"), 200, ""),
    ];
    for (what, message, status, code) in rows {
        let (answer, ()) = tokio::join!(engine.get(by_id(&actor, "/")), async {
            // After one that was refused comes an abort.
            let id = loop {
                if let (id, ToEnvoyTunnel::RequestStart { .. }) = envoy.tunnel().await {
                    break id;
                }
            };
            envoy.respond(id, message).await;
        });
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_request_streams_with_credit() {
    let (engine, mut envoy, actor) = all(EnvoyVersion::NEWEST).await;
    let call = Call { body: rivet_tests::call::Body::Chunked(3 * MIB), ..Call::post(by_id(&actor, "/upload")) };
    let serve = async {
        let (id, start) = envoy.tunnel().await;
        assert!(matches!(start, ToEnvoyTunnel::RequestStart { body: None, stream: true, .. }), "{start:?}");
        let (mut bytes, mut messages, mut said) = (0, 0, 0);
        loop {
            let (chunk_id, message) = envoy.tunnel().await;
            messages += 1;
            assert_eq!((chunk_id.stream, chunk_id.index), (id.stream, messages));
            let ToEnvoyTunnel::RequestChunk { body, finish } = message else { panic!("a chunk expected") };
            assert!(body.len() <= 65_536);
            bytes += body.len() as u64;
            if finish {
                break;
            }
            envoy.respond(after(id, said), ToRivetTunnel::RequestBodyWindowUpdate { consumed_bytes: bytes }).await;
            said += 1;
        }
        envoy.respond(after(id, said), response(200, &[], &bytes.to_string())).await;
    };
    let (answer, ()) = tokio::join!(engine.send(call), serve);
    assert_eq!(answer.number("an upload"), 3 * MIB as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_envoy_is_asked_in_its_own_words() {
    let (engine, mut envoy, actor) = all(EnvoyVersion::new(6).expect("it is spoken")).await;
    let call = engine.send(Call::post(by_id(&actor, "/")).body(vec![7; 1000]));
    let serve = async {
        let (id, start) = envoy.tunnel().await;
        let ToEnvoyTunnel::RequestStart { actor_generation, response_stream, body, .. } = start else { panic!("{start:?}") };
        assert_eq!((actor_generation, response_stream, body.map(|body| body.len())), (None, false, Some(1000)));
        // It does not count, nor wait for credit.
        envoy.respond(id, begun()).await;
        for _ in 0..3 {
            envoy.respond(id, chunk(MIB, false)).await;
        }
        envoy.respond(id, chunk(0, true)).await;
    };
    let (answer, ()) = tokio::join!(call, serve);
    assert_eq!((answer.status, answer.body.len()), (200, 3 * MIB));
    // A body of unknown length comes whole.
    let call = Call { body: rivet_tests::call::Body::Chunked(3 * MIB), ..Call::post(by_id(&actor, "/")) };
    let serve = async {
        let (id, start) = envoy.tunnel().await;
        let ToEnvoyTunnel::RequestStart { body: Some(body), stream: false, .. } = start else { panic!("a whole body expected") };
        envoy.respond(id, response(200, &[], &body.len().to_string())).await;
    };
    let (answer, ()) = tokio::join!(engine.send(call), serve);
    assert_eq!(answer.number("an upload"), 3 * MIB as u64);
}
