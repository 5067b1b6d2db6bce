//! A token bucket for each key: by action from another actor or a client, or by HTTP from a proxy.
//!
//! Nothing runs while nobody asks: what has flowed in since is computed when somebody does. The bucket's size and rate are what the
//! actor was created with, or else settings of the deployment.

use rivet_actor::{Action, Actions, Failure, Http, Request, Response, Value, clock, config, context, json, kv, reply};

const CAPACITY_DEFAULT: f64 = 10.0;
const PER_SECOND_DEFAULT: f64 = 1.0;

#[derive(Default)]
struct Limiter;

rivet_actor::export!(Limiter: Actions + Http);

struct Taken {
    allowed: bool,
    remaining: f64,
    /// Until there are as many as were asked for; none if there never will be.
    retry_after_ms: Option<u64>,
}

impl Actions for Limiter {
    fn action(&mut self, call: Action) -> Result<Value, Failure> {
        match call.name.as_str() {
            "take" => {
                let (tokens,): (Option<f64>,) = call.args()?;
                let taken = take(tokens.unwrap_or(1.0))?;
                let (remaining, retry) = (taken.remaining.floor(), taken.retry_after_ms);
                reply(json!({ "allowed": taken.allowed, "remaining": remaining, "retryAfterMs": retry }))
            }
            _ => call.unknown(),
        }
    }
}

impl Http for Limiter {
    fn request(&mut self, request: Request) -> Response {
        if (request.method.as_str(), request.path.as_str()) != ("POST", "/take") {
            return Response::text(404, "there is only POST /take");
        }
        match take(1.0) {
            Ok(taken) => {
                let mut response =
                    Response::text(if taken.allowed { 200 } else { 429 }, format!("{} left\n", taken.remaining.floor()));
                if let Some(ms) = taken.retry_after_ms {
                    response = response.header("retry-after", ms.div_ceil(1000).to_string());
                }
                response
            }
            Err(failure) => Response::text(500, failure.to_string()),
        }
    }
}

fn take(tokens: f64) -> Result<Taken, Failure> {
    if !(tokens > 0.0 && tokens.is_finite()) {
        return Err(Failure::new("invalid_argument", format!("tokens are a number above 0, and not {tokens}")));
    }
    let (capacity, per_second) = (rate("capacity", CAPACITY_DEFAULT)?, rate("perSecond", PER_SECOND_DEFAULT)?);
    let now = clock::now_ms();
    let (had, since): (f64, u64) = kv::get_json("bucket")?.unwrap_or((capacity, now));
    // The clock may have been set back: nothing flows out by that.
    let flowed = now.saturating_sub(since) as f64 / 1000.0 * per_second;
    let there = (had + flowed).min(capacity);
    let allowed = tokens <= there;
    let remaining = if allowed { there - tokens } else { there };
    kv::put_json("bucket", &(remaining, now))?;
    let wait_ms = ((tokens - there) / per_second * 1000.0).ceil();
    let retry_after_ms = (!allowed && tokens <= capacity).then_some(wait_ms as u64);
    Ok(Taken { allowed, remaining, retry_after_ms })
}

/// From the actor's input, `{"capacity": 5, "perSecond": 0.5}`, or the deployment's settings.
fn rate(name: &str, otherwise: f64) -> Result<f64, Failure> {
    let input = context::input().map(|bytes| rivet_actor::from_json::<Value>(&bytes)).transpose()?;
    let given = input.and_then(|input| input[name].as_f64());
    let set = || config::get(name).and_then(|text| text.parse().ok());
    match given.or_else(set).unwrap_or(otherwise) {
        rate if rate > 0.0 && rate.is_finite() => Ok(rate),
        rate => Err(Failure::new("invalid_rate", format!("{name} must be above 0, and is {rate}"))),
    }
}
