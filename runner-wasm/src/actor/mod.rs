//! One actor in memory: what its task, its guest and the messages for it share.
//!
//! The task ([`task`]) runs the guest, one message at a time, and is the only one to send commits and events. Confirmations and
//! answers arrive on whatever thread the engine speaks on and are applied there and then, so that a response leaves without
//! waiting for a task to be scheduled. Locks are held for a few instructions; never while something is sent, because the
//! engine may answer before its `send` returns.
//!
//! - [`mailbox`]: what stands in line.
//! - [`task`]: the life, from start to stopped.
//! - [`instance`]: the guest, and what it does with each message.
//! - [`rest`]: whether it has something to do.
//! - [`calls`]: its handlers.
//! - [`due`], [`queue`]: what it does by itself.
//! - [`asking`], [`questions`]: what it asks the engine.
//! - [`trap`]: what a guest's end says to people.
//! - [`log`]: what it logged and printed. [`traced`]: what follows its messages.

mod asking;
mod calls;
mod due;
mod instance;
mod limits;
mod log;
mod mailbox;
mod questions;
mod queue;
mod rest;
mod task;
mod traced;
mod trap;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::component::Settings;
use protocol::id::{ActorId, Generation, RequestId};
use protocol::limits::{COMMITS_IN_FLIGHT_PER_ACTOR_MAX, SOCKET_MESSAGE_BYTES_MAX, SOCKETS_PER_ACTOR_MAX};
use protocol::message::{Checkpoint, Commit, DatabaseCommit, Event, Failure, FailureKind, FromRunner, LogLevel, Start, StopReason};
use protocol::trace::{Span, SpanContext};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

pub use self::asking::no_database_answer;
pub use self::calls::{Halt, guarded};
pub use self::instance::Instance;
pub use self::limits::Limits;
use self::log::LogBuffer;
use self::mailbox::NeverBegun;
pub use self::mailbox::{Mail, Mailbox, Refused, Request};
pub use self::questions::Answer;
use self::questions::Questions;
pub use self::queue::Completion;
use self::rest::Rest;
pub use self::task::run;
use crate::client::Speaker;
use crate::config::{INCOMING_BYTES_MAX, KEEP_AWAKE_MS_MAX, KIB_PERMIT, OUTBOX_BYTES_MAX, SAID_HELD_BYTES_MAX};
use crate::http::{Response, Route};
use crate::runner::Shared;
use crate::sandbox::ticker::Meter;
use crate::sandbox::{room, stacks};
use crate::sockets::{self, Said, Table};
use crate::state::gate::Gate;
use crate::state::{AlarmEnd, Sealed, State};

/// Nothing that is done under a lock of ours leaves half a change behind, so a panic elsewhere need not spread.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Actor {
    pub id: ActorId,
    pub generation: Generation,
    pub start: Start,
    pub meter: Meter,
    pub share: Arc<room::Share>,
    pub rest: Rest,
    pub stack: stacks::Own,
    pub shared: Arc<Shared>,
    pub limits: Limits,
    /// Room for bodies that were returned whole and are still being sent, in KiB.
    pub outbox: Arc<Semaphore>,
    /// Responses that are being sent, piece by piece.
    sending: AtomicUsize,
    /// Bytes of request bodies that are being put together.
    pub gathered_bytes: AtomicUsize,
    books: Mutex<Books>,
    /// The gate has moved. Only the task waits for it.
    moved: Notify,
    mailbox: Mutex<Mailbox>,
    /// Something stands in line. Only the task waits for it.
    arrived: Notify,
    /// The engine has given this generation up.
    lost: Notify,
    log: Mutex<LogBuffer>,
    /// Who waits for what becomes of a message of the queue, by its number.
    completions: Mutex<BTreeMap<u64, oneshot::Sender<Option<String>>>>,
    /// The spans that messages of the queue were sent in, by their numbers.
    queued: Mutex<BTreeMap<u64, SpanContext>>,
    events: AtomicU64,
    wants_sleep: AtomicBool,
    wants_end: AtomicBool,
    /// It does not go to sleep for being idle before this.
    awake_until: Mutex<Option<Duration>>,
}

/// What the guest's calls, the task and the engine's answers change.
pub struct Books {
    pub state: State,
    pub sockets: Table,
    gate: Gate<Held>,
    /// What was said to sockets and waits at the gate.
    said_bytes: usize,
    questions: Questions,
    /// Commits of sampled requests that are not durable yet: at most as many as may be in flight.
    commits: VecDeque<(u64, Span)>,
}

