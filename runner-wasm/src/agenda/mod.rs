//! All moments that an actor wants to be woken at. Pure: no clock, no waiting.
//!
//! The engine knows one alarm of an actor. It is always the earliest of what is on the agenda: the guest's own alarm, its
//! schedules, and its queue. The whole agenda is in memory while the actor is, and a message's changes to it are part of the message;
//! [`Agenda::changes`] says what of it is to be stored. An agenda that has nothing but the guest's alarm needs no entry of its own:
//! the engine's alarm is it. So an agenda is empty if the engine has no alarm, and is not even read then.
//!
//! What was due and failed is due again after 2 s, 4 s … 512 s. The alarm of an agenda that has nothing else is retried by the
//! engine, in the same way.
//!
//! - [`cron`]: expressions, and the next moment of one.
//! - [`records`]: how all this is stored, and the queue.

pub mod cron;
pub mod records;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::cron::Cron;
use self::records::Entry;
use crate::config::{SCHEDULE_ID_BYTES_MAX, SCHEDULES_BYTES_MAX, SCHEDULES_MAX};
use crate::state::Refusal;

const RETRY_MS_MIN: u64 = 2_000;
const RETRY_DOUBLINGS_MAX: u32 = 8;
const _: () = assert!(RETRY_MS_MIN << RETRY_DOUBLINGS_MAX == 512_000);

/// A queue that nobody looks at wakes its actor after this. While the actor is awake it is served at once, without an alarm.
const QUEUE_LOOK_MS: u64 = 2_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alarm {
    pub at_ms: u64,
    pub failed: Option<Retry>,
}

/// When something is to be tried again, and how often it has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Retry {
    pub at_ms: u64,
    pub failures: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Schedule {
    pub action: String,
    pub args: String,
    pub at_ms: u64,
    pub cron: Option<String>,
    pub failed: Option<Retry>,
}

/// Something on the agenda.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Item {
    Alarm,
    Queue,
    Schedule(String),
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Agenda {
    alarm: Option<Alarm>,
    /// Something is in the queue.
    queue: Option<Retry>,
    schedules: BTreeMap<String, Arc<Schedule>>,
    schedules_bytes: usize,
    /// For the ids of schedules: this generation of the actor, and a number.
    generation: u32,
    numbered: u64,
}

impl Agenda {
    /// From the engine's alarm, and the entries that are stored. An error names an entry that cannot be read.
    pub fn new(generation: u32, alarm_ms: Option<u64>, stored: &[(Bytes, Bytes)]) -> Result<Agenda, String> {
        let mut agenda = Agenda { generation, ..Agenda::default() };
        for (key, value) in stored {
            match records::entry(key, value) {
                Some(Entry::Alarm(alarm)) => agenda.alarm = Some(alarm),
                Some(Entry::Queue(retry)) => agenda.queue = Some(retry),
                Some(Entry::Schedule(id, schedule)) => agenda.put(id, schedule),
                None => return Err(String::from_utf8_lossy(key).into_owned()),
            }
        }
        if stored.is_empty() {
            agenda.alarm = alarm_ms.map(|at_ms| Alarm { at_ms, failed: None });
        }
        Ok(agenda)
    }

    /// What comes first, and when.
    pub fn earliest(&self) -> Option<(u64, Item)> {
        let retried = |at_ms: u64, failed: Option<Retry>| failed.map_or(at_ms, |retry| retry.at_ms);
        let alarm = self.alarm.map(|alarm| (retried(alarm.at_ms, alarm.failed), Item::Alarm));
        let queue = self.queue.map(|retry| (retry.at_ms, Item::Queue));
        let next = self.schedules.iter().map(|(id, schedule)| (retried(schedule.at_ms, schedule.failed), id)).min();
        let schedule = next.map(|(at_ms, id)| (at_ms, Item::Schedule(id.clone())));
        [alarm, queue, schedule].into_iter().flatten().min()
    }

    /// There is nothing but the guest's alarm, so the engine's alarm says it all.
    pub fn is_alarm_only(&self) -> bool {
        self.queue.is_none() && self.schedules.is_empty() && self.alarm.is_none_or(|alarm| alarm.failed.is_none())
    }

    /// What became due, and was done. A schedule that was changed meanwhile is not touched.
    pub fn done(&mut self, item: &Item, now_ms: u64) {
        match item {
            Item::Alarm => self.alarm = None,
            Item::Queue => self.queue = None,
            Item::Schedule(id) => {
                let Some(schedule) = self.remove(id) else { return };
                let cron = schedule.cron.as_ref().and_then(|expression| Cron::parse(expression).ok());
                if let Some(at_ms) = cron.and_then(|cron| cron.next_after_ms(now_ms.max(schedule.at_ms))) {
                    self.put(id.clone(), Schedule { at_ms, failed: None, ..Schedule::clone(&schedule) });
                }
            }
        }
    }

    /// What became due, and failed: it comes again.
    pub fn failed(&mut self, item: &Item, now_ms: u64) {
        let again = |failed: Option<Retry>| {
            let failures = failed.map_or(0, |retry| retry.failures);
            let wait_ms = RETRY_MS_MIN << failures.min(RETRY_DOUBLINGS_MAX);
            Some(Retry { at_ms: now_ms.saturating_add(wait_ms), failures: failures.saturating_add(1) })
        };
        match item {
            Item::Alarm => {
                if let Some(alarm) = &mut self.alarm {
                    alarm.failed = again(alarm.failed);
                }
            }
            Item::Queue => self.queue = again(self.queue),
            Item::Schedule(id) => {
                if let Some(schedule) = self.remove(id) {
                    self.put(id.clone(), Schedule { failed: again(schedule.failed), ..Schedule::clone(&schedule) });
                }
            }
        }
    }

