//! How pools get their runners: what the API says about that, and what a pool's URL does.

use protocol::id::NamespaceId;

use crate::action::Answer;
use crate::core::{Core, Then};
use crate::input::CallId;
use crate::record::{Change, PoolError, PoolKind, RunnerConfigRecord};
use crate::refusal::Refusal;

pub(crate) struct Pool {
    pub config: RunnerConfigRecord,
    /// Why its URL could not start an actor, last time.
    pub error: Option<PoolError>,
}

impl Pool {
    pub fn new(config: RunnerConfigRecord) -> Pool {
        Pool { config, error: None }
    }
}

impl Core {
    pub(crate) fn pool(&self, namespace: NamespaceId, pool: &str) -> Option<&Pool> {
        self.pools.get(&(namespace, pool.to_string()))
    }

    pub(crate) fn put_runner_config(
        &mut self,
        call: CallId,
        namespace: String,
        mut record: RunnerConfigRecord,
    ) -> Result<(), Refusal> {
        record.namespace = self.namespace(&namespace)?;
        let place = (record.namespace, record.pool.clone());
        let old = self.pools.get(&place);
        record.protocol_version = old.and_then(|pool| pool.config.protocol_version);
        let endpoint_changed = match old.map(|pool| &pool.config.kind).zip(Some(&record.kind)) {
            Some((PoolKind::Serverless(old), PoolKind::Serverless(new))) => old.url != new.url || old.headers != new.headers,
            _ => true,
        };
        self.pools.insert(place, Pool::new(record.clone()));
        let answer = Answer::RunnerConfig { endpoint_changed };
        self.commit(vec![Change::PutRunnerConfig(Box::new(record))], Then::Reply(call, answer));
        self.place_unplaced();
        Ok(())
    }

    pub(crate) fn delete_runner_config(&mut self, call: CallId, namespace: String, pool: String) -> Result<(), Refusal> {
        let namespace = self.namespace(&namespace)?;
        match self.pools.remove(&(namespace, pool.clone())) {
            Some(_) => self.commit(vec![Change::DeleteRunnerConfig { namespace, pool }], Then::Reply(call, Answer::Done)),
            None => self.reply(call, Ok(Answer::Done)),
        }
        Ok(())
    }

    pub(crate) fn list_runners(&mut self, call: CallId, namespace: String) -> Result<(), Refusal> {
        let namespace = self.namespace(&namespace)?;
        let actors = self.runners.iter().map(|(id, runner)| (*id, runner.actors)).collect();
        let of_namespace = self.pools.range((namespace, String::new())..).take_while(|((of, _), _)| *of == namespace);
        let pool_errors = of_namespace.filter_map(|((_, name), pool)| Some((name.clone(), pool.error.clone()?))).collect();
        self.reply(call, Ok(Answer::Runners { actors, pool_errors }));
        Ok(())
    }
}
