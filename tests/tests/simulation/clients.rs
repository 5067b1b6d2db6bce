//! What clients do: requests, sockets, calls of the API.

use engine_core::action::Answer;
use engine_core::input::{CallId, Callee, Create, Input, Operation, RequestKind, Target};
use engine_core::record::{CrashPolicy, PoolKind, Rate, RunnerConfigRecord, ServerlessConfig};
use engine_core::refusal::Refusal;
use protocol::id::{ActorId, RequestId};

use crate::model::BY_URL_MAX;
use crate::tally::Happened;
use crate::world::World;

const KEYS: u64 = 6;
/// The names of actors, each with its pool: the first one is a component's.
pub const NAMES: [(&str, &str); 3] = [("counter", "default"), ("job", "jobs"), ("lambda", "urls")];
/// After this the server gives an answer up.
const ANSWER_MS_MAX: u64 = 40_000;

/// A request, from its client to its end.
pub struct Open {
    pub kind: RequestKind,
    /// Since when a runner has it.
    pub sent_ms: Option<u64>,
    /// A socket that was taken: whether it outlives its actor's generation.
    pub opened: Option<bool>,
    pub hibernates: bool,
    /// It hibernates and has something for its actor.
    pub wakes: bool,
}

impl World {
    pub fn client(&mut self) {
        let key = format!("k{}", self.rng.u64(..KEYS));
        let (name, pool) = NAMES[self.rng.usize(..NAMES.len())];
        let name = name.to_string();
        let namespace = "default".to_string();
        match self.rng.u8(..) {
            0..140 if self.faults => {
                let create = Some(Box::new(self.how(pool)));
                let kind = if pool != "default" && self.rng.u8(..4) == 0 { RequestKind::Socket } else { RequestKind::Http };
                self.request(Target::Key { namespace, name, key, create }, kind);
            }
            140..160 => {
                let Some(actor) = self.anyone() else { return };
                self.request(Target::Id(actor), RequestKind::Http);
            }
            160..175 => {
                let Some(request) = self.open.keys().nth(self.rng.usize(..9)).copied() else { return };
                self.leave(request);
            }
            175..185 => self.socket_speaks(),
            185..200 => {
                let create = self.how(pool);
                self.call(|_| Operation::GetOrCreateActor { namespace, name, key, create });
            }
            200..212 => {
                let create = self.how(pool);
                let key = self.rng.bool().then_some(key);
                self.call(|_| Operation::CreateActor { namespace, name, key, create });
            }
            212..220 => {
                let Some(actor) = self.anyone() else { return };
                self.call(|_| Operation::DestroyActor { namespace, actor });
            }
            220..228 => {
                let Some(actor) = self.anyone() else { return };
                self.call(|_| Operation::SleepActor { namespace, actor });
            }
            228..236 => {
                let Some(actor) = self.anyone() else { return };
                self.call(|_| Operation::RescheduleActor { namespace, actor });
            }
            236 if self.faults => self.configure(),
            237 if self.faults && self.rng.u8(..4) == 0 => {
                self.call(|_| Operation::DeleteRunnerConfig { namespace, pool: pool.into() });
            }
            238 => self.call(|_| Operation::ListRunners { namespace }),
            _ => {}
        }
    }

    fn request(&mut self, target: Target, kind: RequestKind) {
        let request = RequestId(self.number());
        self.open.insert(request, Open { kind, sent_ms: None, opened: None, hibernates: false, wakes: false });
        let skip_ready_wait = self.rng.u8(..8) == 0;
        self.input(Input::Request { request, target, kind, skip_ready_wait });
    }

