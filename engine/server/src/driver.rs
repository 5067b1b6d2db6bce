//! Drives the core: tells it what happened, does what it asks for.
//!
//! One task owns the core, so nothing about actors is decided in two places at once. Everything it does returns at once: reads
//! go to the readers, writes to the writer, words to runners and clients over their links; the answers come back as inputs.

use std::collections::HashMap;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use engine_core::action::Action;
use engine_core::input::CommitId;
use engine_core::record::Change;
use engine_core::{Core, Input};
use engine_store::{Figures, State, StoreError, Writer};
use protocol::id::{ActorId, Generation, RequestId, RunnerId};
use protocol::message::{Checkpoint, Command, Event, FromRunner, Start, StartReason, ToRunner};
use protocol::trace::{Kind, Span};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use crate::database;
use crate::directory::News;
use crate::engine::Engine;
use crate::held::Held;
use crate::logs::ends;
use crate::metrics::DriverFigures;
use crate::readiness::Reason;
use crate::requests::Place;
use crate::serverless::call;

/// From this many commits under way on, submitting one may have to wait for the writer.
const COMMITS_WAITING_CALM: usize = 1_024;

/// Starts that are measured at one time. Of actors that are lost with their runner nothing more is heard: they leave when it is full.
const STARTING_MAX: usize = 16_384;

pub struct Driver {
    core: Core,
    engine: Arc<Engine>,
    writer: Writer,
    held: Held,
    commits_waiting: Arc<AtomicUsize>,
    /// Actors that were told to start, and when; with its span, if that is sampled.
    starting: HashMap<ActorId, (Instant, Span)>,
}

impl Driver {
    pub fn new(core: Core, engine: Arc<Engine>, writer: Writer) -> Driver {
        let held = Held::new(engine.held.clone());
        Driver { core, engine, writer, held, commits_waiting: Arc::default(), starting: HashMap::new() }
    }

    /// Until the other end of `ended` is dropped; then the writer is given back, to be closed.
    pub async fn run(mut self, mut ended: oneshot::Receiver<()>) -> Writer {
        let mut inputs = Vec::new();
        loop {
            match self.core.wait_ms(self.engine.clock.now_ms()) {
                Some(0) => self.handle(Input::Tick),
                wait => tokio::select! {
                    biased;
                    _ = &mut ended => return self.writer,
                    () = self.engine.inbox.filled() => {}
                    // Then it is time for a tick.
                    () = self.engine.clock.after(wait.unwrap_or_default()), if wait.is_some() => {}
                },
            }
            self.engine.inbox.take(&mut inputs);
            for input in inputs.drain(..) {
                self.handle(input);
            }
            // Those before them are heard of when they are durable: then there may be room.
            self.hand_over();
            self.engine.metrics.answer(|| DriverFigures {
                actors_in_memory: self.core.actors_in_memory(),
                requests_in_flight: self.core.requests_in_flight(),
                writer: self.figures(),
            });
        }
    }

