//! How many actors of a deployment, and of a namespace, may be awake at one time.
//!
//! One that wants to start when there are as many already waits for a place; meanwhile the actor that was used least lately, of those
//! that have nothing to do, is asked to sleep. A runner of components knows better than the core what its guests do, so it is asked
//! ([`ToRunner::AskToSleep`]) and the next one is looked for if nothing comes of it; others are told. Whoever finds no place in
//! [`WAIT_MS`] is refused, and goes on sleeping.
//!
//! Whom nothing but its alarm wakes waits aside, asleep and out of memory, for as long as it takes: ten thousand alarms of a
//! deployment that may have ten awake must neither be in memory all at once nor hold up the alarms of others.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{ActorId, NamespaceId};
use protocol::message::{StopReason, ToRunner};

use crate::action::Action;
use crate::core::{ALARM_WAKES_IN_FLIGHT_MAX, ActorThen, Core};
use crate::input::{CallId, RequestKind};
use crate::life::Life;
use crate::record::{ActorError, ActorRecord, After, Change, CrashPolicy};
use crate::refusal::Refusal;

/// How long one waits for a place. As the engine's own runner does for a place in memory.
pub const WAIT_MS: u64 = 2_000;
/// How often who waits has others asked to sleep.
const LOOK_MS: u64 = 50;
/// How long one that was asked has to say that it goes, before somebody else is asked instead.
const LEAVE_MS: u64 = 250;

/// Alarms of one circle that wait aside, 32 bytes each; those beyond are put off, as if their handlers had failed.
const ALARMS_ASIDE_MAX: usize = 16_384;

/// Those that share a limit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Circle {
    Deployment(NamespaceId, String),
    Namespace(NamespaceId),
}

/// Who is awake, and who waits for a place.
#[derive(Default)]
pub(crate) struct Awake {
    /// On a runner, or called for; by namespace and name.
    actors: BTreeMap<NamespaceId, BTreeMap<String, BTreeSet<ActorId>>>,
    crowds: BTreeMap<Circle, Crowd>,
    /// Where each of those that wait is to be found: they come and go one by one, and a crowd may have thousands.
    waiting: BTreeMap<ActorId, (Circle, u64)>,
}

#[derive(Default)]
struct Crowd {
    /// By the moment from which they wait.
    waiting: BTreeSet<(u64, ActorId)>,
    /// Asleep, and their alarms were due at that moment. Hints, as all alarms in memory: their records say what is true.
    aside: BTreeSet<(u64, ActorId)>,
    /// Taken from those for a free place; while one is being read it is not yet among the awake.
    rung: BTreeSet<ActorId>,
    /// The last place went to one that waits, so that the next is for one aside: neither waits for the end of the others.
    aside_next: bool,
    look_ms: u64,
}

impl Crowd {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.aside.is_empty()
    }
}

/// Whose turn it is.
enum Next {
    Waits(ActorId),
    Aside(ActorId),
}

impl Awake {
    pub fn enter(&mut self, record: &ActorRecord) {
        self.actors.entry(record.namespace).or_default().entry(record.name.clone()).or_default().insert(record.id);
    }

    pub fn leave(&mut self, record: &ActorRecord) {
        let Some(names) = self.actors.get_mut(&record.namespace) else { return };
        let Some(ids) = names.get_mut(&record.name) else { return };
        ids.remove(&record.id);
        if ids.is_empty() {
            names.remove(&record.name);
        }
        if names.is_empty() {
            self.actors.remove(&record.namespace);
        }
    }

    pub fn count(&self, circle: &Circle) -> u64 {
        let count = match circle {
            Circle::Deployment(namespace, name) => {
                self.actors.get(namespace).and_then(|names| names.get(name)).map_or(0, BTreeSet::len)
            }
            Circle::Namespace(namespace) => self.actors.get(namespace).map_or(0, |names| names.values().map(BTreeSet::len).sum()),
        };
        count as u64
    }

    pub fn ids(&self) -> impl Iterator<Item = ActorId> {
        self.actors.values().flat_map(BTreeMap::values).flatten().copied()
    }

    fn members(&self, circle: &Circle) -> Vec<ActorId> {
        match circle {
            Circle::Deployment(namespace, name) => {
                self.actors.get(namespace).and_then(|names| names.get(name)).into_iter().flatten().copied().collect()
            }
            Circle::Namespace(namespace) => {
                self.actors.get(namespace).into_iter().flat_map(BTreeMap::values).flatten().copied().collect()
            }
        }
    }