    /// An actor of a component calls another one, perhaps one that waits for it, perhaps itself.
    pub fn actor_calls(&mut self, actor: ActorId, request: RequestId) {
        let (Some(runner), Some(running)) = (self.runner, self.actors.get(&actor)) else { return };
        let generation = running.generation;
        let (name, pool) = NAMES[self.rng.usize(..NAMES.len()).saturating_sub(1)];
        let callee = match self.rng.u8(..4) {
            0 => Callee::Id(self.anyone().unwrap_or(actor)),
            kind => {
                let create = (kind > 1).then(|| Box::new(self.how(pool)));
                Callee::Key { name: name.into(), key: format!("k{}", self.rng.u64(..KEYS)), create }
            }
        };
        self.tally.count(Happened::Called);
        self.open.insert(request, Open { kind: RequestKind::Http, sent_ms: None, opened: None, hibernates: false, wakes: false });
        self.input(Input::ActorCalls { request, runner, actor, generation, callee });
    }

    /// The actor that waited for it is gone.
    pub fn abandon(&mut self, request: RequestId) {
        self.tally.count(Happened::CallAbandoned);
        if self.open.remove(&request).is_some() {
            self.input(Input::RequestAborted { request });
        }
    }

    /// The client is gone.
    fn leave(&mut self, request: RequestId) {
        self.open.remove(&request);
        self.input(Input::RequestAborted { request });
    }

    fn socket_speaks(&mut self) {
        let hibernating: Vec<RequestId> = self.hibernating().collect();
        if !hibernating.is_empty() {
            let at = self.rng.usize(..hibernating.len());
            self.speak(hibernating[at]);
        }
    }

    /// Every socket that hibernates has something for its actor.
    pub fn sockets_speak(&mut self) {
        for request in self.hibernating().collect::<Vec<_>>() {
            self.speak(request);
        }
    }

    fn hibernating(&self) -> impl Iterator<Item = RequestId> {
        self.open.iter().filter(|(_, open)| open.hibernates).map(|(request, _)| *request)
    }

    fn speak(&mut self, request: RequestId) {
        // Its actor may just have woken because of another.
        if let Some(open) = self.open.get_mut(&request) {
            open.wakes = open.hibernates;
            self.input(Input::SocketWakes { request });
        }
    }

    pub fn everybody_leaves(&mut self) {
        while let Some(request) = self.open.keys().next().copied() {
            self.leave(request);
        }
    }

    /// Somebody waits for an actor to run.
    pub fn somebody_waits(&self) -> bool {
        self.open.values().any(|open| if open.hibernates { open.wakes } else { open.sent_ms.is_none() })
    }

    pub fn dispatched(&mut self, request: RequestId) -> Option<bool> {
        let open = self.open.get_mut(&request).expect("it has not ended");
        assert!(open.hibernates || open.sent_ms.is_none(), "{request:?} is given to two runners");
        if open.hibernates {
            self.tally.count(Happened::SocketResumed);
        }
        (open.sent_ms, open.hibernates, open.wakes) = (Some(self.now_ms), false, false);
        open.opened
    }

    pub fn opened(&mut self, request: RequestId, can_hibernate: bool) {
        let Some(open) = self.open.get_mut(&request).filter(|open| open.sent_ms.is_some()) else { return };
        open.opened = Some(can_hibernate);
        self.tally.count(Happened::SocketOpened);
        self.input(Input::SocketOpened { request, can_hibernate });
    }

    pub fn hibernates(&mut self, request: RequestId) {
        let open = self.open.get_mut(&request).expect("it has not ended");
        assert_eq!((open.opened, open.hibernates), (Some(true), false), "{request:?} cannot hibernate");
        (open.sent_ms, open.hibernates) = (None, true);
        self.tally.count(Happened::SocketHibernated);
    }

    pub fn refused(&mut self, request: RequestId, refusal: &Refusal) {
        if let Refusal::Failed { actor, .. } = refusal {
            assert!(!self.is_component(*actor), "{request:?} failed, but only its runner may say so: {refusal}");
        }
        assert!(self.open.remove(&request).is_some(), "{request:?} was refused and had ended before");
        let circle = matches!(refusal, Refusal::CallCycle { .. });
        self.tally.count(if circle { Happened::CircleRefused } else { Happened::Refused });
    }