    pub fn alarm(&self) -> Option<Alarm> {
        self.alarm
    }

    pub fn set_alarm(&mut self, at_ms: Option<u64>) {
        self.alarm = at_ms.map(|at_ms| Alarm { at_ms, failed: None });
    }

    /// Something is in the queue, or nothing is any more. How often its first message has failed is forgotten only with that message.
    pub fn set_queue(&mut self, is_empty: bool, now_ms: u64) {
        let look = Retry { at_ms: now_ms.saturating_add(QUEUE_LOOK_MS), failures: 0 };
        self.queue = (!is_empty).then(|| self.queue.unwrap_or(look));
    }

    /// The first of the queue was handed over, maybe `with_alarm`: then the next one has an alarm of its own.
    pub fn dequeued(&mut self, is_empty: bool, with_alarm: bool, now_ms: u64) {
        if with_alarm || self.queue.is_some_and(|retry| retry.failures > 0) {
            self.queue = None;
        }
        self.set_queue(is_empty, now_ms);
    }

    pub fn queue(&self) -> Option<Retry> {
        self.queue
    }

    pub fn schedules(&self) -> impl Iterator<Item = (&String, &Arc<Schedule>)> {
        self.schedules.iter()
    }

    pub fn schedule(&self, id: &str) -> Option<&Arc<Schedule>> {
        self.schedules.get(id)
    }

    /// Schedules an action once; its id.
    pub fn once(&mut self, at_ms: u64, action: String, args: String) -> Result<String, Refusal> {
        loop {
            self.numbered += 1;
            let id = format!("{}.{}", self.generation, self.numbered);
            // A cron schedule may have been named so.
            if !self.schedules.contains_key(&id) {
                self.add(id.clone(), Schedule { action, args, at_ms, cron: None, failed: None })?;
                return Ok(id);
            }
        }
    }

    /// Schedules an action again and again. What is as it was keeps its next moment.
    pub fn cron(&mut self, name: String, expression: String, action: String, args: String, now_ms: u64) -> Result<(), Refusal> {
        if name.is_empty() || name.len() > SCHEDULE_ID_BYTES_MAX {
            let bytes = name.len();
            return Err(Refusal::Invalid(format!("a schedule's name has 1 to {SCHEDULE_ID_BYTES_MAX} bytes, this has {bytes}")));
        }
        let cron = Cron::parse(&expression).map_err(Refusal::Invalid)?;
        match self.schedules.get(&name) {
            Some(known) if known.cron.as_ref() == Some(&expression) && (&known.action, &known.args) == (&action, &args) => {
                return Ok(());
            }
            Some(known) if known.cron.is_none() => {
                return Err(Refusal::Invalid(format!("`{name}` is the id of a one-shot schedule; choose another name")));
            }
            _ => {}
        }
        let never = || Refusal::Invalid(format!("`{expression}` names no moment in the next nine years"));
        let at_ms = cron.next_after_ms(now_ms).ok_or_else(never)?;
        self.add(name, Schedule { action, args, at_ms, cron: Some(expression), failed: None })
    }

    pub fn cancel(&mut self, id: &str) -> bool {
        self.remove(id).is_some()
    }

    /// What is to be stored of this agenda, over what is stored of an earlier one.
    pub fn changes(&self, stored: &Agenda) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut changes = Vec::new();
        let recorded = |agenda: &Agenda| agenda.alarm.filter(|_| !agenda.is_alarm_only());
        let mut differ = |key: Vec<u8>, now: Option<Vec<u8>>, differs: bool| {
            if differs {
                changes.push((key, now));
            }
        };
        let (alarm, alarm_before) = (recorded(self), recorded(stored));
        differ(records::ALARM.to_vec(), alarm.map(|alarm| records::encode(&alarm)), alarm != alarm_before);
        differ(records::QUEUE.to_vec(), self.queue.map(|queue| records::encode(&queue)), self.queue != stored.queue);
        for (id, schedule) in &self.schedules {
            let is_stored = stored.schedules.get(id).is_some_and(|before| Arc::ptr_eq(before, schedule));
            differ(records::schedule(id), (!is_stored).then(|| records::encode(&**schedule)), !is_stored);
        }
        for id in stored.schedules.keys() {
            differ(records::schedule(id), None, !self.schedules.contains_key(id));
        }
        changes
    }

    fn add(&mut self, id: String, schedule: Schedule) -> Result<(), Refusal> {
        let replaced = self.schedules.get(&id).map(|known| size(&id, known));
        if replaced.is_none() && self.schedules.len() >= SCHEDULES_MAX {
            return Err(Refusal::QuotaExceeded(format!("the actor has {SCHEDULES_MAX} schedules, as many as it may have")));
        }
        let bytes = self.schedules_bytes - replaced.unwrap_or(0) + size(&id, &schedule);
        if bytes > SCHEDULES_BYTES_MAX {
            return Err(Refusal::QuotaExceeded(format!(
                "the names, actions and arguments of an actor's schedules have at most {SCHEDULES_BYTES_MAX} bytes together, with \
                 this one they would have {bytes}"
            )));
        }
        self.put(id, schedule);
        Ok(())
    }

    fn put(&mut self, id: String, schedule: Schedule) {
        self.remove(&id);
        self.schedules_bytes += size(&id, &schedule);
        self.schedules.insert(id, Arc::new(schedule));
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Schedule>> {
        let schedule = self.schedules.remove(id)?;
        self.schedules_bytes -= size(id, &schedule);
        Some(schedule)
    }
}

fn size(id: &str, schedule: &Schedule) -> usize {
    id.len() + schedule.action.len() + schedule.args.len() + schedule.cron.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests;
