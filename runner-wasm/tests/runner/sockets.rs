//! Clients' sockets: what a guest is told, what a client hears, and that each message counts once, whatever happens to the actor.
//!
//! A script has a step per line; the transcript says behind each what sockets were told meanwhile. `wake` and `crashed` stand for the
//! engine, which starts the next generation with the sockets that are still open and sends again what was not acked.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use expect_test::{Expect, expect};
use http::{HeaderMap, HeaderValue, Method};
use protocol::component::{ActorLimits, Settings};
use protocol::id::RequestId;
use protocol::message::*;
use protocol::trace::Carried;

use crate::engine::{Answer, At, World};

/// One client's side.
struct Socket {
    request: RequestId,
    /// Sent and not acked.
    unacked: BTreeMap<u16, Bytes>,
    last: u16,
    is_open: bool,
}

struct Script<'a> {
    world: &'a World,
    at: At<'a>,
    sockets: BTreeMap<String, Socket>,
    /// How much of what was said has been written into the transcript.
    told: usize,
    transcript: String,
}

fn check(script: &str, expected: Expect) {
    let world = World::new();
    check_in(&world, Settings::default(), script, expected);
}

fn check_in(world: &World, settings: Settings, script: &str, expected: Expect) {
    let settings = std::sync::Arc::new(settings);
    let at = world.start("sockets", 1, |start| start.component.as_mut().expect("it has one").settings = settings);
    at.until(Event::Running);
    let mut script_run = Script { world, at, sockets: BTreeMap::new(), told: 0, transcript: String::new() };
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        writeln!(script_run.transcript, "{line}").expect("a string takes it");
        script_run.step(line);
        script_run.tell();
    }
    expected.assert_eq(&script_run.transcript);
}

