//! Whose statement runs next, and on which connection.
//!
//! One connection for each (actor, generation), opened with its first statement and kept while it is used, so that a transaction
//! can go on from call to call. An actor's statements run one at a time in order of arrival, those of different actors beside each
//! other, on threads of their own: they may take long, and reads of pages must not wait for them.
//!
//! What a statement has written is the core's to commit. Until the core has answered, the actor's next statement waits: so it sees
//! what was written, tells of nothing that may still be lost, and a connection never stands on more than one commit that may be
//! refused. What a message of a component has written is the core's to commit only when the message's commit brings it: its connection
//! waits for that in the same way. A connection that stands on another head than the one on disk, because the actor's runner has committed pages itself,
//! is closed, and the next statement opens another.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engine_core::Input;
use engine_store::State;
use protocol::database::{DatabaseAnswer, DatabaseError, DatabaseQuestion, MessageStep};
use protocol::id::{ActorId, Generation, RunnerId};
use protocol::limits::MIB;

use super::connection::{Connection, Ran, Time, transaction_lost};
use super::message::Message;
use super::{failed, words};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::lock::lock;
use crate::memory::buffers::Held;

/// Each takes about 1 MiB between statements; and what an open transaction has written, see `engine_sql::Limits`.
pub const CONNECTIONS_MAX: usize = 256;
/// The least, whatever memory there is.
const CONNECTIONS_MIN: usize = 8;
/// Pages that a connection keeps, and what else it has between two statements.
const CONNECTION_BYTES: usize = MIB;
pub const CALLS_PER_ACTOR_MAX: usize = 128;
/// Statements and their parameters that wait.
pub const CALLS_WAITING_BYTES_MAX: usize = 256 * MIB;
/// A connection that was not used for so long is closed.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// For so long it is known that a transaction was lost, and an answer of the core waited for.
pub const KEPT_MAX: Duration = Duration::from_secs(3_600);
const SWEEP_EVERY: Duration = Duration::from_secs(10);

pub struct Databases {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    time: Arc<Time>,
}

struct Inner {
    actors: HashMap<ActorId, Entry>,
    /// Connections that may be open.
    connections_max: usize,
    /// Those that are `Ready`, in order. One that was replaced meanwhile may be in here without being it, or twice.
    ready: VecDeque<ActorId>,
    waiting_bytes: usize,
    swept: Option<Instant>,
    /// To be closed by a thread; at most as many as may be open.
    closing: Vec<Entry>,
    stopped: bool,
}

/// One actor in one generation.
struct Entry {
    generation: Generation,
    phase: Phase,
    connection: Option<Connection>,
    in_transaction: bool,
    message: Message,
    /// Its transaction is gone, and the next call is told so.
    lost: Option<DatabaseError>,
    /// Whether what the connection wrote last is committed; until the connection has been told.
    committed: Option<bool>,
    calls: VecDeque<Call>,
    used: Instant,
}

/// ```text
/// Idle --call--> Ready --thread--> Running --wrote nothing--> Ready if calls wait, otherwise Idle
///                  ^                  | wrote
///                  |--- answered --- Committing
///                  `--- settled ---- Sealed
/// ```
enum Phase {
    /// Nothing to do. Next: Ready, with the next call.
    Idle,
    /// Waits for a thread. Next: Running.
    Ready,
    /// A thread has the connection. Next: Committing, Ready or Idle.
    Running,
    /// What this call wrote is with the core; if it is committed, the call is answered with this error or none. Next: Ready, when the
    /// core has answered.
    Committing { call: u64, error: Option<DatabaseError> },
    /// What a message wrote, sealed by this call, is with the runner, on its way into the message's commit. Next: Ready, when the
    /// core says what became of it.
    Sealed { call: u64 },
}

struct Call {
    asker: Asker,
    question: DatabaseQuestion,
    bytes: usize,
    /// What it holds until it has run.
    held: Option<Held>,
}

struct Asker {
    engine: Arc<Engine>,
    runner: RunnerId,
    actor: ActorId,
    generation: Generation,
    call: u64,
}

