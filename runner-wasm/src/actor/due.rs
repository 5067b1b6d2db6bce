//! What an actor does by itself: its alarm, its schedules, its queue.
//!
//! Each is a message that, when it has succeeded, takes what it was about off the [agenda](crate::agenda) in its own transaction.
//! When it has failed it has written nothing, and a commit of its own says when it comes again; also if it has ended the guest, so
//! that an actor that crashes over its queue does not do so all the time.

use protocol::component::Handler;
use protocol::message::{Failure, FailureKind, LogLevel};

use super::{Actor, Fired, Held, Instance, lock};
use crate::agenda::records::QueueMessage;
use crate::agenda::{Agenda, Alarm, Item};
use crate::bindings::exports::rivet::actor::action_handler::{Origin, Scheduled};
use crate::bindings::exports::rivet::actor::queue_handler::Queued;
use crate::state::AlarmEnd;

impl Instance {
    /// The engine's alarm, which was the earliest of the agenda when it was set.
    pub(super) async fn alarm(&mut self, scheduled_ms: u64, attempt: u32) -> Result<(), Failure> {
        let earliest = self.actor.books().state.agenda().earliest();
        let fired = Fired { scheduled_ms, end: AlarmEnd::Done };
        match earliest {
            Some((at_ms, item)) if at_ms == scheduled_ms => match item {
                Item::Alarm => self.own_alarm(fired, attempt).await,
                Item::Queue => self.serve_queue(Some(fired)).await,
                Item::Schedule(id) => self.schedule(fired, id).await,
            },
            // It has been set to another moment, or cleared, since the engine sent this.
            _ => Ok(()),
        }
    }

    async fn own_alarm(&mut self, fired: Fired, attempt: u32) -> Result<(), Failure> {
        let (alarm, is_alone) = {
            let books = self.actor.books();
            (books.state.agenda().alarm(), books.state.agenda().is_alarm_only())
        };
        let Some(Alarm { at_ms, failed }) = alarm else { return Ok(()) };
        let attempt = failed.map_or(attempt, |retry| retry.failures.saturating_add(1));
        if !self.has(Handler::Alarm) {
            self.actor.log(LogLevel::Warn, "the alarm went off, and the component has no alarm-handler".to_string());
            self.actor.books().state.begin_alarm();
            return self.actor.commit_fired(Some(fired)).await;
        }
        let called = self.call_alarm(at_ms, attempt).await;
        let ended = match self.end(called, Some(fired), &format!("the alarm handler refused, attempt {attempt}")).await {
            None => return Ok(()),
            Some(ended) => ended,
        };
        match (is_alone, ended) {
            // The engine's own business: it counts how often, and waits.
            (true, Ok(())) => self.actor.commit_fired(Some(Fired { end: AlarmEnd::Failed, ..fired })).await,
            (true, Err(failure)) => Err(failure),
            (false, ended) => self.again(&Item::Alarm, Some(fired), ended).await,
        }
    }

    async fn schedule(&mut self, fired: Fired, id: String) -> Result<(), Failure> {
        let Some(schedule) = self.actor.books().state.agenda().schedule(&id).cloned() else { return Ok(()) };
        let item = Item::Schedule(id.clone());
        let attempt = schedule.failed.map_or(1, |retry| retry.failures.saturating_add(1));
        let what = format!("the action {} of the schedule {id}", schedule.action);
        let called = if self.has(Handler::Action) {
            let origin = Origin::Schedule(Scheduled { id: id.clone(), at: schedule.at_ms, attempt });
            self.call_action(schedule.action.clone(), schedule.args.clone(), origin).await.map_err(Failure::from)
        } else {
            self.actor.log(LogLevel::Warn, format!("{what} was due, and the component has no action-handler"));
            self.actor.books().state.begin();
            Ok(Ok(String::new()))
        };
        if matches!(called, Ok(Ok(_))) {
            let mut books = self.actor.books();
            // The guest may have cancelled or replaced it meanwhile.
            if books.state.agenda().schedule(&id).is_some_and(|now| std::sync::Arc::ptr_eq(now, &schedule)) {
                books.state.agenda_mut().done(&item, self.actor.shared.clock.now_ms());
            }
        }
        let called = called.map(|result| result.map(drop).map_err(|refused| format!("{}: {}", refused.code, refused.message)));
        match self.end(called, Some(fired), &format!("{what} refused, attempt {attempt}")).await {
            None => Ok(()),
            Some(ended) => self.again(&item, Some(fired), ended).await,
        }
    }

