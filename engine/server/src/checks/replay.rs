//! Requests that were recorded, made again on forks: how, what each did there, and in what two versions are not alike.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_store::recordings::{RecordedBody, RecordedEnd, RecordedRequest};
use engine_store::{Batch, Fork, Persist, Snapshot, State, Store, StoreError};
use http::Request;
use http_body_util::Full;
use protocol::id::ActorId;

use super::changes;
use super::fork::FORK_MS_MAX;
use super::report::{Answer, Answered, Changes, Recorded};

/// After that no other recorded request is made on a fork.
pub const REPLAY_MS_MAX: u64 = 30_000;
/// For what all requests of a fork did; of those that are left it is not known.
const COMPARE_MS_MAX: u64 = 20_000;

pub fn request(actor: ActorId, recorded: &RecordedRequest) -> http::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(&recorded.method[..]).uri(format!("/gateway/{actor}{}", recorded.path));
    for (name, value) in &recorded.headers {
        request = request.header(name, &value[..]);
    }
    let body = match &recorded.body {
        RecordedBody::Whole(body) => Bytes::copy_from_slice(body),
        RecordedBody::TooLarge(_) => Bytes::new(),
    };
    request.body(Full::new(body))
}

/// Why it cannot be made again.
pub fn not_kept(recorded: &RecordedRequest) -> Option<String> {
    match recorded.body {
        RecordedBody::Whole(_) => None,
        RecordedBody::TooLarge(Some(bytes)) => Some(format!("it was too large to be recorded: its body had {bytes} bytes")),
        RecordedBody::TooLarge(None) => Some("it was too large to be recorded, or its length was not known".to_string()),
    }
}

/// What is said of it before it is made again.
pub fn recorded(recorded: &RecordedRequest) -> Recorded {
    let (status, error) = match &recorded.ended {
        RecordedEnd::Answered { status, .. } => (Some(*status), None),
        RecordedEnd::Failed { code } => (None, Some(code.clone())),
        RecordedEnd::Left => (None, None),
    };
    let (ts, version) = (recorded.arrived_ms, recorded.version);
    Recorded { ts, version, status, error, same: None, today_same: None, skipped: None }
}

/// Whether this is what was answered then. None: one of the two is not known to its end.
pub fn is_same(recorded: &RecordedRequest, answer: &Answer) -> Option<bool> {
    match (&recorded.ended, answer.status) {
        (RecordedEnd::Answered { status, .. }, Some(now)) if *status != now => Some(false),
        (RecordedEnd::Answered { digest: Some(then), .. }, Some(_)) => answer.digest.map(|now| now == *then),
        _ => None,
    }
}

/// What a fork did in each step but the first, which is its start. None: it took too long to find out. Blocking.
pub fn effects(
    below: Arc<dyn Snapshot>,
    actor: ActorId,
    steps: &[Batch],
    asked: usize,
) -> Result<Vec<Option<Changes>>, StoreError> {
    let began = Instant::now();
    let before = Arc::new(Fork::of_actor(below, actor, usize::MAX));
    let mut effects = Vec::new();
    for (number, step) in steps.iter().take(asked + 1).enumerate() {
        if began.elapsed() >= Duration::from_millis(COMPARE_MS_MAX) {
            break;
        }
        if number > 0 {
            let after = Arc::new(Fork::whole(before.ground()));
            after.commit(step, Persist::Written)?;
            let alarm = State::new(before.clone()).actor_record(actor)?.and_then(|record| record.alarm);
            effects.push(Some(changes::of(before.ground(), &after, actor, alarm)?));
        }
        before.commit(step, Persist::Written)?;
    }
    effects.resize_with(asked, || None);
    Ok(effects)
}

/// What today's version answers and does is put beside it.
pub fn compare(call: &mut Answered, today: Answered) {
    if !call.is_skipped() && !today.is_skipped() {
        call.differs = differences(call, &today);
    }
    (call.today, call.today_changes) = (Some(today.answer), today.changes);
    if let (Some(recorded), Some(of_today)) = (&mut call.recorded, today.recorded) {
        recorded.today_same = of_today.same;
    }
}

