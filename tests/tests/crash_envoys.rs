//! The plug is pulled while a connected runner writes: what it was told is durable is there, and it goes on where it was.
//!
//! Set RIVET_ENVOY_KILLS for more rounds, RIVET_SEED to repeat the moments of a run as far as a machine allows.
//!
//! Each actor commits pages of its database, each commit on the head before it, and puts a number under a key. After each kill and
//! restart the runner comes back under its name: every head and number that was acknowledged is there, or the one that was under
//! way; all pages of a commit are; its actors run in the same generation; a start that it had not acknowledged comes again as it
//! was; and what an older generation, or a writer that has missed a commit, wants to write is refused.

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::time::Duration;

use bytes::Bytes;
use protocol::wire::actor::{ActorCheckpoint, Command, StartActor, StopActorReason};
use protocol::wire::envoy::{ToEnvoy, ToRivet};
use protocol::wire::kv::{KvRequestData, KvResponseData};
use protocol::wire::sqlite::{SqliteCommit, SqliteDirtyPage, SqliteError, SqliteGetPages, SqliteGetPagesOk};
use protocol::wire::tunnel::{ToEnvoyTunnel, ToRivetTunnel};
use rivet_tests::address::by_id;
use rivet_tests::{Call, Engine, Envoy, until};
use serde_json::json;

const KILLS_DEFAULT: u64 = 5;
const ACTORS: usize = 4;
const PAGES: u32 = 3;
const PAGE_BYTES: usize = 4096;
const KILL_WITHIN_MS: u64 = 300;
/// About as long as a start takes.
const START_MS: u64 = 60;
/// Of questions that are asked one at a time.
const QUESTION: u32 = 99;

/// What is known of one actor.
struct Written {
    at: ActorCheckpoint,
    /// Of its next event.
    events: i64,
    head_acked: u64,
    head_sent: u64,
    number_acked: u64,
    number_sent: u64,
}

/// The runner, through all its connections.
struct Runner {
    envoy: Envoy,
    actors: Vec<Written>,
    /// By actor and generation, and how often each was told.
    starts: BTreeMap<(String, u32), (ActorCheckpoint, StartActor, u32)>,
    stops: VecDeque<(String, StopActorReason)>,
    replayed: u64,
}

#[derive(Default, Debug)]
struct Figures {
    acknowledged: u64,
    lost: u64,
    torn: u64,
    refused: u64,
}

fn page(pgno: u32, commit: u64) -> SqliteDirtyPage {
    SqliteDirtyPage { pgno, bytes: Bytes::from(commit.to_le_bytes().repeat(PAGE_BYTES / 8)) }
}

fn commit(request_id: u32, actor: &str, generation: u32, head: u64) -> ToRivet {
    let data = SqliteCommit {
        actor_id: actor.to_string(),
        dirty_pages: (1..=PAGES).map(|pgno| page(pgno, head + 1)).collect(),
        db_size_pages: PAGES,
        now_ms: 0,
        expected_generation: Some(generation.into()),
        expected_head_txid: Some(head),
    };
    ToRivet::SqliteCommit { request_id, data }
}

impl Runner {
    async fn connect(engine: &Engine) -> Runner {
        let envoy = Envoy::connect(engine, "default", "the-runner").await;
        Runner { envoy, actors: Vec::new(), starts: BTreeMap::new(), stops: VecDeque::new(), replayed: 0 }
    }

    /// The next message that is no command; commands are kept, and acknowledged if `acks`. None if the connection is over.
    async fn hear(&mut self, acks: bool) -> Option<ToEnvoy> {
        loop {
            match self.envoy.try_hear().await? {
                ToEnvoy::Commands { commands } => {
                    if acks {
                        let last_command_checkpoints = commands.iter().map(|command| command.checkpoint.clone()).collect();
                        self.envoy.try_say(ToRivet::AckCommands { last_command_checkpoints }).await;
                    }
                    for command in commands {
                        match command.inner {
                            Command::StartActor { start } => self.started(command.checkpoint, start),
                            Command::StopActor { reason } => self.stops.push_back((command.checkpoint.actor_id, reason)),
                        }
                    }
                    return Some(ToEnvoy::Commands { commands: Vec::new() });
                }
                ToEnvoy::AckEvents { .. } => {}
                message => return Some(message),
            }
        }
    }