/// One turn of an actor on a thread: what the thread takes from the entry, and gives back but for the call.
struct Job {
    actor: ActorId,
    generation: Generation,
    connection: Option<Connection>,
    message: Message,
    lost: Option<DatabaseError>,
    committed: Option<bool>,
    /// None if the connection is only to be told that it is committed.
    call: Option<Call>,
}

enum Next {
    Run(Box<Job>),
    Close(Box<Entry>),
    Sweep,
    Stop,
}

pub fn run_sql(
    engine: &Arc<Engine>,
    runner: RunnerId,
    actor: ActorId,
    generation: Generation,
    call: u64,
    question: DatabaseQuestion,
) {
    let asker = Asker { engine: engine.clone(), runner, actor, generation, call };
    let bytes = words::question_bytes(&question);
    let call = Call { asker, question, bytes, held: None };
    // The end of a message takes no room, it makes some.
    let held = if call.ends_message() { Ok(None) } else { engine.memory.buffers.hold(bytes).map(Some) };
    match held {
        Ok(held) => engine.databases.queue.enter(Call { held, ..call }),
        Err(error) => call.refuse("busy", failed(error.message)),
    }
}

impl Databases {
    pub fn start(state: State, threads: usize, clock: Clock) -> io::Result<Databases> {
        Databases::start_within(state, threads, clock, CONNECTIONS_MAX * CONNECTION_BYTES)
    }

    /// With so much memory for what connections keep.
    pub fn start_within(state: State, threads: usize, clock: Clock, bytes: usize) -> io::Result<Databases> {
        let inner = Inner {
            actors: HashMap::new(),
            connections_max: (bytes / CONNECTION_BYTES).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX),
            ready: VecDeque::new(),
            waiting_bytes: 0,
            swept: None,
            closing: Vec::new(),
            stopped: false,
        };
        let queue = Queue { inner: Mutex::new(inner), filled: Condvar::new(), time: Arc::new(Time::new(clock)) };
        let queue = Arc::new(queue);
        let spawn = |number| {
            let (queue, state) = (queue.clone(), state.clone());
            thread::Builder::new().name(format!("sql-{number}")).spawn(move || queue.work(&state))
        };
        let threads = (0..threads).map(spawn).collect::<io::Result<Vec<_>>>()?;
        Ok(Databases { queue, threads: Mutex::new(threads) })
    }

    /// No statement runs or is about to.
    pub fn are_idle(&self) -> bool {
        let inner = lock(&self.queue.inner);
        !inner.actors.values().any(|entry| matches!(entry.phase, Phase::Ready | Phase::Running))
    }

    /// The core answers this call: what it wrote, if it wrote, is durable or refused.
    pub fn answered(&self, actor: ActorId, call: u64, result: &Result<DatabaseAnswer, DatabaseError>) {
        let mut inner = lock(&self.queue.inner);
        let Some(entry) = inner.actors.get_mut(&actor) else { return };
        let committed = match &entry.phase {
            Phase::Committing { call: committing, error } if *committing == call => result.as_ref().err() == error.as_ref(),
            // It goes to the runner, unless the core has refused it at once.
            Phase::Sealed { call: sealed } if *sealed == call && result.is_err() => false,
            Phase::Idle | Phase::Ready | Phase::Running | Phase::Committing { .. } | Phase::Sealed { .. } => return,
        };
        entry.committed = Some(committed);
        entry.phase = Phase::Ready;
        self.queue.ready(inner, actor);
    }

    /// What this call sealed is durable, or will not be committed.
    pub fn settled(&self, actor: ActorId, generation: Generation, call: u64, committed: bool) {
        let mut inner = lock(&self.queue.inner);
        let entry = inner.actors.get_mut(&actor).filter(|entry| entry.generation == generation);
        let Some(entry) = entry.filter(|entry| matches!(entry.phase, Phase::Sealed { call: sealed } if sealed == call)) else {
            return;
        };
        entry.committed = Some(committed);
        entry.phase = Phase::Ready;
        self.queue.ready(inner, actor);
    }

    /// The generation is over, and what it had open with it.
    pub fn end(&self, actor: ActorId, generation: Generation) {
        let mut inner = lock(&self.queue.inner);
        if inner.actors.get(&actor).is_none_or(|entry| entry.generation != generation) {
            return;
        }
        let ended = inner.remove(actor);
        // Closing takes a while, and this is not the thread to wait for it.
        if inner.closing.len() < CONNECTIONS_MAX {
            inner.closing.extend(ended);
            drop(inner);
            self.queue.filled.notify_one();
        } else {
            drop(inner);
            ended.into_iter().for_each(Entry::close);
        }
    }

    /// Runs no more statements, cuts short those under way, and closes all connections: then nobody reads any more.
    pub fn stop(&self) {
        self.queue.time.end();
        lock(&self.queue.inner).stopped = true;
        self.queue.filled.notify_all();
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that runs SQL ended by a panic");
            }
        }
        let mut inner = lock(&self.queue.inner);
        let (actors, closing) = (std::mem::take(&mut inner.actors), std::mem::take(&mut inner.closing));
        drop(inner);
        drop((actors, closing));
    }
}

