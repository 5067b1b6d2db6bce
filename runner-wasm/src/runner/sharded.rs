//! A map in several parts with a lock each, so that messages for different actors seldom wait for each other.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Mutex;

use crate::actor::lock;

const SHARDS: usize = 32;

pub struct Sharded<K, V> {
    hasher: RandomState,
    shards: [Mutex<HashMap<K, V>>; SHARDS],
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Sharded<K, V> {
        Sharded { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl<K: Hash + Eq + Copy, V> Sharded<K, V> {
    pub fn insert(&self, key: K, value: V) {
        lock(self.shard(&key)).insert(key, value);
    }

    pub fn find(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        lock(self.shard(key)).get(key).cloned()
    }

    pub fn remove(&self, key: &K) -> Option<V> {
        lock(self.shard(key)).remove(key)
    }

    pub fn remove_if(&self, key: &K, condition: impl Fn(&V) -> bool) {
        let mut shard = lock(self.shard(key));
        if shard.get(key).is_some_and(condition) {
            shard.remove(key);
        }
    }

    /// Looks at all, one part after the other.
    pub fn look(&self, mut look: impl FnMut(&V)) {
        for shard in &self.shards {
            lock(shard).values().for_each(&mut look);
        }
    }

    /// Takes out all that meet the condition.
    pub fn take_if(&self, condition: impl Fn(&V) -> bool) -> Vec<V> {
        self.shards
            .iter()
            .flat_map(|shard| lock(shard).extract_if(|_, value| condition(value)).map(|(_, value)| value).collect::<Vec<_>>())
            .collect()
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, key: &K) -> &Mutex<HashMap<K, V>> {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        &self.shards[shard]
    }
}
