//! The agenda as rows: what happens to it, and what comes first then, and what is stored.

use std::collections::BTreeMap;

use super::*;

const NOON_MS: u64 = 1_795_348_800_000;

/// Follows the steps; after each, what comes first is as said. What is stored always gives the same agenda again.
fn check(steps: &[(&str, &str)]) {
    let (mut agenda, mut stored, mut store) = (Agenda::default(), Agenda::default(), BTreeMap::new());
    for (step, expected) in steps {
        take(&mut agenda, step);
        for (key, value) in agenda.changes(&stored) {
            match value {
                Some(value) => drop(store.insert(Bytes::from(key), Bytes::from(value))),
                None => assert!(store.remove(&key[..]).is_some(), "{step}: what is deleted was there"),
            }
        }
        stored = agenda.clone();
        let first = agenda.earliest();
        let engine_alarm_ms = first.as_ref().map(|(at_ms, _)| *at_ms);
        let entries: Vec<_> = store.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut read = Agenda::new(0, engine_alarm_ms, &entries).expect("what was written can be read");
        read.numbered = agenda.numbered;
        assert_eq!(read, agenda, "{step}");
        let shown = first.map_or("nothing".to_string(), |(at_ms, item)| format!("{} {item:?}", at_ms as i64 - NOON_MS as i64));
        assert_eq!(format!("{shown}, {} stored", store.len()), *expected, "{step}");
    }
}

fn take(agenda: &mut Agenda, step: &str) {
    let words: Vec<&str> = step.split(' ').collect();
    let ms = |word: &str| NOON_MS + word.parse::<u64>().expect("milliseconds after noon");
    match words[..] {
        ["alarm", at] => agenda.set_alarm(Some(ms(at))),
        ["no-alarm"] => agenda.set_alarm(None),
        ["at", at, action] => drop(agenda.once(ms(at), action.to_string(), "[]".to_string()).expect("there is room")),
        ["every-minute", name, now] => agenda
            .cron(name.to_string(), "* * * * *".to_string(), "tick".to_string(), "[]".to_string(), ms(now))
            .expect("it is valid"),
        ["cancel", id] => assert!(agenda.cancel(id)),
        ["queued", now] => agenda.set_queue(false, ms(now)),
        ["dequeued", "last", now] => agenda.dequeued(true, false, ms(now)),
        ["dequeued", how, now] => agenda.dequeued(false, how == "with-alarm", ms(now)),
        ["done", now] => {
            let (_, item) = agenda.earliest().expect("something is due");
            agenda.done(&item, ms(now));
        }
        ["failed", now] => {
            let (_, item) = agenda.earliest().expect("something is due");
            agenda.failed(&item, ms(now));
        }
        _ => panic!("{step}"),
    }
}

#[test]
fn an_alarm_alone_needs_no_entry() {
    check(&[
        ("alarm 5", "5 Alarm, 0 stored"),
        ("alarm 3", "3 Alarm, 0 stored"),
        ("at 9 act", "3 Alarm, 2 stored"),
        ("alarm 12", "9 Schedule(\"0.1\"), 2 stored"),
        ("cancel 0.1", "12 Alarm, 0 stored"),
        ("no-alarm", "nothing, 0 stored"),
    ]);
}

#[test]
fn what_failed_comes_again_later_and_later_and_holds_up_nothing_else() {
    check(&[
        ("at 0 first", "0 Schedule(\"0.1\"), 1 stored"),
        ("at 1000 second", "0 Schedule(\"0.1\"), 2 stored"),
        ("failed 0", "1000 Schedule(\"0.2\"), 2 stored"),
        ("done 1000", "2000 Schedule(\"0.1\"), 1 stored"),
        ("failed 2000", "6000 Schedule(\"0.1\"), 1 stored"),
        ("failed 6000", "14000 Schedule(\"0.1\"), 1 stored"),
        ("failed 14000", "30000 Schedule(\"0.1\"), 1 stored"),
        ("failed 30000", "62000 Schedule(\"0.1\"), 1 stored"),
        ("failed 62000", "126000 Schedule(\"0.1\"), 1 stored"),
        ("failed 126000", "254000 Schedule(\"0.1\"), 1 stored"),
        ("failed 254000", "510000 Schedule(\"0.1\"), 1 stored"),
        ("failed 510000", "1022000 Schedule(\"0.1\"), 1 stored"),
        ("failed 1022000", "1534000 Schedule(\"0.1\"), 1 stored"),
        ("done 1534000", "nothing, 0 stored"),
    ]);
}

