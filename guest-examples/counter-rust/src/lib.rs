//! The counter that also exists in JavaScript, Python and C: every feature of an actor, each in a few lines.
//!
//! What it answers is written down in ../README.md; one test compares the four.

use rivet_actor::actors::{self, Target};
use rivet_actor::{
    Action, Actions, Alarms, Connections, Failure, Http, Message, Migrate, OpenRequest, Origin, Queued, Queues, Request, Response,
    Start, StartReason, Stop, StopReason, Value, WebSockets, alarm, clock, config, connections, context, json, kv, log, queue,
    reply, schedule, sql,
};

const STEP_MAX: i64 = 1_000_000;

#[derive(Default)]
struct Counter {
    /// Why it is in memory.
    started: &'static str,
}

rivet_actor::export!(Counter: Migrate + Start + Stop + Alarms + Actions + Queues + Connections + WebSockets + Http);

impl Actions for Counter {
    fn action(&mut self, call: Action) -> Result<Value, Failure> {
        match call.name.as_str() {
            "increment" => {
                let (by,): (Option<i64>,) = call.args()?;
                reply(add(by.unwrap_or(1))?)
            }
            "get" => reply(count()?),
            "fail" => {
                let (code,): (String,) = call.args()?;
                kv::put_json("failed", &code)?;
                Err(Failure::new(code.clone(), "failed as asked").with(json!({ "asked": code })))
            }
            "crash" => {
                kv::put_json("count", &-1)?;
                panic!("crashed as asked")
            }
            "history" => {
                let found = sql::execute("SELECT by, count FROM history ORDER BY id", &[])?;
                let row = |row: &Vec<sql::Value>| json!({ "by": row[0].integer(), "count": row[1].integer() });
                reply(found.rows.iter().map(row).collect::<Vec<_>>())
            }
            "incrementLater" => {
                let (ms, by): (u64, Option<i64>) = call.args()?;
                reply(schedule::at(clock::now_ms() + ms, "increment", (by.unwrap_or(1),))?)
            }
            "cancel" => {
                let (id,): (String,) = call.args()?;
                reply(schedule::cancel(&id)?)
            }
            "every" => {
                let (expression,): (String,) = call.args()?;
                reply(schedule::cron("tick", &expression, "increment", (1,))?)
            }
            "schedules" => {
                let entry = |entry: schedule::Entry| json!({ "action": entry.action, "cron": entry.cron });
                reply(schedule::list()?.into_iter().map(entry).collect::<Vec<_>>())
            }
            "alarmIn" => {
                let (ms,): (u64,) = call.args()?;
                reply(alarm::set(clock::now_ms() + ms)?)
            }
            "enqueue" => {
                let (by,): (i64,) = call.args()?;
                queue::push("add", by)?;
                reply(queue::size()?)
            }
            "incrementOther" => {
                let (key, by): (String, Option<i64>) = call.args()?;
                let other = Target::get_or_create(context::info().name, &[&key]);
                reply(actors::call::<i64>(&other, "increment", (by.unwrap_or(1),))?)
            }
            "pushOther" => {
                let (key, by): (String, i64) = call.args()?;
                reply(actors::push(&Target::get_or_create(context::info().name, &[&key]), "add", by)?)
            }
            "connections" => {
                let open = connections::list();
                let of = |kind| open.iter().filter(|connection| connection.kind == kind).count();
                let left = kv::get_json::<u64>("left")?.unwrap_or(0);
                reply(
                    json!({ "clients": of(connections::Kind::Client), "sockets": of(connections::Kind::Websocket), "left": left }),
                )
            }
            "me" => {
                let Origin::Connection(id) = &call.origin else { return reply(()) };
                let state = connections::get(id).map(|connection| connection.state).unwrap_or_default();
                connections::send_event(id, "you", (String::from_utf8_lossy(&state),))?;
                reply(String::from_utf8_lossy(&state))
            }
            "setting" => {
                let (name,): (String,) = call.args()?;
                reply(config::get(&name))
            }
            "info" => {
                let info = context::info();
                let text = |key: &str| kv::get_json::<Value>(key);
                reply(json!({
                    "name": info.name,
                    "key": info.key,
                    "version": info.version,
                    "input": context::input().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
                    "started": self.started,
                    "stopped": text("stopped")?,
                    "migratedFrom": text("migrated-from")?,
                    "failed": text("failed")?,
                }))
            }
            "say" => {
                let (line,): (String,) = call.args()?;
                reply(log::info(&line))
            }
            "nap" => reply(context::sleep()),
            "remove" => reply(context::destroy()),
            _ => call.unknown(),
        }
    }
}