/// The running message is about the engine's alarm, scheduled for this moment.
#[derive(Clone, Copy)]
pub struct Fired {
    pub scheduled_ms: u64,
    pub end: AlarmEnd,
}

/// An output that waits for the gate.
pub enum Held {
    Response(Arc<Route>, Response),
    Abort(Arc<Route>, Failure),
    /// Somebody goes on with something when this may leave: a streamed response, a request to elsewhere.
    Signal(oneshot::Sender<()>),
    /// What a message of the queue was answered with.
    Completed(oneshot::Sender<Option<String>>, Option<String>),
    Sockets(Vec<Said>),
}

impl Held {
    fn said_bytes(&self) -> usize {
        match self {
            Held::Sockets(said) => said.iter().map(Said::bytes).sum(),
            Held::Response(..) | Held::Abort(..) | Held::Signal(_) | Held::Completed(..) => 0,
        }
    }
}

impl Actor {
    pub fn new(shared: Arc<Shared>, checkpoint: Checkpoint, start: Start) -> Actor {
        let deployed = start.component.as_ref().map(|deployed| deployed.settings.limits);
        let limits = Limits::new(&shared.limits, deployed.unwrap_or_default());
        Actor {
            id: checkpoint.actor,
            generation: checkpoint.generation,
            meter: Meter::new(Arc::clone(&shared.ticker), limits.cpu_ms),
            share: Arc::default(),
            rest: Rest::default(),
            stack: stacks::Own::default(),
            outbox: Arc::new(Semaphore::new(OUTBOX_BYTES_MAX / KIB_PERMIT)),
            sending: AtomicUsize::new(0),
            gathered_bytes: AtomicUsize::new(0),
            books: Mutex::new(Books {
                state: State::new(checkpoint.generation, start.alarm_ms),
                sockets: Table::default(),
                gate: Gate::default(),
                said_bytes: 0,
                questions: Questions::new(checkpoint.generation),
                commits: VecDeque::new(),
            }),
            moved: Notify::new(),
            mailbox: Mutex::new(Mailbox::new(limits.mailbox)),
            arrived: Notify::new(),
            lost: Notify::new(),
            log: Mutex::default(),
            completions: Mutex::default(),
            queued: Mutex::default(),
            limits,
            events: AtomicU64::new(0),
            wants_sleep: AtomicBool::new(false),
            wants_end: AtomicBool::new(false),
            awake_until: Mutex::default(),
            start,
            shared,
        }
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    // What the engine says.

    pub fn post(&self, mail: Mail) -> Result<(), Refused> {
        let dropped = match &mail {
            // Nobody will see what these would do: the state they would change is about to be deleted.
            Mail::Stop(StopReason::Destroy) => lock(&self.mailbox).take_wishes(),
            _ => NeverBegun::default(),
        };
        for request in dropped.requests {
            request.route.abort_with(stopped());
        }
        for request in dropped.sockets {
            self.forget_socket(request);
            let (code, reason) = (Some(1000), Some("actor.destroyed_while_waiting_for_ready".to_string()));
            self.send(FromRunner::SocketClose { request, code, reason, hibernate: false });
        }
        lock(&self.mailbox).push(mail)?;
        self.arrived.notify_one();
        Ok(())
    }

    /// A request whose body had to be put together has its place at the front: it has waited the longest.
    pub fn post_gathered(&self, request: Box<Request>) -> Result<(), Box<Request>> {
        lock(&self.mailbox).push_front(request)?;
        self.arrived.notify_one();
        Ok(())
    }

    /// Nobody waits for this request any more: it must not keep a place in line.
    pub fn withdraw(&self, request: RequestId) {
        lock(&self.mailbox).remove(request);
    }

    pub fn confirmed(&self, commit: u64) {
        let outputs = {
            let mut books = self.books();
            books.state.confirmed(commit);
            books.end_spans(commit);
            books.gate.open(commit)
        };
        let said_bytes: usize = outputs.iter().map(Held::said_bytes).sum();
        for output in outputs {
            self.release(output);
        }
        {
            let mut books = self.books();
            books.gate.released(commit);
            books.said_bytes -= said_bytes;
        }
        self.moved.notify_one();
    }

    pub fn answered(&self, question: u64, answer: Answer) {
        self.books().questions.answered(question, answer);
    }

    pub fn give_up(&self) {
        self.lost.notify_one();
    }

    // What the guest asks for.

    /// What its deployment gives it.
    pub fn settings(&self) -> Option<&Settings> {
        self.start.component.as_ref().map(|deployed| &*deployed.settings)
    }

    /// Largest message that it takes from a client.
    pub fn message_bytes_max(&self) -> usize {
        let set = self.settings().and_then(|settings| settings.limits.message_bytes);
        set.map_or(INCOMING_BYTES_MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX).min(SOCKET_MESSAGE_BYTES_MAX))
    }

