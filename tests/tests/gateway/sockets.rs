//! WebSockets between clients and actors.

use protocol::wire::actor::Command;
use protocol::wire::tunnel::{MessageId, ToEnvoyTunnel, ToRivetTunnel};
use rivet_tests::address::{by_id, by_key, by_key_if_there};
use rivet_tests::socket::Socket;
use rivet_tests::{Call, Engine, Envoy};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;

use crate::Stage;

impl Stage {
    /// A client whose socket the actor has taken.
    async fn socket(&mut self, can_hibernate: bool) -> (Socket, MessageId) {
        let client = Socket::open(&self.engine, &by_id(&self.actor, "/ws?x=1"), "rivet").await;
        let id = self.asked().await;
        self.envoy.respond(id, ToRivetTunnel::WebSocketOpen { can_hibernate }).await;
        (client, id)
    }

    async fn asked(&mut self) -> MessageId {
        let (id, message) = self.envoy.tunnel().await;
        let ToEnvoyTunnel::WebSocketOpen { actor_id, actor_generation, path, headers } = message else { panic!("{message:?}") };
        assert_eq!((&*actor_id, actor_generation, &*path), (&*self.actor, Some(self.at.generation), "/ws?x=1"));
        for name in ["x-rivet-ray-id", "sec-websocket-key", "host"] {
            assert!(headers.iter().any(|(given, _)| given == name), "{name} in {headers:?}");
        }
        assert_eq!(id.index, 0);
        id
    }

    /// The next message to the actor, in one line.
    async fn heard(&mut self) -> String {
        let (id, message) = self.envoy.tunnel().await;
        match message {
            ToEnvoyTunnel::WebSocketMessage { data, binary } => {
                format!("{} {} {}", id.index, if binary { "binary" } else { "text" }, String::from_utf8_lossy(&data))
            }
            ToEnvoyTunnel::WebSocketClose { code, reason } => format!("{} close {code:?} {reason:?}", id.index),
            other => panic!("{other:?}"),
        }
    }

    async fn says(&mut self, id: MessageId, text: &str) {
        let data = text.to_string().into();
        self.envoy.respond(id, ToRivetTunnel::WebSocketMessage { data, binary: false }).await;
    }

    /// The actor is started for a socket that has stayed open.
    async fn woken_for(&mut self, id: MessageId) {
        let command = self.envoy.command().await;
        let Command::StartActor { start } = command.inner else { panic!("{command:?}") };
        assert_eq!(start.hibernating_requests, [id.stream]);
        // As RivetKit does it, before the actor runs; nobody minds.
        self.envoy.respond(id, ToRivetTunnel::WebSocketOpen { can_hibernate: true }).await;
        self.wake(command.checkpoint).await;
    }
}

async fn send(client: &mut Socket, text: &str) {
    client.send(Message::text(text)).await.expect("the socket is open");
}

async fn next(client: &mut Socket) -> Message {
    client.next().await.expect("the socket is open").expect("the engine keeps to the protocol")
}