    /// The same generation is started with the same words, however often.
    fn started(&mut self, at: ActorCheckpoint, mut start: StartActor) {
        // When it was said.
        start.config.create_ts = 0;
        let newest = self.starts.keys().filter(|(actor, _)| *actor == at.actor_id).map(|(_, generation)| *generation).max();
        assert!(newest.is_none_or(|newest| newest <= at.generation), "{at:?} was started, and {newest:?} before it");
        match self.starts.get_mut(&(at.actor_id.clone(), at.generation)) {
            Some((at_before, before, times)) => {
                assert_eq!((&at, &start), (&*at_before, &*before), "a start comes again as it was");
                *times += 1;
                self.replayed += 1;
            }
            None => drop(self.starts.insert((at.actor_id.clone(), at.generation), (at, start, 1))),
        }
    }

    async fn answer(&mut self, question: ToRivet) -> ToEnvoy {
        self.envoy.say(question).await;
        loop {
            match self.hear(true).await.expect("the engine runs") {
                ToEnvoy::Commands { .. } => {}
                answer => return answer,
            }
        }
    }

    /// This start, once it has been told more often than that.
    async fn start_of(&mut self, actor: &str, generation: u32, more_than: u32) -> ActorCheckpoint {
        loop {
            match self.starts.get(&(actor.to_string(), generation)) {
                Some((at, _, times)) if *times > more_than => return at.clone(),
                Some(_) | None => {}
            }
            self.hear(true).await.expect("the engine runs");
        }
    }

    async fn stop_of(&mut self, actor: &str) -> StopActorReason {
        loop {
            if let Some(at) = self.stops.iter().position(|(of, _)| of == actor) {
                return self.stops.remove(at).expect("it is there").1;
            }
            self.hear(true).await.expect("the engine runs");
        }
    }

    async fn commit_next(&mut self, index: usize) -> bool {
        let actor = &mut self.actors[index];
        actor.head_sent = actor.head_acked + 1;
        let next = commit(index as u32, &actor.at.actor_id, actor.at.generation, actor.head_acked);
        self.envoy.try_say(next).await
    }

    async fn put_next(&mut self, index: usize) -> bool {
        let actor = &mut self.actors[index];
        actor.number_sent = actor.number_acked + 1;
        let data = KvRequestData::Put { keys: vec!["number".into()], values: vec![actor.number_sent.to_string().into()] };
        let put = ToRivet::KvRequest { actor_id: actor.at.actor_id.clone(), request_id: index as u32, data };
        self.envoy.try_say(put).await
    }

    /// Writes until the engine is gone. Starts are heard and not acknowledged. How much was acknowledged.
    async fn write_until_killed(&mut self) -> u64 {
        let mut acknowledged = 0;
        for index in 0..self.actors.len() {
            if !self.commit_next(index).await || !self.put_next(index).await {
                return acknowledged;
            }
        }
        while let Some(message) = self.hear(false).await {
            let goes_on = match message {
                ToEnvoy::SqliteCommit { request_id, result } => {
                    let actor = &mut self.actors[request_id as usize];
                    let head = result.unwrap_or_else(|error| panic!("a commit on the head: {error:?}")).head_txid;
                    assert_eq!(head, Some(actor.head_sent));
                    actor.head_acked = actor.head_sent;
                    acknowledged += 1;
                    self.commit_next(request_id as usize).await
                }
                ToEnvoy::KvResponse { request_id, data } => {
                    assert_eq!(data, KvResponseData::Put);
                    let actor = &mut self.actors[request_id as usize];
                    actor.number_acked = actor.number_sent;
                    acknowledged += 1;
                    self.put_next(request_id as usize).await
                }
                ToEnvoy::Commands { .. } => true,
                other => panic!("{other:?}"),
            };
            if !goes_on {
                break;
            }
        }
        acknowledged
    }