impl Queue {
    fn enter(&self, call: Call) {
        let mut inner = lock(&self.inner);
        let actor = call.asker.actor;
        if call.ends_message() && !inner.actors.contains_key(&actor) {
            // It has run no statement, or none was taken.
            drop(inner);
            return call.asker.answer((Ok(DatabaseAnswer::Unchanged), None));
        }
        let closed = inner.make_room(&call.asker);
        match inner.refusal(&call) {
            None => {
                inner.waiting_bytes += call.bytes;
                let entry = inner.actors.entry(actor).or_insert_with(|| Entry::new(call.asker.generation));
                entry.used = Instant::now();
                entry.calls.push_back(call);
                if matches!(entry.phase, Phase::Idle) {
                    entry.phase = Phase::Ready;
                    self.ready(inner, actor);
                } else {
                    drop(inner);
                }
            }
            Some(error) => {
                drop(inner);
                call.refuse("busy", error);
            }
        }
        // Without the lock: closing takes a while.
        closed.into_iter().for_each(Entry::close);
    }

    fn ready(&self, mut inner: MutexGuard<'_, Inner>, actor: ActorId) {
        inner.ready.push_back(actor);
        drop(inner);
        self.filled.notify_one();
    }

    fn work(&self, state: &State) {
        loop {
            match self.next(Instant::now()) {
                Next::Run(job) => self.run(state, *job),
                Next::Close(entry) => entry.close(),
                Next::Sweep => self.sweep(Instant::now()),
                Next::Stop => return,
            }
        }
    }

