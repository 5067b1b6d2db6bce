//! What an actor is told and what it reports: commands and events, each with the checkpoint that names it.
//!
//! Runner protocol 4 orders these otherwise than all others, in a way that no declaration says: its checkpoints have no
//! generation, and the bodies of events and commands begin with one.

use bytes::Bytes;

use super::bare::{DecodeError, Problem, Reader, Wire, Writer};
use super::kv::PreloadedKv;
use super::schema::schema;
use super::tunnel::StreamId;
use super::version::Feature;

schema! {
    /// Which command or event of which start of which actor.
    pub struct ActorCheckpoint {
        pub actor_id: String,
        /// 0 in an acknowledgement of runner protocol 4, which does not say it.
        pub generation: u32 where CheckpointGeneration,
        pub index: i64,
    }
}

schema! {
    pub struct ActorConfig {
        pub name: String,
        pub key: Option<String>,
        /// When the start was commanded, not when the actor was made; milliseconds since 1970.
        pub create_ts: i64,
        pub input: Option<Bytes>,
    }
}

schema! {
    /// A kind of actor that a runner has code for.
    pub struct ActorName {
        /// JSON.
        pub metadata: String,
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandWrapper {
    pub checkpoint: ActorCheckpoint,
    pub inner: Command,
}

schema! {
    pub enum Command {
        StartActor { start: StartActor },
        StopActor {
            /// A legacy runner is not told; to it every stop is alike.
            reason: StopActorReason where StopReason else StopActorReason::StopIntent,
        },
    }
}

schema! {
    pub struct StartActor {
        pub config: ActorConfig,
        /// WebSockets whose clients are still connected.
        pub hibernating_requests: Vec<StreamId>,
        pub preloaded_kv: Option<PreloadedKv> where PreloadedKv,
    }
}

schema! {
    #[derive(Copy)]
    pub enum StopActorReason {
        SleepIntent,
        StopIntent,
        Destroy,
        GoingAway,
        Lost,
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventWrapper {
    pub checkpoint: ActorCheckpoint,
    pub inner: Event,
}

schema! {
    pub enum Event {
        Intent { intent: ActorIntent },
        StateUpdate { state: ActorState },
        SetAlarm {
            /// Milliseconds since 1970; none clears the alarm.
            alarm_ts: Option<i64>,
        },
    }
}

schema! {
    #[derive(Copy)]
    pub enum ActorIntent {
        Sleep,
        Stop,
    }
}

schema! {
    pub enum ActorState {
        Running,
        Stopped { code: StopCode, message: Option<String> },
    }
}

schema! {
    #[derive(Copy)]
    pub enum StopCode {
        Ok,
        Error,
    }
}

impl Wire for CommandWrapper {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let mut checkpoint = ActorCheckpoint::read(r)?;
        if r.has(Feature::CheckpointGeneration) {
            return Ok(CommandWrapper { checkpoint, inner: Wire::read(r)? });
        }
        let at = r.at();
        let tag = r.uint()?;
        checkpoint.generation = Wire::read(r)?;
        let inner = match tag {
            0 => Command::StartActor { start: Wire::read(r)? },
            1 => Command::StopActor { reason: StopActorReason::StopIntent },
            _ => return Err(r.no_member(at, "Command", tag)),
        };
        Ok(CommandWrapper { checkpoint, inner })
    }

    fn write(&self, w: &mut Writer) {
        self.checkpoint.write(w);
        if w.has(Feature::CheckpointGeneration) {
            return self.inner.write(w);
        }
        match &self.inner {
            Command::StartActor { start } => {
                w.uint(0);
                self.checkpoint.generation.write(w);
                start.write(w);
            }
            Command::StopActor { .. } => {
                w.uint(1);
                self.checkpoint.generation.write(w);
            }
        }
    }
}

impl Wire for EventWrapper {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let mut checkpoint = ActorCheckpoint::read(r)?;
        if r.has(Feature::CheckpointGeneration) {
            return Ok(EventWrapper { checkpoint, inner: Wire::read(r)? });
        }
        let at = r.at();
        let tag = r.uint()?;
        let actor_at = r.at();
        if String::read(r)? != checkpoint.actor_id {
            return Err(r.error(actor_at, Problem::OtherActor));
        }
        checkpoint.generation = Wire::read(r)?;
        let inner = match tag {
            0 => Event::Intent { intent: Wire::read(r)? },
            1 => Event::StateUpdate { state: Wire::read(r)? },
            2 => Event::SetAlarm { alarm_ts: Wire::read(r)? },
            _ => return Err(r.no_member(at, "Event", tag)),
        };
        Ok(EventWrapper { checkpoint, inner })
    }

    fn write(&self, w: &mut Writer) {
        self.checkpoint.write(w);
        if w.has(Feature::CheckpointGeneration) {
            return self.inner.write(w);
        }
        w.uint(match self.inner {
            Event::Intent { .. } => 0,
            Event::StateUpdate { .. } => 1,
            Event::SetAlarm { .. } => 2,
        });
        self.checkpoint.actor_id.write(w);
        self.checkpoint.generation.write(w);
        match &self.inner {
            Event::Intent { intent } => intent.write(w),
            Event::StateUpdate { state } => state.write(w),
            Event::SetAlarm { alarm_ts } => alarm_ts.write(w),
        }
    }
}
