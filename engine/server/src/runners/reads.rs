//! The reads of actors' state that one connection asks for, each after the writes that it asked for before.

use std::sync::{Arc, Mutex};

use protocol::id::ActorId;
use protocol::link::ToRunnerLink;
use protocol::message::{KvQuestion, ToRunner};

use crate::engine::Engine;
use crate::lock::lock;
use crate::readers::READS_WAITING_MAX;
use crate::runners::kv::{self, Order, Place, Read};
use crate::runners::remote::Remote;

pub struct Reads {
    engine: Arc<Engine>,
    remote: Arc<Remote>,
    order: Mutex<Order>,
}

impl Reads {
    pub fn new(engine: Arc<Engine>, remote: Arc<Remote>) -> Reads {
        Reads { engine, remote, order: Mutex::default() }
    }

    /// A write is about to be asked for.
    pub fn wrote(&self, actor: ActorId, call: u64) {
        lock(&self.order).wrote(actor, call);
    }

    /// A write has been answered. Nothing happens if it was no write.
    pub fn answered(&self, actor: ActorId, call: u64) {
        let reads = lock(&self.order).answered(actor, call);
        for read in reads {
            self.read(actor, read);
        }
    }

    pub fn ask(&self, actor: ActorId, call: u64, question: KvQuestion) {
        let place = lock(&self.order).place(actor, (call, question));
        match place {
            Place::Now(read) => self.read(actor, read),
            Place::Waits => {}
            Place::Refused(call) => self.refuse(actor, call),
        }
    }

    fn read(&self, actor: ActorId, (call, question): Read) {
        let remote = self.remote.clone();
        let accepted = self.engine.readers.try_read(move |state| {
            let result = kv::read(state, actor, &remote.identity, question);
            remote.send(ToRunner::Kv { actor, generation: 0, call, result });
        });
        if !accepted {
            self.refuse(actor, call);
        }
    }

    fn refuse(&self, actor: ActorId, call: u64) {
        let result = Err(format!("{READS_WAITING_MAX} reads are waiting for the disk; try again in a moment"));
        self.remote.send(ToRunner::Kv { actor, generation: 0, call, result });
    }
}
