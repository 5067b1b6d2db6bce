//! Anything in any order: a client's messages are neither lost nor sent twice to one generation, and a socket is closed once.

use bytes::Bytes;
use fastrand::Rng;
use protocol::id::Id;
use protocol::limits::{SOCKET_UNACKED_BYTES_MAX, SOCKET_UNACKED_MESSAGES_MAX};
use protocol::message::Failure;

use super::*;
use crate::hostile::Inputs;

/// A message and what is counted for it.
const HELD_BYTES_MAX: usize = SOCKET_UNACKED_BYTES_MAX + EARLY_BYTES_MAX + 64 * SOCKET_UNACKED_MESSAGES_MAX + 2 * MIB;

/// What must be so, kept by simpler means.
#[derive(Default)]
struct Model {
    /// Messages that were taken from the client.
    taken: u64,
    /// Those that the actor has confirmed, or that can be asked for no more.
    acked: u64,
    /// The next that is sent to the generation that there is.
    next: u64,
    /// Acks that came before the core has said who runs the actor.
    early: Vec<(RunnerId, u16)>,
    client_closed: bool,
    actor_closed: bool,
    core_told: bool,
}

impl Model {
    fn acked(&mut self, index: u16) {
        let found = (self.acked..self.next).find(|at| indexed(*at) == index);
        self.acked = found.map_or(self.acked, |at| at + 1);
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::OpenActor | Act::ForgetHead => {}
            Act::ToActor(Indexed { index, data, .. }) => {
                let number = u64::from_le_bytes(data[..8].try_into().expect("it begins with its number"));
                assert_eq!((number, *index), (self.next, indexed(number)), "every message once, in order");
                assert!(!self.actor_closed, "nothing follows a close");
                self.next += 1;
            }
            Act::CloseActor { index, .. } => {
                assert!(!self.actor_closed, "an actor is told once");
                assert_eq!(*index, indexed(self.next));
                self.actor_closed = true;
            }
            Act::ToClient(_) => assert!(!self.client_closed, "nothing follows a close"),
            Act::CloseClient(close) => {
                assert!(!self.client_closed, "a client is told once");
                assert!(close.reason.len() <= 123 && sendable(Some(close.code)) == close.code, "{close:?}");
                self.client_closed = true;
            }
            Act::TellCore(Word::Ended | Word::Aborted) => {
                assert!(!self.core_told, "the core is told once");
                self.core_told = true;
            }
            Act::TellCore(Word::Wakes) => assert!(!self.core_told),
        }
    }
}

/// Indices begin with one, and wrap.
fn indexed(number: u64) -> u16 {
    (number + 1) as u16
}

fn said(random: &mut Rng, next: u64) -> Said {
    match random.u8(..12) {
        0..4 => Said::Opened { can_hibernate: random.u8(..4) > 0 },
        4 => Said::Message(Message::text("x")),
        5 => Said::Message(Message::Binary(Bytes::from_static(&[0; 1 << 20]))),
        6 if random.u8(..20) == 0 => Said::NoText,
        7 => Said::Ack(random.u16(..)),
        8 if random.u8(..6) == 0 => {
            let code = random.bool().then(|| random.choice([0, 1000, 1005, 1006, 1015, 4000, u16::MAX]).expect("one of them"));
            let reason = if random.bool() { "ä".repeat(random.usize(..200)) } else { NEVER_BEGUN[random.usize(..2)].to_string() };
            Said::Close { code, reason: random.bool().then_some(reason), hibernate: random.bool() }
        }
        9 => Said::Close { code: None, reason: None, hibernate: true },
        _ => Said::Ack((next as u16).wrapping_sub(random.u16(..4))),
    }
}

fn event(random: &mut Rng, model: &Model) -> Event {
    let actor = Id::new([1; 16], 1);
    let runner = |random: &mut Rng| RunnerId(random.u64(1..3));
    match random.u8(..32) {
        0..5 => Event::Dispatched(runner(random)),
        5..7 => Event::Hibernates,
        7 => Event::HoldsBack,
        8 if random.u8(..10) == 0 => Event::Refused(match random.u8(..3) {
            0 => Refusal::ActorNotFound,
            1 => Refusal::RunnerLost { actor },
            _ => Refusal::Failed { actor, failure: Failure { kind: FailureKind::Stopped, message: String::new() } },
        }),
        9 if random.u8(..10) == 0 => Event::ClientCloses { code: Some(random.u16(..)), reason: Some("bye".to_string()) },
        10 if random.u8(..10) == 0 => Event::ClientLost,
        11 if random.u8(..10) == 0 => Event::Fails("ws", "going_away"),
        12..15 => Event::Tick,
        15..22 => {
            let mut data = model.taken.to_le_bytes().to_vec();
            data.resize(8 + random.usize(..40), 0);
            Event::FromClient { data: data.into(), binary: random.bool() }
        }
        _ => Event::Runner(runner(random), said(random, model.next)),
    }
}