    fn handle(&mut self, input: Input) {
        if let Input::FromRunner { message: FromRunner::Event(checkpoint, event), .. } = &input {
            self.has_started(checkpoint.actor, event);
        }
        self.core.handle(self.engine.clock.now_ms(), input);
        // Drained before the next input: an action may refer to state that the next input ends.
        while let Some(action) = self.core.poll_action() {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        let engine = self.engine.clone();
        match action {
            Action::LoadActor { actor } => self.engine.readers.read_for_core(move |state| {
                if let Some(found) = engine.known(state.load_actor(actor)) {
                    engine.inbox.push(Input::ActorLoaded { actor, found: found.map(Box::new) });
                }
            }),
            Action::LoadKey { key } => self.engine.readers.read_for_core(move |state| {
                if let Some(found) = engine.known(state.load_key(&key)) {
                    engine.inbox.push(Input::KeyLoaded { key, found: found.map(Box::new) });
                }
            }),
            Action::LoadAlarms { from, limit } => self.engine.readers.read_for_core(move |state| {
                if let Some((alarms, complete)) = engine.known(state.load_alarms(from, limit)) {
                    engine.inbox.push(Input::AlarmsLoaded { alarms, complete });
                }
            }),
            Action::LoadNamespace { namespace, destroyed, limit } => self.engine.readers.read_for_core(move |state| {
                if let Some(actors) = engine.known(state.in_namespace(namespace, destroyed, limit)) {
                    engine.inbox.push(Input::NamespaceLoaded { namespace, actors });
                }
            }),
            Action::Weigh { actor, namespace, changes } => self.engine.readers.read_for_core(move |state| {
                let weighed = state.usage(namespace).and_then(|usage| Ok((usage.bytes, state.weigh(actor, &changes)?)));
                if let Some((namespace_bytes, (entries_bytes, after_bytes))) = engine.known(weighed) {
                    engine.inbox.push(Input::Weighed { actor, entries_bytes, after_bytes, namespace_bytes });
                }
            }),
            Action::Commit { commit, changes } => self.commit(commit, &changes),
            Action::ToRunner { runner, message } => {
                match &message {
                    ToRunner::Database { actor, call, result } => engine.databases.answered(*actor, *call, result),
                    ToRunner::Command(checkpoint, Command::Start(start)) => {
                        engine.recorder.starts(&engine.directory, checkpoint.actor, start);
                        self.is_starting(checkpoint, start);
                    }
                    ToRunner::Command(checkpoint, Command::Stop(_)) => drop(self.starting.remove(&checkpoint.actor)),
                    _ => {}
                }
                engine.runners.send(runner, message);
            }
            Action::ReadPages { runner, actor, call, pages, expected_txid } => {
                database::read_pages(&engine, runner, actor, call, pages, expected_txid);
            }
            Action::RunSql { runner, actor, generation, call, question } => {
                database::run_sql(&engine, runner, actor, generation, call, question);
            }
            Action::SqlSettled { actor, generation, call, committed } => {
                engine.databases.settled(actor, generation, call, committed);
            }
            Action::EndSql { actor, generation } => engine.databases.end(actor, generation),
            Action::Abandon { request } => engine.abandon(request),
            Action::NoteEnd { actor, generation, end } => {
                engine.recorder.ended(actor);
                let (level, text) = ends::line(generation, &end);
                engine.logs.note(actor, level, text);
            }
            Action::EvictRunner { runner } => engine.runners.evict(runner),
            Action::ForgetRunner { runner } => engine.runners.forget(runner),
            Action::CallOut { namespace, pool, checkpoint, start } => {
                call::call(&engine, namespace, pool, checkpoint, *start);
            }
            Action::EndCallOut { actor, generation, taken } => call::end(&engine, actor, generation, taken),
            Action::HoldBack { request } => engine.sockets.hold_back(request),
            Action::Hibernate { request } => engine.sockets.hibernate(request),
            Action::Dispatch { request, runner, actor, generation } => self.dispatch(request, runner, actor, generation),
            Action::Refuse { request, refusal } => {
                if !engine.sockets.refuse(request, &refusal) {
                    engine.requests.refuse_by_core(request, refusal);
                }
            }
            Action::Reply { call, result } => engine.calls.reply(call, result),
        }
    }

    /// Why an actor starts is no request's alone, and often nobody's: so it is a trace of its own.
    fn is_starting(&mut self, checkpoint: &Checkpoint, start: &Start) {
        if self.starting.len() >= STARTING_MAX {
            self.starting.clear();
        }
        let mut span = self.engine.telemetry.root("actor.start", Kind::Internal);
        span.set("rivet.actor.id", || checkpoint.actor.to_string());
        span.set("rivet.actor.name", || start.name.as_str());
        span.set("rivet.actor.generation", || u64::from(checkpoint.generation));
        span.set("rivet.start.reason", || match start.reason {
            StartReason::Created => "created",
            StartReason::Woken => "woken",
            StartReason::Restarted => "restarted",
            StartReason::Upgraded => "upgraded",
        });
        self.starting.insert(checkpoint.actor, (Instant::now(), span));
    }

    /// How long it took, if it has; and if it has not, nobody waits for it any more.
    fn has_started(&mut self, actor: ActorId, event: &Event) {
        match event {
            Event::Running => {
                if let Some((since, _)) = self.starting.remove(&actor) {
                    self.engine.metrics.wakes.count(since.elapsed());
                }
            }
            Event::Stopped(_) => {
                if let Some((_, mut span)) = self.starting.remove(&actor) {
                    span.fail(|| "it stopped before it ran".to_string());
                }
            }
            _ => {}
        }
    }

    fn commit(&mut self, commit: CommitId, changes: &[Change]) {
        let (news, recorded) = (News::of(changes), self.engine.recorder.news(changes));
        let forgotten: Vec<ActorId> = changes.iter().flat_map(forgotten_by).collect();
        let batch = State::batch(changes);
        let (engine, commits_waiting) = (self.engine.clone(), self.commits_waiting.clone());
        let hold = engine.clock.hold();
        let began = Instant::now();
        let done = move |result| {
            commits_waiting.fetch_sub(1, Ordering::Relaxed);
            engine.metrics.commits.count(began.elapsed());
            match result {
                Ok(()) => {
                    let components_may_go = news.takes_deployments();
                    engine.directory.enter(news);
                    engine.recorder.learn(recorded);
                    if components_may_go {
                        remove_unused_components(&engine);
                    }
                    if !forgotten.is_empty() {
                        remove_logs(&engine, forgotten);
                    }
                    engine.inbox.push(Input::Committed { commit });
                }
                // The engine is shutting down: nobody was told that this is durable, and it is not.
                Err(StoreError::Closed) => {}
                Err(error) => {
                    engine.readiness.set(Reason::StoreFailed);
                    (engine.store_failed)(&error)
                }
            }
            drop(hold);
        };
        self.commits_waiting.fetch_add(1, Ordering::Relaxed);
        let is_held = !self.held.is_empty() && self.writer.waits_for_room();
        self.held.push(batch, Box::new(done));
        if !is_held {
            self.hand_over();
        }
    }

    /// Never waits for room on the disk: reads go on without it.
    fn hand_over(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let is_calm = self.commits_waiting.load(Ordering::Relaxed) <= COMMITS_WAITING_CALM;
        if is_calm || Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            // Or there is no elsewhere: the writer has a thread of its own and goes on.
            self.held.hand_over(&self.writer);
        } else {
            // The writer's queue may be full, and waiting for it is what slows everything down to the disk's pace. The other
            // tasks of this thread go on elsewhere meanwhile.
            tokio::task::block_in_place(|| self.held.hand_over(&self.writer));
        }
    }