/// Code and reason, without the ray id.
async fn closed(client: &mut Socket) -> String {
    match next(client).await {
        Message::Close(Some(CloseFrame { code, reason })) => {
            format!("{} {}", u16::from(code), reason.split_once('#').map_or(&*reason, |(reason, _)| reason))
        }
        other => panic!("a close expected, seen {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_closes_pass_as_they_are() {
    let mut stage = Stage::new().await;
    let (mut client, id) = stage.socket(false).await;
    assert_eq!(client.headers["sec-websocket-protocol"], "rivet");
    send(&mut client, "hello").await;
    client.send(Message::binary(vec![b'x'; 3])).await.expect("the socket is open");
    send(&mut client, "").await;
    assert_eq!(stage.heard().await, "1 text hello");
    assert_eq!(stage.heard().await, "2 binary xxx");
    assert_eq!(stage.heard().await, "3 text ");
    stage.says(id, "zażółć").await;
    assert_eq!(next(&mut client).await, Message::text("zażółć"));
    let close = ToRivetTunnel::WebSocketClose { code: Some(4001), reason: Some("as you wish".to_string()), hibernate: false };
    stage.envoy.respond(id, close).await;
    assert_eq!(closed(&mut client).await, "4001 as you wish");

    let (mut client, _) = stage.socket(true).await;
    let close = CloseFrame { code: 4002.into(), reason: "enough".into() };
    client.send(Message::Close(Some(close))).await.expect("the socket is open");
    assert_eq!(stage.heard().await, "1 close Some(4002) Some(\"enough\")");

    let (client, _) = stage.socket(false).await;
    drop(client);
    assert_eq!(stage.heard().await, "1 close Some(1011) Some(\"ws.downstream_closed\")");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_goes_both_ways() {
    let mut stage = Stage::new().await;
    let (mut client, id) = stage.socket(true).await;
    let large = vec![7; 17 * 1024 * 1024];
    client.send(Message::binary(large.clone())).await.expect("the socket is open");
    let (_, message) = stage.envoy.tunnel().await;
    let ToEnvoyTunnel::WebSocketMessage { data, binary: true } = message else { panic!("a message expected") };
    assert!(data == large);
    stage.envoy.respond(id, ToRivetTunnel::WebSocketMessage { data, binary: true }).await;
    assert!(next(&mut client).await.into_data() == large);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_does_not_take_it() {
    let mut stage = Stage::new().await;
    let rows = [(None, "1011 guard.websocket_closed_before_open"), (Some(4003), "4003 not you")];
    for (code, expected) in rows {
        let mut client = Socket::open(&stage.engine, &by_id(&stage.actor, "/ws?x=1"), "rivet").await;
        let id = stage.asked().await;
        let reason = code.map(|_| "not you".to_string());
        stage.envoy.respond(id, ToRivetTunnel::WebSocketClose { code, reason, hibernate: false }).await;
        assert_eq!(closed(&mut client).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_lives_through_its_actors_sleeps() {
    let mut stage = Stage::new().await;
    let (mut client, id) = stage.socket(true).await;
    for (index, text) in ["a", "b", "c"].into_iter().enumerate() {
        send(&mut client, text).await;
        assert_eq!(stage.heard().await, format!("{} text {text}", index + 1));
    }
    stage.envoy.respond(id, ToRivetTunnel::WebSocketMessageAck { index: 3 }).await;
    stage.sleep_soundly().await;

    client.send(Message::Ping(vec![9].into())).await.expect("the socket is open");
    assert_eq!(next(&mut client).await, Message::Pong(vec![9].into()));
    // Two messages while it sleeps wake it, once, and it gets them in order.
    send(&mut client, "d").await;
    send(&mut client, "e").await;
    stage.woken_for(id).await;
    assert_eq!(stage.heard().await, "4 text d");
    assert_eq!(stage.heard().await, "5 text e");
    stage.says(id, "still here").await;
    assert_eq!(next(&mut client).await, Message::text("still here"));

    // What was not acked before the next sleep wakes it at once, and comes again.
    stage.envoy.respond(id, ToRivetTunnel::WebSocketMessageAck { index: 4 }).await;
    stage.sleep().await;
    stage.woken_for(id).await;
    assert_eq!(stage.heard().await, "5 text e");
    stage.envoy.respond(id, ToRivetTunnel::WebSocketMessageAck { index: 5 }).await;
    stage.sleep_soundly().await;

    // Woken by somebody else, it goes on as well.
    let (engine, target) = (&stage.engine, by_id(&stage.actor, "/hello"));
    let call = engine.send(Call::get(target));
    let serve = async {
        let at = stage.envoy.start().await;
        stage.envoy.running(&at).await;
        let (id, message) = stage.envoy.tunnel().await;
        assert!(matches!(message, ToEnvoyTunnel::RequestStart { .. }), "{message:?}");
        let response = ToRivetTunnel::ResponseStart { status: 200, headers: Vec::new(), body: None, stream: false };
        stage.envoy.respond(id, response).await;
        at
    };
    let (answer, at) = tokio::join!(call, serve);
    answer.expect_ok("a request that wakes");
    (stage.at, stage.events) = (at, 1);
    send(&mut client, "f").await;
    assert_eq!(stage.heard().await, "6 text f");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_sleeping_actor_is_missed_there() {
    let mut stage = Stage::new().await;
    let (mut client, id) = stage.socket(true).await;
    stage.sleep_soundly().await;
    let close = CloseFrame { code: 4003.into(), reason: "gone".into() };
    client.send(Message::Close(Some(close))).await.expect("the socket is open");
    stage.woken_for(id).await;
    assert_eq!(stage.heard().await, "1 close Some(4003) Some(\"gone\")");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_actors_sockets_are_closed() {
    let mut stage = Stage::new().await;
    let (mut awake, _) = stage.socket(false).await;
    let (mut hibernating, _) = stage.socket(true).await;
    let target = format!("/actors/{}?namespace=default", stage.actor);
    let destroy = stage.engine.send(Call::delete(target));
    let obey = async {
        let at = stage.at.clone();
        let (mut stopped, mut closes) = (false, 0);
        while !stopped || closes < 1 {
            match stage.envoy.hear().await {
                protocol::wire::envoy::ToEnvoy::Commands { .. } => {
                    stage.envoy.stopped(&at, 1, None).await;
                    stopped = true;
                }
                protocol::wire::envoy::ToEnvoy::Tunnel { message: ToEnvoyTunnel::WebSocketClose { .. }, .. } => closes += 1,
                other => panic!("{other:?}"),
            }
        }
    };
    let (destroyed, ()) = tokio::join!(destroy, obey);
    destroyed.expect_ok("a destroy");
    assert_eq!(closed(&mut awake).await, "1000 actor.stopped");
    assert_eq!(closed(&mut hibernating).await, "1000 actor.destroyed_while_connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_when_the_engine_stops() {
    let mut stage = Stage::new().await;
    let (mut awake, _) = stage.socket(false).await;
    let (mut asleep, _) = stage.socket(true).await;
    stage.sleep().await;
    assert_eq!(closed(&mut awake).await, "1000 actor.stopped");
    stage.engine.tell_to_stop();
    assert_eq!(closed(&mut asleep).await, "1011 ws.going_away");
    drop(stage.envoy);
    assert_eq!(stage.engine.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_name_the_actor() {
    let mut stage = Stage::new().await;
    let actor = stage.actor.clone();
    let by_protocol = format!("rivet, rivet_target.actor, rivet_actor.{actor}, rivet_token.t");
    let rows = [
        (by_id(&actor, "/ws?x=1"), "rivet"),
        (by_id(&format!("{actor}@token"), "/ws?x=1"), ""),
        (by_key("web", "a", "/ws?x=1"), "rivet, rivet_skip_ready_wait"),
        (by_key_if_there("web", "a", "/ws?x=1"), "rivet"),
        ("/ws?x=1".to_string(), &by_protocol),
    ];
    for (target, protocols) in rows {
        let mut client = Socket::open(&stage.engine, &target, protocols).await;
        let id = stage.asked().await;
        stage.envoy.respond(id, ToRivetTunnel::WebSocketOpen { can_hibernate: false }).await;
        stage.says(id, "hi").await;
        assert_eq!(next(&mut client).await, Message::text("hi"), "{target}");
        drop(client);
        assert!(stage.heard().await.starts_with("1 close"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_the_reason_of_the_close() {
    let engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    let (actor, _) = engine.get_or_create("counter", "a", None).await;
    let unknown = rivet_tests::address::unknown(&actor);
    let rows = [
        (by_key_if_there("nobody", "x", "/ws"), "rivet", "1011 actor.not_found"),
        (by_id(&unknown, "/ws"), "rivet", "1011 actor.not_found"),
        (by_key("nothing-runs-this", "x", "/ws"), "rivet", "1011 actor.no_runner_config_configured"),
        (by_id("x", "/ws"), "rivet", "1011 api.bad_request"),
        (by_id(&actor, "/ws"), "", "1011 guard.missing_header"),
        ("/actors".to_string(), "rivet", "1011 guard.websocket_not_supported"),
        // A component has no handler for them.
        (by_id(&actor, "/ws"), "rivet", "1011 actor.not_handled"),
    ];
    for (target, protocols, expected) in rows {
        let mut client = Socket::open(&engine, &target, protocols).await;
        assert_eq!(closed(&mut client).await, expected, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_goes_on_with_another_runner() {
    let mut stage = Stage::new().await;
    let (mut client, id) = stage.socket(true).await;
    send(&mut client, "a").await;
    assert_eq!(stage.heard().await, "1 text a");
    stage.envoy.respond(id, ToRivetTunnel::WebSocketMessageAck { index: 1 }).await;
    let newer = Envoy::connect_as(&stage.engine, crate::POOL, "envoy-two", protocol::wire::EnvoyVersion::NEWEST, 2).await;
    stage.sleep_soundly().await;
    stage.envoy = newer;
    send(&mut client, "b").await;
    stage.woken_for(id).await;
    assert_eq!(stage.heard().await, "2 text b");
    stage.says(id, "hello from the newer one").await;
    assert_eq!(next(&mut client).await, Message::text("hello from the newer one"));
    client.close().await;
    assert_eq!(stage.heard().await, "3 close None None");
}
