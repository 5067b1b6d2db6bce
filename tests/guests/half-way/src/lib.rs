//! Writes, answers, and goes on: what a streaming handler does around the moment at which its response begins.
//!
//! `GET /VALUE` stores the value, sends the head and a first line, then tries to store something else and says what came of that.
//! `GET /VALUE/trap` traps a second after the first line. `GET /VALUE/wait` keeps the response open. `GET /` says what is stored.

use rivet::actor::kv;
use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wit_bindgen::generate!({ path: "wit", world: "half-way", generate_all });

struct HalfWay;
wasip2::http::proxy::export!(HalfWay);

impl Guest for HalfWay {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let mut parts = path.trim_start_matches('/').split('/');
        let (value, then) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !value.is_empty() {
            kv::put(b"value", value.as_bytes()).expect("a short value is taken");
        }
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the first to ask for it");
        let output = body.write().expect("the first to ask for it");
        ResponseOutparam::set(out, Ok(response));
        let say = |text: &str| output.blocking_write_and_flush(text.as_bytes()).expect("somebody reads");
        if value.is_empty() {
            say(&format!("{:?}\n", kv::get(b"value").map(|value| value.map(String::from_utf8))));
        } else {
            say(&format!("stored {value}\n"));
            match then {
                // Not before the head has left: a trap before that is like any other.
                "trap" => {
                    monotonic_clock::subscribe_duration(1_000_000_000).block();
                    panic!("after the head")
                }
                "wait" => monotonic_clock::subscribe_duration(60_000_000_000).block(),
                _ => say(&format!("{:?}\n", kv::put(b"value", b"too late"))),
            }
        }
        drop(output);
        let _ = OutgoingBody::finish(body, None);
    }
}