    pub fn sockets_max(&self) -> usize {
        let set = self.settings().and_then(|settings| settings.limits.sockets);
        set.map_or(SOCKETS_PER_ACTOR_MAX, |sockets| (sockets as usize).min(SOCKETS_PER_ACTOR_MAX))
    }

    /// As clients are told who it was that refused them.
    pub fn speaker(&self) -> Speaker {
        Speaker { id: self.id.to_string(), generation: self.generation, key: self.start.key.clone() }
    }

    pub fn on_sockets<R>(&self, change: impl FnOnce(&mut Table, &mut State) -> R) -> R {
        let mut books = self.books();
        let Books { sockets, state, .. } = &mut *books;
        change(sockets, state)
    }

    /// Nothing that is said about this socket comes here any more.
    pub fn forget_socket(&self, request: RequestId) {
        self.shared.sockets.remove_if(&request, |actor| actor.id == self.id && actor.generation == self.generation);
    }

    /// More messages of a socket stand in line than may.
    pub fn lose_socket(&self, request: RequestId) {
        const REASON: &str = "actor.overloaded";
        self.forget_socket(request);
        self.books().sockets.lose(request, 1011, REASON.to_string());
        let reason = Some(REASON.to_string());
        self.send(FromRunner::SocketClose { request, code: Some(1011), reason, hibernate: false });
        self.arrived.notify_one();
    }

    pub fn log(&self, level: LogLevel, text: String) {
        let full = lock(&self.log).push(level, text, self.shared.clock.now_ms());
        if full {
            self.flush_log();
        }
    }

    pub fn wish_to_sleep(&self) {
        self.wants_sleep.store(true, Relaxed);
    }

    pub fn wish_to_be_destroyed(&self) {
        self.wants_end.store(true, Relaxed);
    }

    pub fn keep_awake(&self, for_ms: u64) {
        let limit = Duration::from_millis(for_ms.min(KEEP_AWAKE_MS_MAX));
        *lock(&self.awake_until) = (for_ms > 0).then(|| self.shared.clock.passed() + limit);
    }

    /// Asks it to sleep because somebody else needs its room. Whether it will: it has nothing to do, nothing to send, and was not
    /// told to stay awake.
    pub fn ask_to_sleep(&self) -> bool {
        let is_kept_awake = lock(&self.awake_until).is_some_and(|until| until > self.shared.clock.passed());
        let is_busy = self.sending.load(SeqCst) > 0 || self.gathered_bytes.load(Relaxed) > 0;
        let asked = !is_kept_awake && !is_busy && self.rest.ask();
        if asked {
            self.arrived.notify_one();
        }
        asked
    }

    // What the task does.

    /// When it may go to sleep if nothing happens from now on; both by [`Clock::passed`](crate::clock::Clock::passed).
    fn idle_at(&self, now: Duration) -> Duration {
        let idle_at = now + Duration::from_millis(self.shared.limits.idle_before_sleep_ms);
        lock(&self.awake_until).map_or(idle_at, |until| until.max(idle_at))
    }

    /// The running message has succeeded: sends what it has written, if it has written anything. An error means that it has failed
    /// after all and has written nothing.
    pub async fn commit(&self) -> Result<(), Failure> {
        self.commit_fired(None).await
    }

    /// The same for a message that was the alarm's: its commit says so even if nothing was written.
    pub async fn commit_fired(&self, fired: Option<Fired>) -> Result<(), Failure> {
        let database = match self.seal_database().await {
            Ok(database) => database,
            Err(failure) => {
                self.drop_writes();
                return Err(failure);
            }
        };
        if let Err(failure) = self.ask_storage(database.as_ref()).await {
            self.drop_writes();
            return Err(failure);
        }
        let sealed = self.books().state.commit(fired.map(|fired| fired.end), database.is_some());
        if let Some(sealed) = sealed {
            self.send_commit(sealed, database, fired);
        }
        let said = self.books().sockets.commit();
        if !said.is_empty() {
            self.say(Held::Sockets(said));
        }
        Ok(())
    }

    /// A message begins that calls no handler, or none yet.
    pub fn begin(&self) {
        self.books().state.begin();
    }

