//! Sales come in at any time through a durable queue; a cron schedule sums them up and keeps the report.
//!
//! The queue's message is gone in the transaction that counted it, and the report is written in the one that takes the sums away: no
//! sale is lost, and none is counted twice, whatever crashes.

use rivet_actor::{
    Action, Actions, Failure, Http, Origin, Queued, Queues, Request, Response, Start, StartReason, Value, clock, config, json, log,
    reply, schedule, sql,
};

/// At the beginning of every hour.
const EVERY_DEFAULT: &str = "0 * * * *";

#[derive(Default)]
struct Reports;

rivet_actor::export!(Reports: Start + Actions + Queues + Http);

impl Start for Reports {
    fn start(&mut self, _reason: StartReason) -> Result<(), String> {
        sql::script(
            "CREATE TABLE IF NOT EXISTS sale (id INTEGER PRIMARY KEY, product TEXT NOT NULL, cents INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS report (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, sales INTEGER NOT NULL, cents INTEGER NOT NULL)",
        )
        .map_err(|error| error.message)?;
        // The same again changes nothing, so every start may say it.
        let every = config::get("every").unwrap_or_else(|| EVERY_DEFAULT.into());
        schedule::cron("report", &every, "report", ()).map_err(|error| format!("the setting `every`: {error:?}"))
    }
}

impl Queues for Reports {
    fn message(&mut self, message: Queued) -> Result<Option<Value>, Failure> {
        let (product, cents) = (message.body["product"].as_str(), message.body["cents"].as_i64());
        let (Some(product), Some(cents)) = (product, cents) else {
            // A failure would keep it at the head of the queue for ever: what can never be counted is logged, and let go.
            log::warn(&format!("message {} is no sale: {}", message.id, message.body));
            return Ok(Some(json!("ignored")));
        };
        sql::execute("INSERT INTO sale (product, cents) VALUES (?, ?)", &[product.into(), cents.into()])?;
        Ok(Some(json!("counted")))
    }
}

impl Actions for Reports {
    fn action(&mut self, call: Action) -> Result<Value, Failure> {
        match call.name.as_str() {
            "report" => {
                if let Origin::Schedule(due) = &call.origin {
                    log::info(&format!("the report that was due at {}, attempt {}", due.at, due.attempt));
                }
                reply(report()?)
            }
            "reports" => reply(reports()?),
            _ => call.unknown(),
        }
    }
}

impl Http for Reports {
    fn request(&mut self, request: Request) -> Response {
        if (request.method.as_str(), request.path.as_str()) != ("GET", "/") {
            return Response::text(404, "there is only GET /");
        }
        match reports() {
            Ok(reports) => Response::json(200, reports),
            Err(failure) => Response::text(500, failure.to_string()),
        }
    }
}

fn report() -> Result<Value, Failure> {
    let sums = sql::execute("SELECT count(*), coalesce(sum(cents), 0) FROM sale", &[])?;
    let (sales, cents) = (sums.rows[0][0].integer(), sums.rows[0][1].integer());
    let values = [clock::now_ms().cast_signed().into(), sales.into(), cents.into()];
    sql::execute("INSERT INTO report (at, sales, cents) VALUES (?, ?, ?)", &values)?;
    sql::execute("DELETE FROM sale", &[])?;
    Ok(json!({ "sales": sales, "cents": cents }))
}

/// The newest first.
fn reports() -> Result<Vec<Value>, Failure> {
    let found = sql::execute("SELECT at, sales, cents FROM report ORDER BY id DESC LIMIT 100", &[])?;
    let one = |row: &Vec<sql::Value>| json!({ "at": row[0].integer(), "sales": row[1].integer(), "cents": row[2].integer() });
    Ok(found.rows.iter().map(one).collect())
}