/// How many events it lived through.
fn live(random: &mut Rng, events: usize) -> usize {
    let (mut machine, mut model, mut now_ms) = (Machine::new(HeaderValue::from_static("ray")), Model::default(), 0);
    for lived in 0..events {
        now_ms += random.choice([0, 0, 0, 1, 1_000, OPEN_MS_MAX, LEAVING_MS_MAX]).expect("one of them");
        let event = event(random, &model);
        step(&mut machine, &mut model, now_ms, event);
        if machine.is_over() {
            for event in
                [Event::Tick, Event::Dispatched(RunnerId(1)), Event::Hibernates, Event::ClientLost, Event::Fails("ws", "x")]
            {
                machine.handle(now_ms, event);
            }
            assert!(machine.poll_act().is_none() && machine.held_bytes() == 0 && machine.due_ms().is_none() && !machine.reads());
            return lived;
        }
    }
    events
}

fn step(machine: &mut Machine, model: &mut Model, now_ms: u64, event: Event) {
    let slept = matches!(machine.state, State::Hibernating { .. });
    let was_open = matches!(machine.state, State::Open { .. });
    let mut early = Vec::new();
    match &event {
        Event::FromClient { .. } => model.taken += 1,
        Event::Dispatched(runner) => {
            model.next = model.acked;
            early = std::mem::take(&mut model.early);
            early.retain(|(by, _)| by == runner);
        }
        Event::Hibernates if was_open => model.next = model.acked,
        Event::Runner(by, Said::Ack(index)) if slept => model.early.push((*by, *index)),
        Event::Runner(by, Said::Ack(index)) if was_open && machine.runner() == Some(*by) => model.acked(*index),
        _ => {}
    }
    machine.handle(now_ms, event);
    while let Some(act) = machine.poll_act() {
        model.act(&act);
    }
    early.into_iter().for_each(|(_, index)| model.acked(index));
    match machine.state {
        State::Open { can_hibernate, holds_back, .. } => {
            assert!(holds_back || model.next == model.taken, "an actor that is there has all there is");
            model.acked = if can_hibernate { model.acked } else { model.next };
            assert!(!model.actor_closed && !model.client_closed && !model.core_told);
        }
        // Whether the core is to be told depends on whether it was its own word.
        State::Over => {}
        State::Waiting | State::Opening { .. } | State::Hibernating { .. } | State::Leaving { .. } => assert!(!model.client_closed),
    }
    assert!(machine.held_bytes() <= HELD_BYTES_MAX, "{} bytes", machine.held_bytes());
    if let Some(due_ms) = machine.due_ms() {
        assert!(due_ms <= now_ms + OPEN_MS_MAX.max(UNACKED_MS_MAX).max(LEAVING_MS_MAX));
    }
}

#[test]
fn sockets_through_anything() {
    // What is tried is a length, and the dice are the input's.
    Inputs::new("lives of sockets", 4, &["20", "60", "200"], &["1", "0"]).each_text(|random, text| {
        let events = text.parse::<usize>().unwrap_or(40).min(400);
        live(random, events) > 0
    });
}

#[test]
fn indices_wrap_under_way() {
    let mut random = Rng::with_seed(1);
    let (mut machine, mut model) = (Machine::new(HeaderValue::from_static("ray")), Model::default());
    let runner = RunnerId(1);
    let opened = || Event::Runner(runner, Said::Opened { can_hibernate: true });
    step(&mut machine, &mut model, 0, Event::Dispatched(runner));
    step(&mut machine, &mut model, 0, opened());
    while model.taken < 140_000 {
        let data = Bytes::copy_from_slice(&model.taken.to_le_bytes());
        step(&mut machine, &mut model, 0, Event::FromClient { data, binary: true });
        if random.u16(..100) == 0 {
            let ack = indexed(random.u64(model.acked..model.taken));
            step(&mut machine, &mut model, 0, Event::Runner(runner, Said::Ack(ack)));
        }
        if random.u16(..10_000) == 0 {
            step(&mut machine, &mut model, 0, Event::Hibernates);
            step(&mut machine, &mut model, 0, Event::Dispatched(runner));
        }
    }
    assert!(!machine.is_over());
}