    fn next(&self, mut now: Instant) -> Next {
        let mut inner = lock(&self.inner);
        loop {
            if inner.stopped {
                return Next::Stop;
            }
            if !inner.actors.is_empty() && inner.swept.is_none_or(|swept| swept + SWEEP_EVERY <= now) {
                inner.swept = Some(now);
                return Next::Sweep;
            }
            if let Some(entry) = inner.closing.pop() {
                return Next::Close(Box::new(entry));
            }
            while let Some(actor) = inner.ready.pop_front() {
                if let Some(job) = inner.take(actor) {
                    return Next::Run(Box::new(job));
                }
            }
            inner = match inner.actors.is_empty() {
                true => self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner),
                false => self.filled.wait_timeout(inner, SWEEP_EVERY).unwrap_or_else(PoisonError::into_inner).0,
            };
            now = Instant::now();
        }
    }

    fn run(&self, state: &State, mut job: Job) {
        job.refresh();
        let Some(Call { asker, question, held: _held, .. }) = job.call.take() else { return self.give_back(job, None) };
        let ran = job.ask(state, &self.time, question).unwrap_or_else(|error| (Err(error), None));
        let committing = match &ran {
            (_, None) => None,
            (Ok(DatabaseAnswer::Sealed { .. }), Some(_)) => Some(Phase::Sealed { call: asker.call }),
            (result, Some(_)) => Some(Phase::Committing { call: asker.call, error: result.as_ref().err().cloned() }),
        };
        if committing.is_some() {
            // The core's answer may come at once.
            self.give_back(job, committing);
            asker.answer(ran);
        } else {
            // The next statement may be done at once.
            asker.answer(ran);
            self.give_back(job, None);
        }
    }

    fn give_back(&self, job: Job, committing: Option<Phase>) {
        let mut inner = lock(&self.inner);
        let Some(entry) = inner.actors.get_mut(&job.actor).filter(|entry| entry.generation == job.generation) else {
            // Its generation is over. Closing takes a while, and is not for others to wait for.
            drop(inner);
            return drop(job);
        };
        entry.in_transaction = job.connection.as_ref().is_some_and(Connection::in_transaction);
        entry.connection = job.connection;
        entry.message = job.message;
        entry.lost = job.lost;
        entry.used = Instant::now();
        entry.phase = match committing {
            Some(committing) => committing,
            None if entry.calls.is_empty() => Phase::Idle,
            None => Phase::Ready,
        };
        if matches!(entry.phase, Phase::Ready) {
            self.ready(inner, job.actor);
        }
    }

    /// Closes what was not used for long.
    fn sweep(&self, now: Instant) {
        let mut inner = lock(&self.inner);
        let (mut over, mut closed) = (Vec::new(), Vec::new());
        for (actor, entry) in &mut inner.actors {
            let unused = now.saturating_duration_since(entry.used);
            match entry.phase {
                // A message may wait for long between two statements. Its entry stays to its end, so that it learns what it has lost.
                Phase::Idle if entry.message.is_open() && unused >= KEPT_MAX => {
                    entry.message.lose(&format!("there was no statement for {} s", KEPT_MAX.as_secs()));
                    entry.in_transaction = false;
                    closed.extend(entry.connection.take());
                }
                Phase::Idle if !entry.message.is_none() => {}
                Phase::Idle if entry.in_transaction && unused >= IDLE_MAX => {
                    entry.lost = Some(transaction_lost(&format!("there was no statement for {} s", IDLE_MAX.as_secs())));
                    entry.in_transaction = false;
                    closed.extend(entry.connection.take());
                }
                Phase::Idle if entry.lost.is_none() && unused >= IDLE_MAX => over.push(*actor),
                Phase::Idle | Phase::Committing { .. } | Phase::Sealed { .. } if unused >= KEPT_MAX => over.push(*actor),
                Phase::Idle | Phase::Ready | Phase::Running | Phase::Committing { .. } | Phase::Sealed { .. } => {}
            }
        }
        let over: Vec<Entry> = over.into_iter().filter_map(|actor| inner.remove(actor)).collect();
        drop(inner);
        drop(closed);
        over.into_iter().for_each(Entry::close);
    }
}

impl Inner {
    /// Removes what the call takes the place of.
    fn make_room(&mut self, asker: &Asker) -> Option<Entry> {
        match self.actors.get(&asker.actor) {
            // With its generation its connection ends.
            Some(entry) if entry.generation < asker.generation => self.remove(asker.actor),
            Some(_) => None,
            None if self.actors.len() < self.connections_max => None,
            None => {
                let idle = self.actors.iter().filter(|(_, entry)| entry.is_free());
                // Those who have yet to be told that they lost something last.
                let oldest = idle.min_by_key(|(_, entry)| (entry.lost.is_some(), entry.used)).map(|(actor, _)| *actor)?;
                self.remove(oldest)
            }
        }
    }

    fn refusal(&self, call: &Call) -> Option<DatabaseError> {
        if self.waiting_bytes + call.bytes > CALLS_WAITING_BYTES_MAX {
            let message = format!("statements of {CALLS_WAITING_BYTES_MAX} bytes are already waiting; try again in a moment");
            return Some(failed(message));
        }
        match self.actors.get(&call.asker.actor) {
            // What the original says of a generation that is over.
            Some(entry) if entry.generation > call.asker.generation => Some(failed("actor does not exist")),
            Some(entry) if entry.calls.len() >= CALLS_PER_ACTOR_MAX => {
                Some(failed(format!("{CALLS_PER_ACTOR_MAX} statements of the actor are already waiting; wait for their answers")))
            }
            None if self.actors.len() >= self.connections_max => {
                let connections_max = self.connections_max;
                Some(failed(format!("{connections_max} databases are already in use; try again in a moment")))
            }
            Some(_) | None => None,
        }
    }

