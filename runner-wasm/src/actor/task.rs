//! The life of one actor in memory, from its start to its `Stopped`.
//!
//! ```text
//! component ready -> admitted -> instance -> start handler -> Running -> messages -> stop handler -> settled -> Stopped(Ok)
//!        |             |            |             |                          | a trap
//!        +-------------+------------+-------------+--------------------------+--> settled -> Stopped(Error)
//! between instance and start handler, if another version wrote its state: migrate handler; refused or trapped: NotMigrated
//! given up by the engine, at any moment: everything is dropped, nothing is said
//! ```
//!
//! Settled: every commit is confirmed and every answer has left. Before `Stopped`, requests that were never begun go back to
//! the engine, which gives them to the next generation.

use std::sync::Arc;
use std::time::Duration;

use protocol::clock::Hold;
use protocol::limits::{FAILURE_TEXT_BYTES_MAX, KV_LIST_ENTRIES_MAX, cut};
use protocol::message::{Event, Failure, FailureKind, FromRunner, KvSpace, Outcome};
use protocol::trace::{self, Followed};

use super::instance::Turn;
use super::{Actor, Instance, Mail, lock};
use crate::agenda::{Agenda, records};
use crate::component::Prepared;
use crate::config::STACK_REST_MS;

pub async fn run(actor: Arc<Actor>) {
    let hold = actor.shared.clock.hold();
    let life = async {
        let outcome = match begin(&actor).await {
            Ok(mut instance) => match instance.migrate().await {
                Ok(()) => match instance.start().await {
                    Ok(()) => outcome_of(serve(&actor, instance, &hold).await),
                    Err(failure) => not_started(failure),
                },
                Err(failure) if failure.kind == FailureKind::NoRoom => not_started(failure),
                Err(failure) => Outcome::NotMigrated(cut(failure.message, FAILURE_TEXT_BYTES_MAX)),
            },
            Err(failure) => not_started(failure),
        };
        end_of(&actor, outcome).await;
    };
    let _guard = Guard(&actor);
    // Once for its whole life; what follows a message takes the place of what followed the one before.
    let life = trace::follow(Followed::default(), life);
    tokio::select! {
        biased;
        () = actor.lost.notified() => vanish(&actor),
        () = life => {}
    }
}

/// A panic here is a bug of ours. The engine must learn that the actor is gone all the same.
struct Guard<'a>(&'a Arc<Actor>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            vanish(self.0);
            // If it was the engine's own panic, this is one more, and two at a time would end the process.
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.0.event(Event::Stopped(Outcome::Error(Some("the runner failed; see the engine's log".to_string()))))
            }));
            if told.is_err() {
                tracing::error!(actor = %self.0.id, "the engine could not be told that an actor has failed");
            }
        }
    }
}

/// Nothing of the actor has run before this has ended well.
async fn begin(actor: &Arc<Actor>) -> Result<Instance, Failure> {
    let prepared = component(actor).await?;
    let place = actor.shared.room.admit(prepared.mappings).await?;
    load_agenda(actor).await?;
    let mut instance = Instance::new(actor, prepared, place).await?;
    instance.restore_sockets().await?;
    Ok(instance)
}

async fn serve(actor: &Arc<Actor>, mut instance: Instance, hold: &Hold) -> Result<(), Failure> {
    actor.settle().await;
    actor.event(Event::Running);
    let mut queue_was_last = false;
    loop {
        actor.flush_log();
        actor.tell_wishes();
        actor.room_for_message().await;
        // While both wait, the mailbox and the queue take turns.
        let mail = match instance.queue_is_ready() {
            true if queue_was_last => waiting_mail(actor),
            true => None,
            false => Some(next_mail(actor, hold).await),
        };
        queue_was_last = mail.is_none();
        lock(&actor.log).begin();
        let turn = match mail {
            Some(mail) => instance.take(mail).await?,
            None => instance.serve_queue(None).await.map(|()| Turn::Next)?,
        };
        match turn {
            Turn::Next => {}
            Turn::Stopped => return Ok(()),
        }
    }
}

