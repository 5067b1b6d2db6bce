//! Calls from actor to actor: requests like others, made in the name of an actor that waits for the answer.
//!
//! An actor handles no other message while it waits, so a circle of waiting actors would wait until their time is up: whoever would close
//! it is refused. Who waits for whom is in [`Actor::calling`], from when it is known who is called until the request is over or the
//! caller's generation is. An actor waits for one call at a time; with the next one it has given up the one before.
//!
//! Actors on runners without components have no entry: several requests run in them at one time, and what they call is not known here.

use std::collections::BTreeSet;

use protocol::id::{ActorId, Generation, NamespaceId, RequestId, RunnerId};
use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};

use crate::action::Action;
use crate::core::Core;
use crate::input::{Callee, KeyRef, RequestKind};
use crate::life::{Actor, Life};
use crate::refusal::Refusal;
use crate::requests::{KeyWaiter, Wish};

/// In whose name a request is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Caller {
    pub actor: ActorId,
    pub namespace: NamespaceId,
}

/// What an actor waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Calling {
    pub request: RequestId,
    /// None while it is being read who has the key.
    pub target: Option<ActorId>,
}

impl Core {
    pub(crate) fn actor_calls(
        &mut self,
        request: RequestId,
        runner: RunnerId,
        id: ActorId,
        generation: Generation,
        callee: Callee,
    ) {
        let current = self.actors.get_mut(&id).filter(|actor| actor.record.generation == generation && actor.on() == Some(runner));
        let Some(actor) = current else {
            // Its runner knows, or is about to hear.
            return self.act(Action::Refuse { request, refusal: Refusal::ActorNotFound });
        };
        let namespace = actor.record.namespace;
        let given_up = actor.calling.replace(Calling { request, target: None });
        if let Some(Calling { request, .. }) = given_up {
            self.abandon(request);
        }
        let wish = Wish {
            kind: RequestKind::Http,
            skip_ready_wait: false,
            caller: Some(Caller { actor: id, namespace }),
            counted: true,
            within: None,
        };
        match callee {
            Callee::Id(actor) => self.request_actor(request, wish, actor, self.now_ms),
            Callee::Key { name, key, create } => {
                let waiter = KeyWaiter::Request { request, wish, arrived_ms: self.now_ms, create };
                let named = self.namespaces.values().find(|record| record.id == namespace).map(|record| record.name.clone());
                let key = KeyRef { namespace, name, key };
                if let Err(refusal) = self.request_key(waiter, &named.unwrap_or_default(), key) {
                    self.turn_away(request, wish, refusal);
                }
            }
        }
    }

    /// It is known which actor the request is for. From here on its caller, if it has one, waits for that.
    pub(crate) fn may_wait_for(&mut self, request: RequestId, wish: Wish, id: ActorId) -> Result<(), Refusal> {
        let known = self.actors.get(&id).filter(|actor| actor.life != Life::Loading);
        if let Some(stranger) = known.and_then(|actor| wish.is_strange_in(actor.record.namespace)) {
            return Err(stranger);
        }
        let Some(caller) = wish.caller else { return Ok(()) };
        if let Some(circle) = self.circle(caller.actor, id) {
            return Err(Refusal::CallCycle { circle });
        }
        let calling = self.actors.get_mut(&caller.actor).and_then(|actor| actor.calling.as_mut());
        if let Some(calling) = calling.filter(|calling| calling.request == request) {
            calling.target = Some(id);
        }
        Ok(())
    }

    /// Who has made this request does not wait for it any more.
    pub(crate) fn abandon(&mut self, request: RequestId) {
        self.request_over(request);
        self.act(Action::Abandon { request });
    }

    /// The request is over, or never began.
    pub(crate) fn waits_no_more(&mut self, request: RequestId, wish: Wish) {
        let caller = wish.caller.and_then(|caller| self.actors.get_mut(&caller.actor));
        if let Some(actor) = caller.filter(|actor| actor.calling.is_some_and(|calling| calling.request == request)) {
            actor.calling = None;
        }
    }

    /// Those that may wait for an actor of this namespace; the others learn that there is none.
    pub(crate) fn without_strangers(&mut self, waiting: BTreeSet<RequestId>, namespace: NamespaceId) -> BTreeSet<RequestId> {
        let refusal = |request: &RequestId| self.requests.get(request).and_then(|entry| entry.wish.is_strange_in(namespace));
        let strangers: Vec<(RequestId, Refusal)> =
            waiting.iter().filter_map(|request| Some((*request, refusal(request)?))).collect();
        let mut own = waiting;
        for (request, refusal) in strangers {
            own.remove(&request);
            self.refuse(request, refusal);
        }
        own
    }

    /// Everyone from the caller round to the caller again, if whom it calls waits for it.
    fn circle(&self, caller: ActorId, target: ActorId) -> Option<String> {
        let (mut circle, mut at) = (vec![caller], target);
        // Ends, because a circle without the caller in it would have been refused when it was closed.
        while at != caller {
            circle.push(at);
            at = self.actors.get(&at)?.calling?.target?;
        }
        circle.push(caller);
        let name = |id: &ActorId| self.actors.get(id).map_or_else(|| id.to_string(), Actor::shown);
        Some(cut(circle.iter().map(name).collect::<Vec<_>>().join(" -> "), FAILURE_TEXT_BYTES_MAX))
    }
}

impl Wish {
    /// Why it cannot be for an actor of this namespace.
    fn is_strange_in(&self, namespace: NamespaceId) -> Option<Refusal> {
        match (self.caller, self.within) {
            (Some(caller), _) if caller.namespace != namespace => Some(Refusal::ActorNotFound),
            (_, Some(within)) if within != namespace => Some(Refusal::NotYours),
            _ => None,
        }
    }
}

impl Actor {
    /// For people.
    fn shown(&self) -> String {
        match &self.record.key {
            Some(key) => format!("{}/{key} ({})", self.record.name, self.record.id),
            None => format!("{} ({})", self.record.name, self.record.id),
        }
    }
}