    pub fn waiting(&self) -> impl Iterator<Item = ActorId> {
        self.crowds.values().flat_map(|crowd| &crowd.waiting).map(|(_, id)| *id)
    }

    /// The same, from the other side.
    pub fn found(&self) -> impl Iterator<Item = ActorId> {
        self.waiting.keys().copied()
    }

    /// It waits from this moment on, here and nowhere else.
    fn wait(&mut self, id: ActorId, circle: Circle, since_ms: u64) {
        self.forget(id);
        self.crowds.entry(circle.clone()).or_default().waiting.insert((since_ms, id));
        self.waiting.insert(id, (circle, since_ms));
    }

    /// Its alarm is due, and it goes on sleeping. False if there are too many of these.
    fn wait_aside(&mut self, id: ActorId, circle: Circle, fire_ms: u64, now_ms: u64) -> bool {
        let crowd = self.crowds.entry(circle).or_insert_with(|| Crowd { look_ms: now_ms + LOOK_MS, ..Crowd::default() });
        let has_room = crowd.aside.len() < ALARMS_ASIDE_MAX;
        if has_room {
            crowd.aside.insert((fire_ms, id));
        }
        has_room
    }

    /// Who has waited longest, and waits no more.
    fn pop(&mut self, circle: &Circle, may_ring: bool) -> Option<Next> {
        let crowd = self.crowds.get_mut(circle)?;
        let aside = may_ring && !crowd.aside.is_empty() && (crowd.aside_next || crowd.waiting.is_empty());
        crowd.aside_next = !aside;
        let (from, next): (_, fn(ActorId) -> Next) = match aside {
            true => (&mut crowd.aside, Next::Aside),
            false => (&mut crowd.waiting, Next::Waits),
        };
        let (_, id) = from.pop_first()?;
        if !aside {
            self.waiting.remove(&id);
        }
        Some(next(id))
    }

    pub fn next_ms(&self) -> Option<u64> {
        self.crowds.values().map(|crowd| crowd.look_ms).min()
    }

    pub fn forget(&mut self, id: ActorId) {
        let Some((circle, since_ms)) = self.waiting.remove(&id) else { return };
        let Some(crowd) = self.crowds.get_mut(&circle) else { return };
        crowd.waiting.remove(&(since_ms, id));
        if crowd.is_empty() {
            self.crowds.remove(&circle);
        }
    }
}

impl Core {
    /// The limit that one more awake actor like this would break.
    pub(crate) fn crowded(&self, record: &ActorRecord) -> Option<Circle> {
        let circles = [Circle::Deployment(record.namespace, record.name.clone()), Circle::Namespace(record.namespace)];
        circles.into_iter().find(|circle| self.awake_limit(circle).is_some_and(|limit| self.awake.count(circle) >= limit))
    }

    /// Of a deployment the live version says it, so that a canary does not have a limit of its own.
    fn awake_limit(&self, circle: &Circle) -> Option<u64> {
        match circle {
            Circle::Deployment(namespace, name) => {
                let deployment = self.deployment(*namespace, name)?;
                deployment.live_version().settings.limits.awake.map(u64::from)
            }
            Circle::Namespace(namespace) => self.quotas(*namespace).awake_actors,
        }
    }

    /// It wants to start and there are enough: it waits for its turn. `changes` led to this.
    pub(crate) fn wait_for_place(&mut self, id: ActorId, circle: Circle, mut changes: Vec<Change>, created_by: Option<CallId>) {
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let since_ms = match actor.life {
            Life::Crowded { since_ms } => since_ms,
            _ => now_ms,
        };
        actor.life = Life::Crowded { since_ms };
        actor.record.pending_ms.get_or_insert(now_ms);
        actor.record.sleep_ms.get_or_insert(now_ms);
        actor.record.error = Some(ActorError::NoCapacity);
        changes.push(Change::PutActor(Box::new(actor.record.clone())));
        self.moves.settled(id);
        // As one that no runner can take: it will be looked at when this is over.
        self.alarm_wakes.remove(&id);
        self.awake.wait(id, circle, since_ms);
        self.set_timer(id, Some(since_ms + WAIT_MS));
        self.commit_actor(id, changes, ActorThen::Created { by: created_by });
    }