    /// An answer of an actor of a pool has arrived.
    pub fn answered(&mut self, request: RequestId) {
        if self.open.get(&request).is_some_and(|open| open.sent_ms.is_some()) {
            self.open.remove(&request);
            self.tally.count(Happened::Answered);
            self.input(Input::RequestEnded { request });
        }
    }

    /// When the server gives up the next request whose runner does not answer.
    pub fn answer_due_ms(&self) -> Option<u64> {
        let sent = self.open.values().filter(|open| open.kind == RequestKind::Http).filter_map(|open| open.sent_ms);
        sent.min().map(|sent_ms| sent_ms + ANSWER_MS_MAX)
    }

    pub fn give_answers_up(&mut self) {
        let late = |open: &Open| open.kind == RequestKind::Http && open.sent_ms.is_some_and(|ms| ms + ANSWER_MS_MAX <= self.now_ms);
        let late: Vec<RequestId> = self.open.iter().filter(|(_, open)| late(open)).map(|(request, _)| *request).collect();
        for request in late {
            self.open.remove(&request);
            self.input(Input::RequestEnded { request });
        }
    }

    pub fn replied(&mut self, call: CallId, result: Result<Answer, Refusal>) {
        assert!(self.calls.remove(&call), "{call:?} was answered twice");
        if let Ok(Answer::Actor { record, .. }) = result {
            let found = self.state.load_actor(record.id).expect("memory does not fail");
            assert!(found.is_some(), "{call:?}: actor {} is shown and not on disk", record.id);
        }
    }

    pub fn call(&mut self, operation: impl FnOnce([u8; 16]) -> Operation) {
        let call = CallId(self.number());
        self.calls.insert(call);
        let operation = operation(self.random());
        self.input(Input::Call { call, operation, by: None });
    }

    /// The pools are as they should be.
    pub fn configure(&mut self) {
        let Some(namespace) = self.namespace() else { return };
        let serverless = ServerlessConfig {
            url: "http://app".into(),
            headers: vec![],
            request_lifespan_s: 3_600,
            drain_grace_period_s: 10,
            max_concurrent_actors: BY_URL_MAX,
            metadata_poll_interval_ms: None,
            slots_per_runner: 1,
            min_runners: 0,
            max_runners: 1,
            runners_margin: 0,
        };
        let slow = self.rng.bool();
        for (pool, kind) in [("jobs", PoolKind::Normal), ("urls", PoolKind::Serverless(Box::new(serverless)))] {
            let record = RunnerConfigRecord {
                namespace,
                pool: pool.into(),
                kind,
                drain_on_version_upgrade: true,
                actor_eviction_delay_s: u32::from(slow),
                actor_eviction_period_s: u32::from(slow),
                actor_eviction_rate: Rate::new(1.0),
                metadata: None,
                protocol_version: None,
            };
            self.call(|_| Operation::PutRunnerConfig { namespace: "default".into(), record: Box::new(record) });
        }
    }

    fn how(&mut self, pool: &str) -> Create {
        let crash_policy = match self.rng.u8(..16) {
            0 => CrashPolicy::Destroy,
            1..4 => CrashPolicy::Restart,
            _ => CrashPolicy::Sleep,
        };
        Create { random: self.random(), pool: pool.into(), crash_policy, input: None }
    }

    pub fn random(&mut self) -> [u8; 16] {
        std::array::from_fn(|_| self.rng.u8(..))
    }

    fn anyone(&mut self) -> Option<ActorId> {
        let at = self.rng.usize(..self.model.records.len().max(1));
        self.model.records.keys().nth(at).copied()
    }

    pub fn is_component(&self, actor: ActorId) -> bool {
        self.model.records.get(&actor).is_some_and(|record| record.name == NAMES[0].0)
    }
}