impl Script<'_> {
    fn step(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (who, what) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            // who path
            "open" => self.open(who, what, "rivet"),
            // who parameters
            "connect" if what.is_empty() => self.open(who, "/connect", "rivet, rivet_encoding.json"),
            "connect" => self.open(who, "/connect", &format!("rivet, rivet_encoding.json, rivet_conn_params.{what}")),
            "say" => self.say(who, what.as_bytes()),
            // who number action arguments
            "call" => {
                let mut words = what.splitn(3, ' ');
                let mut word = || words.next().expect("number, action, arguments");
                let call = format!(
                    r#"{{"body":{{"tag":"ActionRequest","val":{{"id":["$BigInt","{}"],"name":"{}","args":{}}}}}}}"#,
                    word(),
                    word(),
                    word()
                );
                self.say(who, call.as_bytes());
            }
            "subscribe" | "unsubscribe" => {
                let subscribe = verb == "subscribe";
                let message =
                    format!(r#"{{"body":{{"tag":"SubscriptionRequest","val":{{"eventName":"{what}","subscribe":{subscribe}}}}}}}"#);
                self.say(who, message.as_bytes());
            }
            // A message with this index that was acked arrives once more.
            "again" => {
                let (index, what) = what.split_once(' ').expect("an index and a message");
                let index = index.parse().expect("an index");
                let request = self.sockets[who].request;
                self.send(request, index, Bytes::copy_from_slice(what.as_bytes()));
                self.until_heard(who, index);
            }
            "leave" => {
                let (code, reason) = what.split_once(' ').unwrap_or((what, ""));
                let socket = self.sockets.get_mut(who).expect("it was opened");
                socket.is_open = false;
                let (request, index) = (socket.request, socket.last + 1);
                let (code, reason) = (code.parse().ok(), (!reason.is_empty()).then(|| reason.to_string()));
                self.world.engine.say(ToRunner::SocketClose { request, index, code, reason });
            }
            "vanish" => self.sockets.get_mut(who).expect("it was opened").is_open = false,
            "http" => {
                let (target, body) = rest.split_once(" <- ").unwrap_or((rest, ""));
                let answer = self.world.engine.answer(self.at.send_body(target, body.as_bytes(), false));
                let answer = match answer {
                    Answer::Response(status, body) => format!("{status} {body}"),
                    Answer::Abort(failure) => format!("{:?} {}", failure.kind, failure.message.split(';').next().unwrap_or("")),
                    other => format!("{other:?}"),
                };
                for line in answer.lines() {
                    writeln!(self.transcript, "    {line}").expect("a string takes it");
                }
            }
            "wake" => {
                self.at.stop(StopReason::Sleep);
                assert_eq!(self.at.stopped(), Outcome::Ok);
                self.start(StartReason::Woken);
            }
            "crashed" => {
                let outcome = self.at.stopped();
                assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
                self.start(StartReason::Restarted);
            }
            other => panic!("no step is called {other}"),
        }
    }

    fn open(&mut self, who: &str, path: &str, protocols: &str) {
        let request = self.world.engine.next_request();
        let mut headers = HeaderMap::new();
        headers.insert("sec-websocket-protocol", HeaderValue::from_str(protocols).expect("a header"));
        self.sockets.insert(who.to_string(), Socket { request, unacked: BTreeMap::new(), last: 0, is_open: true });
        let (actor, generation, path) = (self.at.actor, self.at.generation, path.to_string());
        self.world.engine.say(ToRunner::SocketOpen(SocketOpen { request, actor, generation, path, headers }));
        self.world.engine.wait("the socket's opening", |seen| {
            let answers = |said: &&FromRunner| {
                matches!(said, FromRunner::SocketOpened { request: of, .. } | FromRunner::SocketClose { request: of, .. } if *of == request)
            };
            seen.said.iter().find(answers).map(drop)
        });
    }

    fn say(&mut self, who: &str, data: &[u8]) {
        let socket = self.sockets.get_mut(who).expect("it was opened");
        socket.last = socket.last.wrapping_add(1);
        let (request, index, data) = (socket.request, socket.last, Bytes::copy_from_slice(data));
        socket.unacked.insert(index, data.clone());
        self.send(request, index, data);
        self.until_heard(who, index);
    }

    fn send(&self, request: RequestId, index: u16, data: Bytes) {
        self.world.engine.say(ToRunner::SocketMessage { request, index, data, binary: false, trace: Carried::default() });
    }

    /// The message was acked, or the socket is over.
    fn until_heard(&mut self, who: &str, index: u16) {
        let (request, from) = (self.sockets[who].request, self.told);
        self.world.engine.wait("an ack", |seen| {
            let ends = |said: &FromRunner| match said {
                FromRunner::SocketAck { request: of, index: acked } => *of == request && *acked == index,
                _ => false,
            };
            seen.said[from..].iter().any(ends).then_some(())
        });
        self.sockets.get_mut(who).expect("it was opened").unacked.remove(&index);
    }

    fn start(&mut self, reason: StartReason) {
        self.tell();
        let hibernating: Vec<_> = self.sockets.values().filter(|socket| socket.is_open).map(|socket| socket.request).collect();
        self.at = self.world.start("sockets", self.at.generation + 1, |start| {
            start.reason = reason;
            start.hibernating = hibernating;
        });
        self.at.until(Event::Running);
    }

    fn tell(&mut self) {
        let seen = self.world.engine.seen();
        for said in &seen.said[self.told..] {
            let (request, text) = match said {
                FromRunner::SocketOpened { request, can_hibernate } => (request, format!("opened, can hibernate: {can_hibernate}")),
                FromRunner::SocketMessage { request, data, .. } => (request, shown(data)),
                FromRunner::SocketAck { request, index } => (request, format!("ack {index}")),
                FromRunner::SocketClose { request, code, reason, .. } => {
                    (request, format!("close {} {}", code.unwrap_or(0), reason.clone().unwrap_or_default()))
                }
                other => panic!("{other:?}"),
            };
            let (who, socket) = self.sockets.iter_mut().find(|(_, socket)| socket.request == *request).expect("it was opened");
            socket.is_open &= !matches!(said, FromRunner::SocketClose { .. });
            writeln!(self.transcript, "    {who} <- {text}").expect("a string takes it");
        }
        self.told = seen.said.len();
    }
}

