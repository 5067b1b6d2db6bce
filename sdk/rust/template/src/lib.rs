//! An actor that counts.

use rivet_actor::{Action, Actions, Failure, Http, Request, Response, Value, connections, kv, reply};

#[derive(Default)]
struct Counter;

rivet_actor::export!(Counter: Actions + Http);

impl Actions for Counter {
    fn action(&mut self, call: Action) -> Result<Value, Failure> {
        match call.name.as_str() {
            "increment" => {
                let (by,): (Option<i64>,) = call.args()?;
                let count = count()? + by.unwrap_or(1);
                kv::put_json("count", &count)?;
                connections::broadcast("changed", (count,))?;
                reply(count)
            }
            "get" => reply(count()?),
            _ => call.unknown(),
        }
    }
}

impl Http for Counter {
    fn request(&mut self, _request: Request) -> Response {
        match count() {
            Ok(count) => Response::json(200, count),
            Err(failure) => Response::text(500, failure.to_string()),
        }
    }
}

fn count() -> Result<i64, Failure> {
    Ok(kv::get_json("count")?.unwrap_or(0))
}