    fn figures(&self) -> Figures {
        let (figures, (batches, bytes)) = (self.writer.figures(), self.held.figures());
        Figures { queued: figures.queued + batches, queued_bytes: figures.queued_bytes + bytes, ..figures }
    }

    fn dispatch(&mut self, request: RequestId, runner: RunnerId, actor: ActorId, generation: Generation) {
        // A runner that has just left: the core is about to hear of it, and will refuse the request or dispatch it again.
        if let Some(link) = self.engine.runners.link(runner) {
            let place = Place { runner, link, actor, generation };
            if !self.engine.sockets.dispatch(request, &place) {
                self.engine.requests.dispatch(request, place);
            }
        }
    }
}

/// Actors of whose past nothing is left.
fn forgotten_by(change: &Change) -> impl Iterator<Item = ActorId> + '_ {
    let listed = match change {
        Change::ForgetActors { actors, .. } => &actors[..],
        _ => &[],
    };
    listed.iter().map(|listed| listed.actor)
}

/// What cannot be removed now goes when it is old.
fn remove_logs(engine: &Arc<Engine>, actors: Vec<ActorId>) {
    let of = engine.clone();
    engine.readers.read_for_core(move |_| {
        if let Err(error) = of.logs.remove(&actors) {
            tracing::warn!(%error, "what actors of a deleted namespace have logged could not be removed; it goes when it is old");
        }
    });
}

/// Those that only a namespace had which is gone. What cannot be removed now is at the next start.
fn remove_unused_components(engine: &Arc<Engine>) {
    let components = engine.components.clone();
    engine.readers.read_for_core(move |_| {
        if let Err(error) = components.remove_unused() {
            tracing::warn!(%error, "components that nobody uses any more could not be removed; the next start tries again");
        }
    });
}

/// What is on disk is not known any more: a fresh start finds the truth, so leave that to whoever supervises this process.
pub fn exit(error: &StoreError) {
    tracing::error!(%error, "the engine stops, because going on without its store could lose what it acknowledged");
    process::exit(1);
}