fn shown(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        // Without the guest's functions, which are a compiler's business.
        Ok(text) if data.len() < 800 => text.split("; in ").next().unwrap_or_default().to_string(),
        _ => format!("{} bytes", data.len()),
    }
}

#[test]
fn a_websocket_is_opened_written_to_and_closed() {
    check(
        "open a /websocket/room?x=1
         say a hi
         open b /closed
         open c /other
         say c close
         leave a 1000 bye
         http GET /request/diary",
        expect![[r#"
            open a /websocket/room?x=1
                a <- opened, can hibernate: true
                a <- hello x=1
            say a hi
                a <- hi
                a <- ack 1
            open b /closed
                b <- close 1011 user.closed
            open c /other
                c <- opened, can hibernate: true
                c <- hello 
            say c close
                c <- close 4001 bye
                c <- ack 1
            leave a 1000 bye
            http GET /request/diary
                200 open /room
                receive hi
                open /closed
                open /other
                close /other Some(4001) Some("bye")
                close /room Some(1000) Some("bye")
        "#]],
    );
}

#[test]
fn a_connection_calls_actions_and_hears_events() {
    check(
        r#"connect a {"user":"ada"}
           connect b
           connect c %7B%22user%22%3A%22banned%22%7D
           connect d {
           call a 0 echo [1,["$BigInt","5"]]
           subscribe a news
           call b 1 broadcast ["to-a"]
           subscribe b news
           call b 2 broadcast ["both"]
           unsubscribe a news
           call b 3 broadcast ["to-b"]
           call a 4 fail []
           call a 5 nothing []
           call a 6 no-json []
           call a 7 large []
           call a 8 kick []
           say b nonsense
           http POST /action/all <- {"args":[]}
           http GET /diary"#,
        expect![[r#"
            connect a {"user":"ada"}
                a <- opened, can hibernate: true
                a <- {"body":{"tag":"Init","val":{"actorId":"xo8812su5nksy47c5rn220raahal00","connectionId":"1-1"}}}
            connect b
                b <- opened, can hibernate: true
                b <- {"body":{"tag":"Init","val":{"actorId":"xo8812su5nksy47c5rn220raahal00","connectionId":"1-2"}}}
            connect c %7B%22user%22%3A%22banned%22%7D
                c <- close 1011 user.banned
            connect d {
                d <- close 1011 actor.invalid_request
            call a 0 echo [1,["$BigInt","5"]]
                a <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","0"],"output":[1,["$BigInt","5"]]}}}
                a <- ack 1
            subscribe a news
                a <- ack 2
            call b 1 broadcast ["to-a"]
                a <- {"body":{"tag":"Event","val":{"name":"news","args":["to-a"]}}}
                b <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","1"],"output":1}}}
                b <- ack 1
            subscribe b news
                b <- ack 2
            call b 2 broadcast ["both"]
                a <- {"body":{"tag":"Event","val":{"name":"news","args":["both"]}}}
                b <- {"body":{"tag":"Event","val":{"name":"news","args":["both"]}}}
                b <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","2"],"output":2}}}
                b <- ack 3
            unsubscribe a news
                a <- ack 3
            call b 3 broadcast ["to-b"]
                b <- {"body":{"tag":"Event","val":{"name":"news","args":["to-b"]}}}
                b <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","3"],"output":1}}}
                b <- ack 4
            call a 4 fail []
                a <- {"body":{"tag":"Error","val":{"group":"user","code":"not_today","message":"not today","metadata":{"retry":7},"actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"},"actionId":["$BigInt","4"]}}}
                a <- ack 4
            call a 5 nothing []
                a <- {"body":{"tag":"Error","val":{"group":"actor","code":"action_not_found","message":"Action `nothing` was not found.","actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"},"actionId":["$BigInt","5"]}}}
                a <- ack 5
            call a 6 no-json []
                a <- {"body":{"tag":"Error","val":{"group":"actor","code":"invalid_response","message":"the action's result cannot be sent: not the JSON that is expected: EOF while parsing an object at line 1 column 1","actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"},"actionId":["$BigInt","6"]}}}
                a <- ack 6
            call a 7 large []
                a <- {"body":{"tag":"Error","val":{"group":"message","code":"outgoing_too_long","message":"the answer has 2097154 bytes, at most 1048576 are sent","actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"},"actionId":["$BigInt","7"]}}}
                a <- ack 7
            call a 8 kick []
                a <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","8"],"output":null}}}
                a <- close 4000 kicked
                a <- ack 8
            say b nonsense
                b <- close 1011 actor.invalid_request
                b <- ack 5
            http POST /action/all <- {"args":[]}
                200 {"output":0}
            http GET /diary
                200 connect {"user":"ada"}
                connect 
                connect {"user":"banned"}
                fail
                disconnect new
                disconnect new
        "#]],
    );
}

#[test]
fn sockets_and_what_is_kept_with_them_outlive_sleep() {
    check(
        r#"connect a {"user":"ada"}
           open b /websocket/room
           open c /websocket/left
           subscribe a news
           call a 0 remember ["x"]
           vanish c
           wake
           call a 1 whoami []
           http POST /action/broadcast <- {"args":[1]}
           say b again
           leave b
           wake
           call a 2 whoami []
           http GET /diary"#,
        expect![[r#"
            connect a {"user":"ada"}
                a <- opened, can hibernate: true
                a <- {"body":{"tag":"Init","val":{"actorId":"xo8812su5nksy47c5rn220raahal00","connectionId":"1-1"}}}
            open b /websocket/room
                b <- opened, can hibernate: true
                b <- hello 
            open c /websocket/left
                c <- opened, can hibernate: true
                c <- hello 
            subscribe a news
                a <- ack 1
            call a 0 remember ["x"]
                a <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","0"],"output":null}}}
                a <- ack 2
            vanish c
            wake
            call a 1 whoami []
                a <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","1"],"output":["1-1",{"user":"ada"},"[\"x\"]"]}}}
                a <- ack 3
            http POST /action/broadcast <- {"args":[1]}
                200 {"output":1}
                a <- {"body":{"tag":"Event","val":{"name":"news","args":[1]}}}
            say b again
                b <- again
                b <- ack 1
            leave b
            wake
            call a 2 whoami []
                a <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","2"],"output":["1-1",{"user":"ada"},"[\"x\"]"]}}}
                a <- ack 4
            http GET /diary
                200 connect {"user":"ada"}
                open /room
                open /left
                close /left None None
                receive again
                close /room None None
        "#]],
    );
}

