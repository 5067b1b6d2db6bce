//! Plain requests to actors on runners that connect.

use bytes::Bytes;
use protocol::wire::EnvoyVersion;
use protocol::wire::tunnel::{AbortReason, MessageId, ToEnvoyTunnel, ToRivetTunnel};
use rivet_tests::address::by_id;
use rivet_tests::{Call, Engine, Envoy};

use crate::{POOL, Stage, after};

fn begun(headers: &[(&str, &str)], stream: bool, body: &str) -> ToRivetTunnel {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    ToRivetTunnel::ResponseStart { status: 200, headers, body: Some(body.to_string().into()), stream }
}

fn chunk(body: &str, finish: bool) -> ToRivetTunnel {
    ToRivetTunnel::ResponseChunk { body: body.to_string().into(), finish }
}

impl Stage {
    async fn requested(&mut self) -> (MessageId, Option<Bytes>, bool) {
        let (id, message) = self.envoy.tunnel().await;
        let ToEnvoyTunnel::RequestStart { body, stream, .. } = message else { panic!("{message:?}") };
        (id, body, stream)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_runner_gets_the_whole_body_with_the_head() {
    let older = EnvoyVersion::NEWEST.number() - 1;
    let older = EnvoyVersion::new(older).expect("there is an older one");
    let mut stage = Stage::with(async |engine: &Engine| Envoy::connect_as(engine, POOL, "envoy-old", older, 1).await).await;
    for bytes in [10, 300_000, 15 * 1024 * 1024] {
        let target = by_id(&stage.actor, "/upload");
        let (envoy, engine) = (&mut stage.envoy, &stage.engine);
        let serve = async {
            let (id, message) = envoy.tunnel().await;
            let ToEnvoyTunnel::RequestStart { body, stream, .. } = message else { panic!("{message:?}") };
            let length = body.map_or(0, |body| body.len());
            envoy.respond(id, begun(&[], false, &format!("{length} {stream}"))).await;
        };
        let (answer, ()) = tokio::join!(engine.send(Call::post(target).chunked(bytes)), serve);
        assert_eq!(answer.expect_ok("an upload").text(), format!("{bytes} false"));
    }
    // One that is too long is refused, and the runner hears nothing of it: the next thing it hears is the next request.
    let target = by_id(&stage.actor, "/upload");
    let answer = stage.engine.send(Call::post(&target).chunked(20 * 1024 * 1024 + 1)).await;
    assert_eq!((answer.status, &*answer.code()), (413, "guard.invalid_request_body"));
    let (envoy, engine) = (&mut stage.envoy, &stage.engine);
    let serve = async {
        let (id, _) = envoy.tunnel().await;
        envoy.respond(id, begun(&[], false, "")).await;
    };
    let (answer, ()) = tokio::join!(engine.get(target), serve);
    answer.expect_ok("the next request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_keeps_the_length_that_its_actor_gives() {
    let mut stage = Stage::new().await;
    let rows = [(("content-length", "6"), "6", ""), (("content-type", "text/plain"), "", "chunked")];
    for (header, length, encoding) in rows {
        let request = stage.engine.http(http::Method::GET, &by_id(&stage.actor, "/stream")).send();
        let (envoy, begin) = (&mut stage.envoy, begun(&[header], true, "one"));
        let serve = async {
            let (id, _) = envoy.tunnel().await;
            envoy.respond(id, begin).await;
            id
        };
        let (response, id) = tokio::join!(request, serve);
        let response = response.expect("an answer");
        let get = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string();
        assert_eq!((&*get("content-length"), &*get("transfer-encoding")), (length, encoding));
        // The head and the first part were read before the rest was said.
        stage.envoy.respond(after(id, 1), chunk("two", true)).await;
        assert_eq!(response.text().await.expect("a whole body"), "onetwo");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_ends_too_early() {
    let mut stage = Stage::new().await;
    let target = by_id(&stage.actor, "/abort");
    let abort = || ToRivetTunnel::ResponseAbort { reason: AbortReason::default() };

    let (request, envoy) = (stage.engine.get(&target), &mut stage.envoy);
    let serve = async {
        let (id, _) = envoy.tunnel().await;
        envoy.respond(id, abort()).await;
    };
    let (answer, ()) = tokio::join!(request, serve);
    assert_eq!((answer.status, answer.header("x-rivet-error")), (503, "guard.tunnel_request_aborted"), "{answer}");

    let (request, envoy) = (stage.engine.http(http::Method::GET, &target).send(), &mut stage.envoy);
    let serve = async {
        let (id, _) = envoy.tunnel().await;
        envoy.respond(id, begun(&[], true, "one")).await;
        id
    };
    let (response, id) = tokio::join!(request, serve);
    stage.envoy.respond(after(id, 1), abort()).await;
    response.expect("a head").text().await.expect_err("the body is cut off");

    // An actor's own 503 is its own affair.
    let (request, envoy) = (stage.engine.get(&target), &mut stage.envoy);
    let serve = async {
        let (id, _) = envoy.tunnel().await;
        let headers = vec![("x-rivet-error".to_string(), "guard.service_unavailable".to_string())];
        envoy.respond(id, ToRivetTunnel::ResponseStart { status: 503, headers, body: None, stream: false }).await;
    };
    let (answer, ()) = tokio::join!(request, serve);
    assert_eq!((answer.status, answer.header("x-rivet-error")), (503, "guard.service_unavailable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_wants_any_more() {
    let mut stage = Stage::new().await;
    let target = by_id(&stage.actor, "/upload");
    // A body whose second half comes when the test says so.
    let upload = |engine: &Engine| {
        let (more, body) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
        let body = futures_util::stream::unfold(body, async |mut body| body.recv().await.map(|chunk| (chunk, body)));
        let request = engine.http(http::Method::POST, &target).body(reqwest::Body::wrap_stream(body)).send();
        (more, tokio::spawn(request))
    };

    // The response is whole before the body is.
    let (more, request) = upload(&stage.engine);
    more.send(Ok(Bytes::from_static(b"first"))).await.expect("it is read");
    let (id, body, stream) = stage.requested().await;
    assert!(stream && body.is_none_or(|body| body.is_empty()));
    let (_, first) = stage.envoy.tunnel().await;
    assert!(matches!(&first, ToEnvoyTunnel::RequestChunk { body, finish: false } if body == "first"), "{first:?}");
    stage.envoy.respond(id, begun(&[], false, "enough")).await;
    let (_, message) = stage.envoy.tunnel().await;
    assert!(matches!(message, ToEnvoyTunnel::RequestBodyCancel), "{message:?}");
    drop(more);
    let answer = request.await.expect("it does not panic").expect("an answer");
    assert_eq!(answer.text().await.expect("a body"), "enough");

    // The actor reads no more of it, and answers.
    let (more, request) = upload(&stage.engine);
    more.send(Ok(Bytes::from_static(b"first"))).await.expect("it is read");
    let (id, ..) = stage.requested().await;
    stage.envoy.tunnel().await;
    stage.envoy.respond(id, ToRivetTunnel::RequestBodyCancel).await;
    for _ in 0..8 {
        more.send(Ok(Bytes::from(vec![0; 64 * 1024]))).await.expect("the rest is read and thrown away");
    }
    drop(more);
    stage.envoy.respond(after(id, 1), begun(&[], false, "thanks")).await;
    let answer = request.await.expect("it does not panic").expect("an answer");
    assert_eq!(answer.text().await.expect("a body"), "thanks");
}