    /// Whether a message of the queue can be handed over now, without an alarm.
    pub fn queue_is_ready(&self) -> bool {
        let waits = self.actor.books().state.agenda().queue().is_some_and(|retry| retry.failures == 0);
        waits && self.has(Handler::Queue)
    }

    /// Hands the first message of the queue to the guest.
    pub async fn serve_queue(&mut self, fired: Option<Fired>) -> Result<(), Failure> {
        let failures = self.actor.books().state.agenda().queue().map_or(0, |retry| retry.failures);
        let first = self.actor.first_queued().await;
        let first = first.map_err(|refusal| Failure { kind: FailureKind::Internal, message: refusal.text().to_string() })?;
        let Some((number, message)) = first else {
            self.actor.change_agenda(|agenda| agenda.done(&Item::Queue, self.actor.shared.clock.now_ms()));
            return self.actor.commit_fired(fired).await;
        };
        if !self.has(Handler::Queue) {
            self.actor.log(LogLevel::Warn, "messages wait in the queue, and the component has no queue-handler".to_string());
            return self.again(&Item::Queue, fired, Ok(())).await;
        }
        let attempt = failures.saturating_add(1);
        // What an alarm has woken is followed already.
        let span = fired.is_none().then(|| self.actor.follow_queued(number, attempt));
        let handed = self.hand_over(number, message, attempt, fired).await;
        if let Some(span) = span {
            self.actor.leave(span, handed.as_ref().map(drop));
        }
        handed
    }

    async fn hand_over(&mut self, number: u64, message: QueueMessage, attempt: u32, fired: Option<Fired>) -> Result<(), Failure> {
        let bytes = message.bytes();
        let refused = format!("the queue handler refused message {number} of {}, attempt {attempt}", message.name);
        let queued = Queued { id: number, name: message.name, body: message.body, queued_at: message.queued_ms, attempt };
        let mut answer = None;
        let mut called = match self.call_queue(queued).await {
            Ok(Ok(said)) => {
                answer = said;
                Ok(Ok(()))
            }
            Ok(Err(refused)) => Ok(Err(format!("{}: {}", refused.code, refused.message))),
            Err(failure) => Err(failure),
        };
        if let Ok(Ok(())) = called {
            let dequeued = self.actor.dequeue(bytes, fired.is_some()).await;
            called = Ok(dequeued.map_err(|refusal| refusal.text().to_string()));
        }
        match self.end(called, fired, &refused).await {
            None => {
                self.actor.complete(number, answer);
                Ok(())
            }
            Some(ended) => self.again(&Item::Queue, fired, ended).await,
        }
    }

    /// Commits what has succeeded. For what has not, whether the guest lives on: it has written nothing.
    async fn end(
        &mut self,
        called: Result<Result<(), String>, Failure>,
        fired: Option<Fired>,
        refused: &str,
    ) -> Option<Result<(), Failure>> {
        match called {
            Ok(Ok(())) => self.actor.commit_fired(fired).await.err().map(Err),
            Ok(Err(text)) => {
                self.actor.log(LogLevel::Error, format!("{refused}: {text}"));
                self.actor.drop_writes();
                Some(Ok(()))
            }
            Err(failure) => Some(Err(failure)),
        }
    }

    async fn again(&mut self, item: &Item, fired: Option<Fired>, ended: Result<(), Failure>) -> Result<(), Failure> {
        self.actor.change_agenda(|agenda| agenda.failed(item, self.actor.shared.clock.now_ms()));
        self.actor.commit_fired(fired).await?;
        ended
    }
}

impl Actor {
    /// Begins a message that is only about the agenda.
    fn change_agenda(&self, change: impl FnOnce(&mut Agenda)) {
        let mut books = self.books();
        books.state.begin();
        change(books.state.agenda_mut());
    }

    /// Tells who waits for this message of the queue, once it is durable that it is gone.
    fn complete(&self, number: u64, answer: Option<String>) {
        let waiting = lock(&self.completions).remove(&number);
        if let Some(tell) = waiting {
            self.say(Held::Completed(tell, answer));
        }
    }
}