fn count() -> Result<i64, Failure> {
    Ok(kv::get_json("count")?.unwrap_or(0))
}

fn add(by: i64) -> Result<i64, Failure> {
    if by.abs() > STEP_MAX {
        return Err(Failure::new("invalid_argument", format!("a step has at most {STEP_MAX}")));
    }
    let sum = count()? + by;
    kv::put_json("count", &sum)?;
    sql::execute("INSERT INTO history (by, count) VALUES (?, ?)", &[by.into(), sum.into()])?;
    connections::broadcast("changed", (sum,))?;
    Ok(sum)
}

impl Queues for Counter {
    fn message(&mut self, message: Queued) -> Result<Option<Value>, Failure> {
        match (message.name.as_str(), message.body.as_i64()) {
            ("add", Some(by)) => Ok(Some(reply(add(by)?)?)),
            ("add", None) => Err(Failure::new("invalid_argument", "what is added is a whole number")),
            (other, _) => Err(Failure::new("unknown_queue", format!("there is no queue {other}"))),
        }
    }
}

impl Connections for Counter {
    fn connect(&mut self, _id: &str, params: Option<Value>) -> Result<Vec<u8>, Failure> {
        let name = params.as_ref().and_then(|params| params["name"].as_str()).unwrap_or("nobody");
        if name == "mallory" {
            return Err(Failure::new("refused", "not you"));
        }
        Ok(name.into())
    }

    fn disconnect(&mut self, _id: &str) {
        let left = kv::get_json::<u64>("left").expect("it was written here").unwrap_or(0) + 1;
        kv::put_json("left", &left).expect("a number is short");
    }
}

impl WebSockets for Counter {
    fn open(&mut self, _id: &str, request: OpenRequest) -> Result<Vec<u8>, Failure> {
        match request.path.as_str() {
            "/echo" => Ok(vec![0]),
            other => Err(Failure::new("no_such_path", format!("there is only /echo, and not {other}"))),
        }
    }

    fn receive(&mut self, id: &str, message: Message) {
        let Some(connection) = connections::get(id) else { return };
        let seen = connection.state[0].wrapping_add(1);
        connections::set_state(id, &[seen]).expect("it is open, and a byte is short");
        let done = match message {
            Message::Text(text) if text == "count" => connections::send(id, &seen.to_string().into()),
            Message::Text(text) if text == "close" => connections::close(id, Some(4000), Some("bye")),
            message => connections::send(id, &message),
        };
        done.expect("what came in may go out");
    }
}

impl Http for Counter {
    fn request(&mut self, request: Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => Response::json(200, json!({ "count": count().expect("it was written here") })),
            (_, "/") => Response::text(405, "use GET"),
            (_, other) => Response::text(404, format!("there is only /, and not {other}")),
        }
    }
}

impl Start for Counter {
    fn start(&mut self, reason: StartReason) -> Result<(), String> {
        self.started = match reason {
            StartReason::Created => "created",
            StartReason::Woken => "woken",
            StartReason::Restarted => "restarted",
            StartReason::Upgraded => "upgraded",
        };
        sql::script("CREATE TABLE IF NOT EXISTS history (id INTEGER PRIMARY KEY, by INTEGER NOT NULL, count INTEGER NOT NULL)")
            .map_err(|error| error.message)
    }
}

impl Stop for Counter {
    fn stop(&mut self, reason: StopReason) {
        let reason = match reason {
            StopReason::Sleep => "sleep",
            StopReason::Destroy => "destroy",
            StopReason::GoingAway => "going-away",
        };
        kv::put_json("stopped", &reason).expect("a word is short");
    }
}

impl Migrate for Counter {
    fn migrate(&mut self, from_version: u32) -> Result<(), String> {
        kv::put_json("migrated-from", &from_version).map_err(|error| format!("{error:?}"))
    }
}

impl Alarms for Counter {
    fn fired(&mut self, _scheduled_ms: u64, _attempt: u32) -> Result<(), String> {
        add(10).map(drop).map_err(|failure| failure.message)
    }
}