    /// The head and the number, which are then what the next round begins with.
    async fn check(&mut self, index: usize, figures: &mut Figures, when: &str) {
        let (actor, generation) = (self.actors[index].at.actor_id.clone(), self.actors[index].at.generation);
        let data = SqliteGetPages {
            actor_id: actor.clone(),
            pgnos: (1..=PAGES).collect(),
            expected_generation: Some(generation.into()),
            expected_head_txid: None,
        };
        let found = match self.answer(ToRivet::SqliteGetPages { request_id: QUESTION, data }).await {
            ToEnvoy::SqliteGetPages { result: Ok(found), .. } => found,
            // Before its first commit there is no database.
            ToEnvoy::SqliteGetPages { result: Err(error), .. } if error.code == "database_not_found" => {
                SqliteGetPagesOk { pages: Vec::new(), head_txid: None }
            }
            other => panic!("{when}: pages expected, seen {other:?}"),
        };
        let head = found.head_txid.unwrap_or(0);
        let known = &mut self.actors[index];
        assert!(head <= known.head_sent, "{when}: head {head} of actor {index}, and {} was sent", known.head_sent);
        figures.lost += known.head_acked.saturating_sub(head);
        let whole = found.pages.iter().all(|fetched| {
            let expected = (head > 0).then(|| page(fetched.pgno, head).bytes);
            fetched.bytes == expected
        });
        figures.torn += u64::from(!whole);
        (known.head_acked, known.head_sent) = (head, head);

        let keys = KvRequestData::Get { keys: vec!["number".into()] };
        let asked = ToRivet::KvRequest { actor_id: actor.clone(), request_id: QUESTION, data: keys };
        let ToEnvoy::KvResponse { data: KvResponseData::Get { values, .. }, .. } = self.answer(asked).await else {
            panic!("{when}: entries expected")
        };
        let number = values.first().map_or(0, |value| String::from_utf8_lossy(value).parse().expect("a number"));
        let known = &mut self.actors[index];
        assert!(number <= known.number_sent, "{when}: number {number} of actor {index}, and {} was sent", known.number_sent);
        figures.lost += known.number_acked.saturating_sub(number);
        (known.number_acked, known.number_sent) = (number, number);

        let mut refused = async |generation: u32, head: u64| match self.answer(commit(QUESTION, &actor, generation, head)).await {
            ToEnvoy::SqliteCommit { result: Err(SqliteError { code, .. }), .. } => code,
            other => panic!("{when}: a refusal expected, seen {other:?}"),
        };
        assert_eq!(refused(generation - 1, head).await, "internal_error", "{when}: of an older generation");
        assert_eq!(refused(generation + 1, head).await, "internal_error", "{when}: of no generation");
        assert_eq!(refused(generation, head + 1).await, "head_fence_mismatch", "{when}: on a commit that is not there");
        figures.refused += 3;
    }

    /// It sleeps and wakes: its generation is the next one.
    async fn cycle(&mut self, engine: &Engine, index: usize) {
        let (at, events) = (self.actors[index].at.clone(), self.actors[index].events);
        self.envoy.sleep(&at, events).await;
        assert_eq!(self.stop_of(&at.actor_id).await, StopActorReason::SleepIntent);
        self.envoy.stopped(&at, events + 1, None).await;
        let serve = async {
            let again = self.start_of(&at.actor_id, at.generation + 1, 0).await;
            self.envoy.running(&again).await;
            let id = loop {
                match self.hear(true).await.expect("the engine runs") {
                    ToEnvoy::Tunnel { message_id, message: ToEnvoyTunnel::RequestStart { .. } } => break message_id,
                    ToEnvoy::Commands { .. } => {}
                    other => panic!("{other:?}"),
                }
            };
            let response = ToRivetTunnel::ResponseStart { status: 200, headers: Vec::new(), body: None, stream: false };
            self.envoy.respond(id, response).await;
            again
        };
        let (answer, again) = tokio::join!(engine.get(by_id(&at.actor_id, "/")), serve);
        answer.expect_ok("a request that wakes");
        (self.actors[index].at, self.actors[index].events) = (again, 1);
    }
}