    /// Nothing but its alarm wants it to run, and there are enough.
    pub(crate) fn ring_later(&mut self, id: ActorId, circle: Circle) {
        self.alarm_wakes.remove(&id);
        let now_ms = self.now_ms;
        let alarm = self.actors.get(&id).and_then(|actor| actor.record.alarm);
        if alarm.is_some_and(|alarm| !self.awake.wait_aside(id, circle, alarm.fire_ms, now_ms)) {
            let mut changes = Vec::new();
            self.put_due_alarm_off(id, &mut changes);
            self.commit_actor(id, changes, ActorThen::Nothing);
        }
        self.forget_if_idle(id);
    }

    /// It has waited long enough.
    pub(crate) fn no_place(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get(&id) else { return };
        let circle = self.crowded(&actor.record);
        let Some(circle) = circle else { return self.place(id, Vec::new(), None) };
        let limit = self.awake_limit(&circle).unwrap_or_default();
        let (restarts, name) = (actor.record.crash_policy == CrashPolicy::Restart, actor.record.name.clone());
        let namespace = self.namespace_names.get(&actor.record.namespace).cloned().unwrap_or_default();
        let whose = match circle {
            Circle::Deployment(..) => format!(
                "the deployment {name:?} may have {limit} actors awake at one time (rivet-engine configure {name} --limit awake=...)"
            ),
            Circle::Namespace(_) => format!(
                "the namespace {namespace:?} may have {limit} actors awake at one time (rivet-engine namespaces quotas {namespace})"
            ),
        };
        self.awake.forget(id);
        for request in self.nobody_waits(id) {
            self.refuse(request, Refusal::AwakeLimit { actor: id, whose: whose.clone(), waited_ms: WAIT_MS });
        }
        let mut changes = Vec::new();
        self.put_due_alarm_off(id, &mut changes);
        let due_ms = self.now_ms + self.config.pause_ms(1);
        if !restarts {
            return self.fall_asleep(id, changes, None);
        }
        // It is to run whether somebody waits for it or not.
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.record.pending_ms = None;
        }
        self.pause(id, due_ms, changes, None);
    }

    /// Gives places that have become free to those that wait, the longest first, and has others asked for theirs.
    pub(crate) fn give_places(&mut self) {
        if self.awake.crowds.is_empty() {
            return;
        }
        let circles: Vec<Circle> = self.awake.crowds.keys().cloned().collect();
        for circle in circles {
            let taken = self.awake.count(&circle) + self.being_rung(&circle);
            let mut free = self.awake_limit(&circle).unwrap_or(u64::MAX).saturating_sub(taken);
            while free > 0
                && let Some(next) = self.awake.pop(&circle, self.alarm_wakes.len() < ALARM_WAKES_IN_FLIGHT_MAX)
            {
                free -= 1;
                match next {
                    Next::Waits(id) => self.place(id, Vec::new(), None),
                    Next::Aside(id) => self.ring_for_place(id, &circle),
                }
            }
        }
        self.awake.crowds.retain(|_, crowd| !crowd.is_empty());
        let circles: Vec<Circle> = self.awake.crowds.keys().cloned().collect();
        for circle in circles {
            self.ask_for_places(&circle);
        }
    }

    fn ring_for_place(&mut self, id: ActorId, circle: &Circle) {
        self.ring(id);
        let is_read = self.actors.get(&id).is_some_and(|actor| actor.life == Life::Loading);
        if let Some(crowd) = self.awake.crowds.get_mut(circle).filter(|_| is_read) {
            crowd.rung.insert(id);
        }
    }

    /// How many places are for those whose records are still being read.
    fn being_rung(&mut self, circle: &Circle) -> u64 {
        let Some(crowd) = self.awake.crowds.get_mut(circle) else { return 0 };
        crowd.rung.retain(|id| self.actors.get(id).is_some_and(|actor| actor.life == Life::Loading));
        crowd.rung.len() as u64
    }

    fn ask_for_places(&mut self, circle: &Circle) {
        let now_ms = self.now_ms;
        let Some(crowd) = self.awake.crowds.get_mut(circle) else { return };
        if crowd.is_empty() || now_ms < crowd.look_ms {
            return;
        }
        crowd.look_ms = now_ms + LOOK_MS;
        let wanted = crowd.waiting.len() + crowd.aside.len();
        let (mut leaving, mut idle) = (0, Vec::new());
        for id in self.awake.members(circle) {
            let Some(actor) = self.actors.get(&id) else { continue };
            let is_asked = actor.asked_ms.is_some_and(|asked_ms| now_ms < asked_ms + LEAVE_MS);
            match actor.life {
                Life::Stopping { after: After::Sleep | After::Destroy, .. } => leaving += 1,
                Life::Running { .. } if is_asked => leaving += 1,
                Life::Running { .. } if self.has_nothing_to_do(id) => idle.push((actor.asked_ms, actor.used_ms, id)),
                _ => {}
            }
        }
        // Those that were asked and are still here come last.
        idle.sort_unstable();
        for (_, _, id) in idle.into_iter().take(wanted.saturating_sub(leaving)) {
            self.ask_to_sleep(id);
        }
    }

    fn has_nothing_to_do(&self, id: ActorId) -> bool {
        let Some(actor) = self.actors.get(&id) else { return false };
        let holds =
            |request| self.requests.get(request).is_some_and(|entry| entry.wish.kind == RequestKind::Http || !entry.can_hibernate);
        actor.waiting.is_empty() && actor.calling.is_none() && !actor.dispatched.iter().any(holds)
    }

    fn ask_to_sleep(&mut self, id: ActorId) {
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Life::Running { on } = actor.life else { return };
        actor.asked_ms = Some(now_ms);
        let generation = actor.record.generation;
        match self.rings(on) {
            true => self.act(Action::ToRunner { runner: on, message: ToRunner::AskToSleep { actor: id, generation } }),
            false => self.stop(id, StopReason::Sleep, After::Sleep),
        }
    }

    /// Something happens to it.
    pub(crate) fn used(&mut self, id: ActorId) {
        let now_ms = self.now_ms;
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.used_ms = now_ms;
            actor.asked_ms = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::Id;

    use super::*;

    const CROWD: u32 = 50_000;

    fn actor(number: u32) -> ActorId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        Id::new(bytes, 1)
    }

    /// Quick, unless each of them looks through all the others: then it takes many minutes.
    #[test]
    fn a_large_crowd_comes_and_goes() {
        let (mut awake, circle) = (Awake::default(), Circle::Namespace(actor(0)));
        (0..CROWD).for_each(|number| awake.wait(actor(number), circle.clone(), number.into()));
        (0..CROWD).for_each(|number| awake.forget(actor(CROWD + number)));
        assert_eq!((awake.waiting().count(), awake.found().count()), (CROWD as usize, CROWD as usize));
        (0..CROWD).for_each(|number| awake.forget(actor(number)));
        assert_eq!((awake.crowds.len(), awake.found().count()), (0, 0));
    }

    #[test]
    fn each_waits_at_one_place_and_the_longest_goes_first() {
        let mut awake = Awake::default();
        let (here, there) = (Circle::Namespace(actor(0)), Circle::Deployment(actor(0), "counter".into()));
        awake.wait(actor(1), here.clone(), 30);
        awake.wait(actor(2), here.clone(), 20);
        awake.wait(actor(3), here.clone(), 10);
        awake.wait(actor(3), there.clone(), 10);
        awake.forget(actor(9));
        assert_eq!(awake.found().collect::<Vec<_>>(), [actor(1), actor(2), actor(3)]);
        let mut next = |circle| match awake.pop(circle, true)? {
            Next::Waits(id) | Next::Aside(id) => Some(id),
        };
        assert_eq!([next(&here), next(&here), next(&here)], [Some(actor(2)), Some(actor(1)), None]);
        awake.forget(actor(3));
        assert_eq!((awake.waiting().count(), awake.found().count(), awake.pop(&there, true).is_none()), (0, 0, true));
    }

    #[test]
    fn only_so_many_wait_aside() {
        let (mut awake, circle) = (Awake::default(), Circle::Namespace(actor(0)));
        let taken = (0..ALARMS_ASIDE_MAX as u32 + 10).filter(|number| awake.wait_aside(actor(*number), circle.clone(), 1, 1));
        assert_eq!(taken.count(), ALARMS_ASIDE_MAX);
        assert!(awake.pop(&circle, false).is_none(), "as many are being woken as may");
        assert!(matches!(awake.pop(&circle, true), Some(Next::Aside(_))));
        assert!(awake.wait_aside(actor(u32::MAX), circle, 1, 1), "there is room again");
    }
}