#[test]
fn a_failed_alarm_is_remembered_beside_other_things() {
    check(&[
        ("alarm 0", "0 Alarm, 0 stored"),
        ("at 500 act", "0 Alarm, 2 stored"),
        ("failed 0", "500 Schedule(\"0.1\"), 2 stored"),
        ("done 500", "2000 Alarm, 1 stored"),
        ("alarm 700", "700 Alarm, 0 stored"),
        ("done 700", "nothing, 0 stored"),
    ]);
}

#[test]
fn a_cron_schedule_goes_on_from_now_and_is_kept_when_it_is_set_again() {
    check(&[
        ("every-minute m 10", "60000 Schedule(\"m\"), 1 stored"),
        ("every-minute m 70000", "60000 Schedule(\"m\"), 1 stored"),
        ("done 60000", "120000 Schedule(\"m\"), 1 stored"),
        // The actor was away for an hour: one call, not sixty.
        ("done 3600001", "3660000 Schedule(\"m\"), 1 stored"),
        ("failed 3660000", "3662000 Schedule(\"m\"), 1 stored"),
        // The next occurrence waited for it.
        ("done 3725000", "3780000 Schedule(\"m\"), 1 stored"),
        // A clock that is behind the engine's: never the same moment twice.
        ("done 3779000", "3840000 Schedule(\"m\"), 1 stored"),
        ("cancel m", "nothing, 0 stored"),
    ]);
}

#[test]
fn a_queue_is_looked_at_until_it_is_empty() {
    check(&[
        ("queued 0", "2000 Queue, 1 stored"),
        ("queued 1500", "2000 Queue, 1 stored"),
        ("failed 2000", "4000 Queue, 1 stored"),
        ("failed 4000", "8000 Queue, 1 stored"),
        ("queued 5000", "8000 Queue, 1 stored"),
        // The next one is another message: it has not failed yet.
        ("dequeued with-alarm 8000", "10000 Queue, 1 stored"),
        // No need to set the alarm for each.
        ("dequeued at-once 8100", "10000 Queue, 1 stored"),
        ("dequeued with-alarm 10000", "12000 Queue, 1 stored"),
        ("dequeued last 10001", "nothing, 0 stored"),
    ]);
}

#[test]
fn schedules_are_bounded_and_the_limit_is_named() {
    let mut agenda = Agenda::default();
    let once = |agenda: &mut Agenda, args: String| agenda.once(1, "act".to_string(), args);
    for _ in 0..SCHEDULES_MAX {
        once(&mut agenda, "[]".to_string()).expect("there is room");
    }
    let cron = |agenda: &mut Agenda, name: &str, expression: &str, args: &str| {
        agenda.cron(name.to_string(), expression.to_string(), "act".to_string(), args.to_string(), NOON_MS)
    };
    let full = Err(Refusal::QuotaExceeded(format!("the actor has {SCHEDULES_MAX} schedules, as many as it may have")));
    assert_eq!(once(&mut agenda, "[]".to_string()).map(drop), full);
    assert_eq!(cron(&mut agenda, "c", "* * * * *", "[]"), full);
    assert!(matches!(cron(&mut agenda, "0.1", "* * * * *", "[]"), Err(Refusal::Invalid(text)) if text.contains("one-shot")));
    assert!(agenda.cancel("0.7") && !agenda.cancel("0.7"));
    let large = format!("[{}1]", " ".repeat(SCHEDULES_BYTES_MAX));
    assert!(matches!(once(&mut agenda, large), Err(Refusal::QuotaExceeded(text)) if text.contains("bytes together")));
    assert!(matches!(cron(&mut agenda, "c", "nonsense", "[]"), Err(Refusal::Invalid(_))));
    assert!(matches!(cron(&mut agenda, "c", "0 0 31 2 *", "[]"), Err(Refusal::Invalid(text)) if text.contains("no moment")));
    assert!(matches!(cron(&mut agenda, "", "* * * * *", "[]"), Err(Refusal::Invalid(_))));
    for id in agenda.schedules().map(|(id, _)| id.clone()).collect::<Vec<_>>() {
        assert!(agenda.cancel(&id));
    }
    assert_eq!(agenda.schedules_bytes, 0);
}

#[test]
fn an_entry_that_cannot_be_read_is_named() {
    let rows: [(&[u8], &[u8]); 5] =
        [(b"\x01q", b""), (b"\x01q", b"\x02\x01\x01"), (b"\x01a", b"\x01"), (b"\x01x", b"\x01\x01"), (b"\x01s\xff", b"\x01")];
    for (key, value) in rows {
        let stored = [(Bytes::from_static(key), Bytes::from_static(value))];
        assert_eq!(Agenda::new(1, Some(1), &stored), Err(String::from_utf8_lossy(key).into_owned()));
    }
}