    /// The running message has failed: it has written nothing, and says nothing to sockets.
    pub fn drop_writes(&self) {
        let uses_database = {
            let mut books = self.books();
            books.sockets.roll_back();
            books.state.drop_writes()
        };
        if uses_database {
            self.roll_back_database();
        }
    }

    fn send_commit(&self, sealed: Sealed, database: Option<DatabaseCommit>, fired: Option<Fired>) {
        {
            let mut books = self.books();
            books.gate.sent(sealed.commit);
            books.begin_span(&sealed);
        }
        self.send(FromRunner::Commit(Commit {
            actor: self.id,
            generation: self.generation,
            commit: sealed.commit,
            changes: sealed.changes,
            own: sealed.own,
            database,
            alarm: sealed.alarm,
            fired_ms: fired.map(|fired| fired.scheduled_ms),
            alarm_failed: fired.is_some_and(|fired| fired.end == AlarmEnd::Failed),
        }));
    }

    /// Lets an output go once everything that it may depend on is durable.
    pub fn say(&self, output: Held) {
        let said_bytes = output.said_bytes();
        let now = {
            let mut books = self.books();
            let now = books.gate.pass(output);
            books.said_bytes += if now.is_none() { said_bytes } else { 0 };
            now
        };
        if let Some(output) = now {
            self.release(output);
        }
    }

    fn release(&self, output: Held) {
        match output {
            Held::Response(route, response) => route.respond(response),
            Held::Abort(route, failure) => route.abort_with(failure),
            Held::Signal(tell) => drop(tell.send(())),
            Held::Completed(tell, answer) => drop(tell.send(answer)),
            Held::Sockets(said) => said.into_iter().for_each(|said| sockets::serve::send(self, said)),
        }
    }

    /// Waits until everything that was committed so far is durable. For whoever lets something leave by another way than
    /// [`Actor::say`].
    pub async fn durable(&self) {
        let (tell, told) = oneshot::channel();
        self.say(Held::Signal(tell));
        // An actor that is given up lets nothing leave any more.
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until one more message may run before the engine has confirmed something.
    async fn room_for_message(&self) {
        let in_flight_max = COMMITS_IN_FLIGHT_PER_ACTOR_MAX as u64;
        let has_room = |books: &Books| books.state.has_room() && books.said_bytes <= SAID_HELD_BYTES_MAX;
        self.until(|books| books.gate.in_flight() < in_flight_max && has_room(books)).await;
    }

    /// Waits until everything is durable and everything said has left, to its last piece.
    async fn settle(&self) {
        self.until(|books| books.gate.is_settled() && self.sending.load(SeqCst) == 0).await;
    }

    async fn until(&self, condition: impl Fn(&Books) -> bool) {
        while !condition(&self.books()) {
            self.moved.notified().await;
        }
    }

    fn event(&self, event: Event) {
        let index = self.events.fetch_add(1, Relaxed);
        self.send(FromRunner::Event(Checkpoint { actor: self.id, generation: self.generation, index }, event));
    }

    /// Tells the engine what the guest wished for; again only if it wishes again.
    fn tell_wishes(&self) {
        if self.wants_end.swap(false, Relaxed) {
            self.event(Event::StopIntent);
        }
        if self.wants_sleep.swap(false, Relaxed) {
            self.event(Event::SleepIntent);
        }
    }

    pub fn flush_log(&self) {
        let lines = lock(&self.log).take(self.shared.clock.now_ms());
        if !lines.is_empty() {
            self.send(FromRunner::Log { actor: self.id, lines });
        }
    }

    pub fn send(&self, message: FromRunner) {
        self.shared.link.send(message);
    }
}

/// A response that is being sent piece by piece: the actor has not stopped before it has left.
pub struct Sending {
    actor: Arc<Actor>,
    /// The room that a body takes which was returned whole: its actor's, and that of all.
    _room: Option<(OwnedSemaphorePermit, room::Counted)>,
}

impl Sending {
    pub fn new(actor: &Arc<Actor>, room: Option<(OwnedSemaphorePermit, room::Counted)>) -> Sending {
        actor.sending.fetch_add(1, SeqCst);
        Sending { actor: Arc::clone(actor), _room: room }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.actor.sending.fetch_sub(1, SeqCst);
        self.actor.moved.notify_one();
    }
}

pub fn stopped() -> Failure {
    Failure { kind: FailureKind::Stopped, message: "the actor stopped before it answered".to_string() }
}