#[test]
fn a_message_that_traps_counts_once_and_says_nothing() {
    check(
        r#"connect a
           connect b
           open w /websocket/room
           subscribe b news
           call a 0 count []
           call a 1 say-and-trap []
           crashed
           again a 2 {"body":{"tag":"ActionRequest","val":{"id":1,"name":"say-and-trap","args":[]}}}
           call a 2 count []
           say w trap
           crashed
           call b 3 diary []
           http POST /action/say-and-trap <- {"args":[]}
           crashed
           call b 4 diary []"#,
        expect![[r#"
            connect a
                a <- opened, can hibernate: true
                a <- {"body":{"tag":"Init","val":{"actorId":"xo8812su5nksy47c5rn220raahal00","connectionId":"1-1"}}}
            connect b
                b <- opened, can hibernate: true
                b <- {"body":{"tag":"Init","val":{"actorId":"xo8812su5nksy47c5rn220raahal00","connectionId":"1-2"}}}
            open w /websocket/room
                w <- opened, can hibernate: true
                w <- hello 
            subscribe b news
                b <- ack 1
            call a 0 count []
                a <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","0"],"output":4}}}
                a <- ack 1
            call a 1 say-and-trap []
                a <- {"body":{"tag":"Error","val":{"group":"actor","code":"trapped","message":"the actor's action handler failed: it panicked or aborted
                a <- ack 2
            crashed
            again a 2 {"body":{"tag":"ActionRequest","val":{"id":1,"name":"say-and-trap","args":[]}}}
                a <- ack 2
            call a 2 count []
                a <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","2"],"output":5}}}
                a <- ack 3
            say w trap
                w <- close 1011 actor.trapped
                w <- ack 1
            crashed
            call b 3 diary []
                b <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","3"],"output":["connect ","connect ","open /room","count []","count []","close /room None None"]}}}
                b <- ack 2
            http POST /action/say-and-trap <- {"args":[]}
                Trapped the actor's action handler failed: it panicked or aborted
            crashed
            call b 4 diary []
                b <- {"body":{"tag":"ActionResponse","val":{"id":["$BigInt","4"],"output":["connect ","connect ","open /room","count []","count []","close /room None None"]}}}
                b <- ack 3
        "#]],
    );
}

#[test]
fn a_message_that_was_handled_is_not_handled_again() {
    check(
        r#"open a /websocket/room
           say a one
           say a two
           wake
           again a 1 one
           again a 2 two
           say a three
           http GET /diary"#,
        expect![[r#"
            open a /websocket/room
                a <- opened, can hibernate: true
                a <- hello 
            say a one
                a <- one
                a <- ack 1
            say a two
                a <- two
                a <- ack 2
            wake
            again a 1 one
                a <- ack 1
            again a 2 two
                a <- ack 2
            say a three
                a <- three
                a <- ack 3
            http GET /diary
                200 open /room
                receive one
                receive two
                receive three
        "#]],
    );
}

#[test]
fn what_is_too_much_is_refused_in_words() {
    let world = World::new();
    let limits = ActorLimits { message_bytes: Some(300), sockets: Some(2), ..ActorLimits::default() };
    let long = "x".repeat(301);
    check_in(
        &world,
        Settings { limits, ..Settings::default() },
        &format!(
            "open a /websocket/room
             open b /websocket/room
             open c /websocket/room
             say a close with a wrong code
             say a flood
             say b {long}
             http POST /action/echo <- {{\"args\":[\"{long}\"]}}
             http GET /diary"
        ),
        expect![[r#"
            open a /websocket/room
                a <- opened, can hibernate: true
                a <- hello 
            open b /websocket/room
                b <- opened, can hibernate: true
                b <- hello 
            open c /websocket/room
                c <- close 1011 actor.too_many_sockets
            say a close with a wrong code
                a <- Error::InvalidArgument("1005 is no code that a socket can be closed with: use 1000, or 3000 to 4999")
                a <- ack 1
            say a flood
                a <- 1048576 bytes
                a <- 1048576 bytes
                a <- 1048576 bytes
                a <- 1048576 bytes
                a <- 1048576 bytes
                a <- 1048576 bytes
                a <- 1048576 bytes
                a <- ack 2
            say b xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
                b <- close 1011 message.incoming_too_long
                b <- ack 1
            http POST /action/echo <- {"args":["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]}
                400 {"group":"message","code":"incoming_too_long","message":"the message has 314 bytes, this actor takes at most 300","actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"}}
            http GET /diary
                200 open /room
                open /room
                sent 7
                close /room Some(1011) Some("message.incoming_too_long")
        "#]],
    );
}

#[test]
fn actions_over_http() {
    check(
        r#"http POST /action/echo <- {"args":[1,["$Undefined",0]]}
           http POST /action/echo <- {"args":"one"}
           http POST /action/origin <- {}
           http POST /action/fail <- {"args":[]}
           http POST /action/nothing%20here <- {"args":[]}
           http POST /action/echo <- nonsense
           http POST /action/no-json <- {"args":[]}
           http POST /action/large <- {"args":[]}
           http GET /action/echo
           http GET /health
           http POST /request/a/b?c=d <- x
           http GET /request
           http GET /other?x
           http GET /diary"#,
        expect![[r#"
            http POST /action/echo <- {"args":[1,["$Undefined",0]]}
                200 {"output":[1,["$Undefined",0]]}
            http POST /action/echo <- {"args":"one"}
                200 {"output":["one"]}
            http POST /action/origin <- {}
                200 {"output":"http"}
            http POST /action/fail <- {"args":[]}
                500 {"group":"user","code":"not_today","message":"not today","metadata":{"retry":7},"actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"}}
            http POST /action/nothing%20here <- {"args":[]}
                404 {"group":"actor","code":"action_not_found","message":"Action `nothing here` was not found.","actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"}}
            http POST /action/echo <- nonsense
                400 {"group":"actor","code":"invalid_request","message":"not the JSON that is expected: expected ident at line 1 column 2","actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"}}
            http POST /action/no-json <- {"args":[]}
                500 {"group":"actor","code":"invalid_response","message":"the action's result cannot be sent: not the JSON that is expected: EOF while parsing an object at line 1 column 1","actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"}}
            http POST /action/large <- {"args":[]}
                400 {"group":"message","code":"outgoing_too_long","message":"the answer has 2097154 bytes, at most 1048576 are sent","actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"}}
            http GET /action/echo
                405 {"group":"actor","code":"method_not_allowed","message":"GET is not allowed for /action/echo","actor":{"actorId":"xo8812su5nksy47c5rn220raahal00","generation":1,"key":"a/b"}}
            http GET /health
                200 ok
            http POST /request/a/b?c=d <- x
                200 POST /a/b c=d
            http GET /request
                200 GET / 
            http GET /other?x
                200 GET /other x
            http GET /diary
                200 fail
        "#]],
    );
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let world = World::new();
    let at = world.actor("sockets");
    let request = world.engine.next_request();
    let open = SocketOpen {
        request,
        actor: at.actor,
        generation: at.generation,
        path: "/websocket/room".to_string(),
        headers: HeaderMap::new(),
    };
    world.engine.hold();
    world.engine.say(ToRunner::SocketOpen(open));
    world.engine.say(ToRunner::SocketMessage {
        request,
        index: 1,
        data: Bytes::from_static(b"hi"),
        binary: false,
        trace: Carried::default(),
    });
    // It writes nothing, and waits for what was written before it.
    world.engine.say(ToRunner::SocketMessage {
        request,
        index: 2,
        data: Bytes::from_static(b"read"),
        binary: false,
        trace: Carried::default(),
    });
    world.engine.wait("two commits", |seen| (seen.commits.len() == 2).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(world.engine.seen().said.is_empty());
    world.engine.release();
    world
        .engine
        .wait("an ack", |seen| seen.said.iter().any(|said| matches!(said, FromRunner::SocketAck { index: 2, .. })).then_some(()));
    let indices: Vec<_> = world.engine.seen().own.keys().map(|key| key[key.len() - 1]).collect();
    assert_eq!(indices, [0, 1, 2], "what it is, its state, and the last message that wrote something");
}

#[test]
fn what_was_never_begun_goes_back_when_the_actor_stops() {
    let world = World::new();
    let at = world.actor("sockets");
    let late = at.send_body("POST /action/echo", b"{}", false);
    assert_eq!(world.engine.answer(late), Answer::Response(200, "{\"output\":[]}".to_string()));
    at.stop(StopReason::Sleep);
    at.stopped();
    let request = world.engine.next_request();
    let (actor, generation, path) = (at.actor, at.generation, "/websocket/x".to_string());
    world.engine.say(ToRunner::SocketOpen(SocketOpen { request, actor, generation, path, headers: HeaderMap::new() }));
    assert_eq!(world.engine.answer(request), Answer::Returned);
}

#[test]
fn a_component_of_before_keeps_every_path_and_takes_no_sockets() {
    let world = World::new();
    let counter = world.actor("counter");
    for path in ["/action/x", "/health", "/request/"] {
        let answer = counter.ask(&format!("{} {path}", Method::GET));
        assert_eq!(answer, Answer::Response(404, "there is only / and /increment\n".to_string()), "{path}");
    }
    let request = world.engine.next_request();
    let (actor, generation) = (counter.actor, counter.generation);
    let open = SocketOpen { request, actor, generation, path: "/connect".to_string(), headers: HeaderMap::new() };
    world.engine.say(ToRunner::SocketOpen(open));
    let reason = world.engine.wait("a close", |seen| match seen.said.first() {
        Some(FromRunner::SocketClose { code: Some(1011), reason, .. }) => reason.clone(),
        _ => None,
    });
    assert_eq!(reason, "actor.not_handled");
}