/// What is on the actor's agenda. Nothing, if the engine has no alarm: then it need not be asked.
async fn load_agenda(actor: &Arc<Actor>) -> Result<(), Failure> {
    if actor.start.alarm_ms.is_none() {
        return Ok(());
    }
    let failed = |what: &str| Failure { kind: FailureKind::StartFailed, message: format!("its agenda cannot be read: {what}") };
    let stored = actor.list(KvSpace::Runner, records::agenda(), false, KV_LIST_ENTRIES_MAX, false).await;
    let stored = stored.map_err(|refusal| failed(refusal.text()))?;
    let agenda = Agenda::new(actor.generation, actor.start.alarm_ms, &stored);
    let agenda = agenda.map_err(|key| failed(&format!("the entry {key:?} is damaged, or of another version of the engine")))?;
    actor.books().state.load(agenda);
    Ok(())
}

async fn component(actor: &Arc<Actor>) -> Result<Arc<Prepared>, Failure> {
    let failed = |message: String| Failure { kind: FailureKind::StartFailed, message };
    let hash = actor
        .start
        .component
        .as_ref()
        .map(|deployed| deployed.component)
        .ok_or_else(|| failed("no component is deployed under this actor's name".to_string()))?;
    if let Some(prepared) = actor.shared.components.ready(hash) {
        return Ok(prepared);
    }
    tracing::info!(%hash, actor = %actor.id, "an actor starts whose component is not in memory");
    let prepared = actor.shared.components.prepare(hash).await;
    prepared.map_err(|refusal| failed(format!("its component cannot be run: {}", refusal.message)))
}

/// The end of a socket does not stand in line: what is behind it may be about a new one.
fn waiting_mail(actor: &Actor) -> Option<Mail> {
    let ended = actor.books().sockets.next_ended();
    if let Some(ended) = ended {
        return Some(Mail::SocketEnded(ended));
    }
    let (mail, waited) = lock(&actor.mailbox).pop()?;
    actor.shared.mailbox_waits.count(waited);
    Some(mail)
}

async fn next_mail(actor: &Actor, hold: &Hold) -> Mail {
    if let Some(mail) = waiting_mail(actor) {
        return mail;
    }
    let now = actor.shared.clock.passed();
    let idle_at = actor.idle_at(now);
    actor.rest.idle(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
    let mut told = false;
    // Given time is that of actors, and this is about the machine.
    let mut put_away_at = Some(now + Duration::from_millis(STACK_REST_MS)).filter(|_| !actor.shared.clock.is_given());
    loop {
        if let Some(mail) = waiting_mail(actor) {
            actor.rest.end(matches!(mail, Mail::Stop(_)));
            return mail;
        }
        if !told && actor.rest.wishes() {
            told = true;
            actor.event(Event::SleepIntent);
        }
        let put_away_first = put_away_at.filter(|at| *at < idle_at);
        let _paused = hold.pause();
        tokio::select! {
            biased;
            () = actor.arrived.notified() => {}
            () = actor.shared.clock.until(put_away_first.unwrap_or(idle_at)), if !told => match put_away_first {
                Some(_) => {
                    actor.stack.put_away();
                    put_away_at = None;
                }
                None => actor.rest.wish(),
            },
        }
    }
}

/// Want of room, also of memory while its handlers ran, is no fault of the actor's: it goes on sleeping.
fn not_started(failure: Failure) -> Outcome {
    match failure.kind {
        FailureKind::NoRoom => Outcome::NoRoom(cut(failure.message, FAILURE_TEXT_BYTES_MAX)),
        _ => outcome_of(Err(failure)),
    }
}

fn outcome_of(end: Result<(), Failure>) -> Outcome {
    match end {
        Ok(()) => Outcome::Ok,
        Err(failure) => Outcome::Error(Some(cut(failure.message, FAILURE_TEXT_BYTES_MAX))),
    }
}

async fn end_of(actor: &Arc<Actor>, outcome: Outcome) {
    // Its place is free.
    actor.rest.end(false);
    actor.flush_log();
    actor.settle().await;
    lock(&actor.completions).clear();
    let never_begun = lock(&actor.mailbox).close();
    for request in never_begun.requests {
        request.route.return_to_engine();
    }
    for request in never_begun.sockets {
        actor.forget_socket(request);
        actor.send(FromRunner::RequestReturned { request });
    }
    // Out of the maps first: the engine may start the next generation before its `send` returns.
    actor.shared.forget(actor);
    actor.event(Event::Stopped(outcome));
}

fn vanish(actor: &Arc<Actor>) {
    for request in lock(&actor.mailbox).close().sockets {
        actor.forget_socket(request);
    }
    actor.books().gate.take_held();
    lock(&actor.completions).clear();
    actor.shared.routes.forget_actor(actor.id, actor.generation);
    actor.shared.forget(actor);
}