fn differences(new: &Answered, today: &Answered) -> Vec<&'static str> {
    let mut differs = Vec::new();
    let mut tell = |what: &'static str, is_other: bool| {
        if is_other {
            differs.push(what);
        }
    };
    let (answer, of_today) = (&new.answer, &today.answer);
    tell("status", answer.status != of_today.status);
    tell("answer", answer.body != of_today.body || answer.digest != of_today.digest);
    let (Some(changes), Some(of_today)) = (&new.changes, &today.changes) else { return differs };
    tell("entries", (changes.kv.digest, changes.kv.counted) != (of_today.kv.digest, of_today.kv.counted));
    tell("database", changes.tables != of_today.tables);
    let moved = |changes: &Changes| changes.alarm.map(|alarm| alarm.after_ts);
    tell("alarm", !are_one_moment(moved(changes), moved(of_today)));
    tell("kept", changes.kept != of_today.kept);
    differs
}

/// The two forks ran one after the other, and what is set from now on is set later there.
fn are_one_moment(one: Option<Option<u64>>, other: Option<Option<u64>>) -> bool {
    match (one, other) {
        (Some(Some(one)), Some(Some(other))) => one.abs_diff(other) <= 2 * FORK_MS_MAX,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{AlarmMoved, Entries, Table};
    use super::*;

    fn answered(change: impl FnOnce(&mut Answered, &mut Changes)) -> Answered {
        let answer = Answer { status: Some(200), body: "a".to_string(), digest: Some([1; 32]) };
        let (call, differs) = ("GET /".to_string(), Vec::new());
        let mut answered =
            Answered { call, answer, elapsed_ms: 1, changes: None, today: None, today_changes: None, differs, recorded: None };
        let mut changes = Changes::default();
        change(&mut answered, &mut changes);
        answered.changes = Some(changes);
        answered
    }

    type Change = fn(&mut Answered, &mut Changes);

    #[test]
    fn in_what_two_are_not_alike() {
        let rows: [(Change, &[&str]); 10] = [
            (|_, _| {}, &[]),
            (|of, _| of.answer.status = Some(500), &["status"]),
            (|of, _| of.answer.status = None, &["status"]),
            (|of, _| of.answer.body = "b".to_string(), &["answer"]),
            (|of, _| of.answer.digest = Some([2; 32]), &["answer"]),
            (|_, changes| changes.kv = Entries { digest: 7, ..Entries::default() }, &["entries"]),
            (|_, changes| changes.tables.push(Table { digest: 7, ..Table::default() }), &["database"]),
            (|_, changes| changes.alarm = Some(AlarmMoved { before_ts: None, after_ts: Some(1) }), &["alarm"]),
            (|_, changes| changes.kept.removed = 1, &["kept"]),
            (
                |of, changes| {
                    of.answer.status = Some(404);
                    changes.kv.counted.added = 1;
                },
                &["status", "entries"],
            ),
        ];
        for (change, expected) in rows {
            let mut call = answered(change);
            compare(&mut call, answered(|_, _| {}));
            assert_eq!(call.differs, expected);
        }
        let alarm = |after_ts| answered(move |_, changes| changes.alarm = Some(AlarmMoved { before_ts: None, after_ts }));
        let rows = [(Some(1), Some(120_001), true), (Some(1), Some(120_002), false), (None, Some(1), false), (None, None, true)];
        for (one, other, expected) in rows {
            let mut call = alarm(one);
            compare(&mut call, alarm(other));
            assert_eq!(call.differs.is_empty(), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_was_answered_then() {
        let answered = |status, digest| RecordedEnd::Answered { status, digest };
        let rows = [
            (answered(200, Some([1; 32])), Some(true)),
            (answered(200, Some([2; 32])), Some(false)),
            (answered(500, Some([1; 32])), Some(false)),
            (answered(500, None), Some(false)),
            (answered(200, None), None),
            (RecordedEnd::Left, None),
            (RecordedEnd::Failed { code: "actor.crashed".to_string() }, None),
        ];
        for (ended, expected) in rows {
            let said = format!("{ended:?}");
            let recorded = RecordedRequest {
                arrived_ms: 1,
                version: 1,
                method: "GET".to_string(),
                path: "/".to_string(),
                headers: Vec::new(),
                body: RecordedBody::Whole(Vec::new()),
                ended,
            };
            let answer = Answer { status: Some(200), body: String::new(), digest: Some([1; 32]) };
            assert_eq!(is_same(&recorded, &answer), expected, "{said}");
        }
    }
}
