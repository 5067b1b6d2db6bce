//! The disk fails: it is full, it refuses, it cannot be written to, what is on it is damaged, and the plug is pulled in between. What was
//! acknowledged is there afterwards, and the engine says what is wrong.
//!
//! In reading order:
//! - [`injected`]: writes and syncs that fail under the store. [`full`]: a real file system that is full.
//! - [`starting`]: what stops a start, in one sentence; starts and upgrades that are killed. [`damage`]: what `doctor` says of damage.

mod damage;
mod full;
mod injected;
mod starting;

use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine};

/// What clients were told: the numbers of one counter.
#[derive(Default)]
struct Told {
    acknowledged: u64,
    /// Sent without an answer: each may have happened or not.
    unknown: u64,
}

impl Told {
    async fn increment(&mut self, engine: &Engine) {
        let number = engine.increment("counter", "told").await;
        assert!(
            number > self.acknowledged && number <= self.acknowledged + self.unknown + 1,
            "{number} after {}",
            self.acknowledged
        );
        self.acknowledged = number;
        self.unknown = 0;
    }

    /// One that is not answered well, for whatever reason. What was answered.
    async fn try_increment(&mut self, engine: &Engine) -> Option<rivet_tests::Answer> {
        let answer = engine.try_send(Call::post(by_key("counter", "told", "/increment"))).await.ok();
        match &answer {
            Some(answer) if answer.status == 200 => {
                self.acknowledged = answer.text().trim().parse().expect("a number");
                self.unknown = 0;
            }
            _ => self.unknown += 1,
        }
        answer
    }

    /// How many acknowledged increments are gone.
    async fn lost(&self, engine: &Engine) -> u64 {
        let count = engine.get(by_key("counter", "told", "/")).await.number("the count");
        assert!(count <= self.acknowledged + self.unknown, "{count} is there, and {} was acknowledged", self.acknowledged);
        self.acknowledged.saturating_sub(count)
    }
}