async fn is_running(engine: &Engine, actor: &str) {
    until("the actor runs", async || {
        let seen = engine.actor(actor).await;
        if seen["connectable_ts"].is_null() { Err(seen.to_string()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_finds_everything_again_after_a_kill() {
    let number = |name: &str, default| env::var(name).map_or(default, |text| text.parse().expect("a whole number"));
    let kills: u64 = number("RIVET_ENVOY_KILLS", KILLS_DEFAULT);
    let seed = number("RIVET_SEED", fastrand::u64(..));
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);

    let mut engine = Engine::start().await;
    let pool = json!({ "datacenters": { "default": { "normal": {} } } });
    engine.send(Call::put("/runner-configs/default?namespace=default").json(&pool)).await.expect_ok("a pool");
    let mut runner = Runner::connect(&engine).await;
    for index in 0..ACTORS {
        let (actor, _) = engine.get_or_create("thing", &index.to_string(), None).await;
        let at = runner.start_of(&actor, 1, 0).await;
        runner.envoy.running(&at).await;
        is_running(&engine, &actor).await;
        let (events, nothing) = (1, 0);
        runner.actors.push(Written { at, events, head_acked: 0, head_sent: 0, number_acked: nothing, number_sent: nothing });
    }
    let (mut figures, mut starts_killed) = (Figures::default(), 0);
    for round in 1..=kills {
        let when = format!("round {round}, seed {seed}");
        let fresh = format!("fresh-{round}");
        let pull = async {
            tokio::time::sleep(Duration::from_millis(dice.u64(0..KILL_WITHIN_MS))).await;
            // A start that nobody acknowledges; the engine may be gone before its creator is answered.
            let body = json!({ "name": "thing", "key": fresh, "runner_name_selector": "default", "crash_policy": "sleep" });
            let create = engine.try_send(Call::put("/actors?namespace=default").json(&body));
            let strike = async {
                tokio::time::sleep(Duration::from_millis(dice.u64(0..20))).await;
                engine.strike();
            };
            tokio::join!(create, strike).0.ok()
        };
        let (created, acknowledged) = tokio::join!(pull, runner.write_until_killed());
        figures.acknowledged += acknowledged + u64::from(created.is_some());
        engine.kill9();
        let told: BTreeMap<(String, u32), u32> = runner.starts.iter().map(|(start, (.., times))| (start.clone(), *times)).collect();
        if dice.bool() {
            engine.start_and_kill9(Duration::from_millis(dice.u64(0..START_MS))).await;
            starts_killed += 1;
        }
        engine.restart().await;
        for actor in &runner.actors {
            let seen = engine.actor(&actor.at.actor_id).await;
            assert!(!seen["connectable_ts"].is_null(), "{when}: what ran still runs: {seen}");
        }
        runner.envoy = Envoy::connect(&engine, "default", "the-runner").await;
        for index in 0..ACTORS {
            runner.check(index, &mut figures, &when).await;
        }
        let (actor, is_new) = engine.get_or_create("thing", &fresh, None).await;
        let acknowledged = created.map(|answer| answer.expect_ok("creating an actor under load").json());
        if let Some(created) = acknowledged {
            assert_eq!((&created["actor"]["actor_id"], is_new), (&json!(actor), false), "{when}: an actor is lost");
        }
        // Heard before the kill and not acknowledged: it comes again.
        let at = runner.start_of(&actor, 1, told.get(&(actor.clone(), 1)).copied().unwrap_or(0)).await;
        runner.envoy.running(&at).await;
        is_running(&engine, &actor).await;
        let destroy = async {
            assert_eq!(runner.stop_of(&actor).await, StopActorReason::Destroy, "{when}");
            runner.envoy.stopped(&at, 1, None).await;
        };
        let destroyed = engine.send(Call::delete(format!("/actors/{actor}?namespace=default")));
        tokio::join!(destroyed, destroy).0.expect_ok("a destroy");
        runner.cycle(&engine, (round % ACTORS as u64) as usize).await;
    }
    let Figures { acknowledged, lost, torn, refused } = figures;
    let replayed = runner.replayed;
    println!(
        "kills {kills}, acknowledged {acknowledged}, lost {lost}, torn {torn}; {starts_killed} starts killed, \
         {replayed} starts told again, {refused} commits of others refused"
    );
    assert_eq!((lost, torn), (0, 0), "lost and torn, seed {seed}");
    assert!(acknowledged > 0, "the runner did nothing");
}