    fn take(&mut self, actor: ActorId) -> Option<Job> {
        let entry = self.actors.get_mut(&actor).filter(|entry| matches!(entry.phase, Phase::Ready))?;
        entry.phase = Phase::Running;
        let call = entry.calls.pop_front();
        self.waiting_bytes -= call.as_ref().map_or(0, |call| call.bytes);
        let (connection, message) = (entry.connection.take(), std::mem::take(&mut entry.message));
        let (lost, committed) = (entry.lost.take(), entry.committed.take());
        Some(Job { actor, generation: entry.generation, connection, message, lost, committed, call })
    }

    fn remove(&mut self, actor: ActorId) -> Option<Entry> {
        let entry = self.actors.remove(&actor)?;
        self.waiting_bytes -= entry.calls.iter().map(|call| call.bytes).sum::<usize>();
        Some(entry)
    }
}

impl Entry {
    fn new(generation: Generation) -> Entry {
        Entry {
            generation,
            phase: Phase::Idle,
            connection: None,
            in_transaction: false,
            message: Message::None,
            lost: None,
            committed: None,
            calls: VecDeque::new(),
            used: Instant::now(),
        }
    }

    /// Nothing is lost with it but time.
    fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Idle) && !self.in_transaction && self.message.is_none()
    }

    fn close(self) {
        for call in self.calls {
            call.refuse("aborted", failed("the connection to the database was closed before the statement ran"));
        }
    }
}

impl Call {
    fn ends_message(&self) -> bool {
        matches!(&self.question, DatabaseQuestion::Message { step: MessageStep::Seal | MessageStep::RollBack, .. })
    }

    /// It will not be run. Messages of components have codes of their own.
    fn refuse(self, code: &'static str, error: DatabaseError) {
        let error = match self.question {
            DatabaseQuestion::Message { .. } => words::message_failed(code, error.message),
            _ => error,
        };
        self.asker.answer((Err(error), None));
    }
}

impl Job {
    /// Closes the connection if it does not stand on what is on disk.
    fn refresh(&mut self) {
        let Some(open) = &mut self.connection else { return };
        let refreshed = match self.committed.take() {
            Some(false) => Err(transaction_lost("what the statements before it wrote was refused")),
            Some(true) => open.refresh(true),
            None => open.refresh(false),
        };
        if let Err(error) = refreshed {
            self.lost = open.in_transaction().then_some(error);
            self.connection = None;
        }
    }

    /// `Err`: nothing is to be committed, and there is no connection any more.
    fn ask(&mut self, state: &State, time: &Arc<Time>, question: DatabaseQuestion) -> Result<Ran, DatabaseError> {
        let connection = self.connection.take();
        let lost = self.lost.take();
        if let DatabaseQuestion::Message { step, .. } = question {
            self.connection = connection;
            if let Some(error) = lost {
                self.message.lose(&error.message);
            }
            return Ok(self.message.step(step, &mut self.connection, || Connection::open(state, self.actor, time)));
        }
        if let Some(error) = lost {
            return Err(error);
        }
        let mut open = match connection {
            Some(open) => open,
            None => Connection::open(state, self.actor, time)?,
        };
        let ran = open.run(question)?;
        self.connection = Some(open);
        Ok(ran)
    }
}

impl Asker {
    fn answer(self, (result, changes): Ran) {
        let Asker { engine, runner, actor, generation, call } = self;
        engine.inbox.push(Input::SqlRan { runner, actor, generation, call, result, changes });
    }
}

#[cfg(test)]
impl Databases {
    pub fn sweep(&self, after: Duration) {
        self.queue.sweep(Instant::now() + after);
    }

    /// Threads have nothing to do until there is another call or answer.
    pub fn rests(&self) -> bool {
        let busy = |entry: &Entry| matches!(entry.phase, Phase::Ready | Phase::Running);
        !lock(&self.queue.inner).actors.values().any(busy)
    }

    pub fn is_running(&self, actor: ActorId) -> bool {
        lock(&self.queue.inner).actors.get(&actor).is_some_and(|entry| matches!(entry.phase, Phase::Running))
    }

    pub fn connections(&self) -> usize {
        lock(&self.queue.inner).actors.values().filter(|entry| entry.connection.is_some()).count()
    }
}
