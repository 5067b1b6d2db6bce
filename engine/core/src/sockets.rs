//! Clients' sockets that outlive a generation of their actor.
//!
//! A socket is a request that stays. One whose actor said that it can hibernate is kept when the generation ends: the client notices
//! nothing. What the client sends wakes the actor, and the next generation goes on with the socket where the last one was.

use std::collections::BTreeSet;

use protocol::id::{ActorId, RequestId};

use crate::action::Action;
use crate::core::Core;
use crate::input::RequestKind;
use crate::life::Life;
use crate::record::After;
use crate::requests::Request;

impl Core {
    pub(crate) fn socket_opened(&mut self, request: RequestId, can_hibernate: bool) {
        let taken = |entry: &&mut Request| entry.wish.kind == RequestKind::Socket && entry.sent.is_some();
        let Some(entry) = self.requests.get_mut(&request).filter(taken) else { return };
        entry.can_hibernate = can_hibernate;
        let life = self.actors.get(&entry.actor).map(|actor| actor.life);
        // It was told to stop while this was on its way.
        if can_hibernate && matches!(life, Some(Life::Stopping { after, .. }) if after != After::Destroy) {
            self.act(Action::HoldBack { request });
        }
    }

    pub(crate) fn socket_wakes(&mut self, request: RequestId) {
        let Some(id) = self.requests.get(&request).map(|entry| entry.actor) else { return };
        let Some(actor) = self.actors.get_mut(&id) else { return };
        match actor.life {
            // It goes on with it as soon as it runs, or does already.
            Life::Running { .. } => {}
            _ => {
                actor.socket_wakes = true;
                match actor.on() {
                    Some(on) => self.wanted_while_away(on),
                    None => self.wake(id),
                }
            }
        }
    }

    /// The actor is told to stop and will go on later. What it is sent meanwhile may be lost: RivetKit acks messages whose handlers
    /// do not come to an end any more, and closes the socket when the next generation gets the one after.
    pub(crate) fn hold_sockets_back(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get(&id) else { return };
        let can_wait = |request: &&RequestId| self.requests.get(*request).is_some_and(|entry| entry.can_hibernate);
        let sockets: Vec<RequestId> = actor.dispatched.iter().filter(can_wait).copied().collect();
        for request in sockets {
            self.act(Action::HoldBack { request });
        }
    }

    /// Of the requests that a generation leaves behind, the sockets that can wait for the next one wait; the others are returned.
    pub(crate) fn keep_sockets(&mut self, id: ActorId, open: BTreeSet<RequestId>) -> BTreeSet<RequestId> {
        let can_wait = |request: &RequestId| self.requests.get(request).is_some_and(|entry| entry.can_hibernate);
        let (kept, rest): (BTreeSet<RequestId>, _) = open.into_iter().partition(can_wait);
        for request in &kept {
            if let Some(entry) = self.requests.get_mut(request) {
                entry.sent = None;
            }
            self.act(Action::Hibernate { request: *request });
        }
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.hibernating.extend(kept);
        }
        rest
    }

    /// The actor runs again: its sockets go on.
    pub(crate) fn resume_sockets(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Life::Running { on } = actor.life else { return };
        actor.socket_wakes = false;
        let sockets = std::mem::take(&mut actor.hibernating);
        actor.dispatched.extend(&sockets);
        let generation = actor.record.generation;
        for request in sockets {
            if let Some(entry) = self.requests.get_mut(&request) {
                entry.sent = Some((on, generation));
            }
            self.act(Action::Dispatch { request, runner: on, actor: id, generation });
        }
    }
}
