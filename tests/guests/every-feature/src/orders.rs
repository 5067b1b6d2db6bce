//! The orders: a word, and what it needs, with spaces between.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::rivet::actor::{actors, alarm, config, context, kv, queue, schedule, sql};

/// Told to fail; the code.
pub struct Ended(pub String);

/// How often the alarm handler is to fail.
static ALARM_FAILURES: AtomicU32 = AtomicU32::new(0);

pub fn alarm_fails(attempt: u32) -> bool {
    attempt <= ALARM_FAILURES.load(Ordering::Relaxed)
}

pub fn carry_out<'a>(orders: impl Iterator<Item = &'a str>, attempt: u32) -> Result<Vec<String>, Ended> {
    let mut lines = Vec::new();
    for order in orders {
        lines.extend(carry_out_one(order, attempt)?);
    }
    Ok(lines)
}

fn carry_out_one(order: &str, attempt: u32) -> Result<Option<String>, Ended> {
    let (word, rest) = order.split_once(' ').unwrap_or((order, ""));
    let line = match word {
        "fail" => return Err(Ended(rest.to_string())),
        // `until 3 fail code`: at the first two attempts.
        "until" => {
            let (number, order) = rest.split_once(' ').expect("a number and an order");
            return if attempt < ms(number) as u32 { carry_out_one(order, attempt) } else { Ok(None) };
        }
        "trap" => panic!("it was told to"),
        "get" => shown(kv::get(rest.as_bytes()).map(|value| value.map(|value| String::from_utf8_lossy(&value).into_owned()))),
        "put" => {
            let (key, value) = rest.split_once(' ').expect("a key and a value");
            shown(kv::put(key.as_bytes(), value.as_bytes()))
        }
        "did" => did().join("; "),
        "keys" => shown(
            kv::list(&kv::Selector::All, kv::ListOptions { reverse: false, limit: None, keys_only: true }).map(|all| all.len()),
        ),
        "sql" => match sql::execute(rest, &[]) {
            Ok(executed) => format!("{:?} {}", executed.rows, executed.changes),
            Err(error) => format!("{}: {}", error.code, error.message),
        },
        "script" => shown(sql::execute_script(rest)),
        "alarm" => shown(alarm::set(ms(rest))),
        "alarm-get" => format!("{:?}", alarm::get()),
        "alarm-fails" => {
            ALARM_FAILURES.store(ms(rest) as u32, Ordering::Relaxed);
            return Ok(None);
        }
        "at" => {
            let [at, action, args] = words(rest);
            shown(schedule::at(ms(at), action, args))
        }
        // The fields of the expression with `_` between them.
        "cron" => {
            let [name, expression, action, args] = words(rest);
            shown(schedule::cron(name, &expression.replace('_', " "), action, args))
        }
        "cancel" => shown(schedule::cancel(rest)),
        "schedules" => {
            let entries = schedule::list().expect("it is always known");
            let shown = entries.iter().map(|entry| format!("{} {} {} {:?}", entry.id, entry.action, entry.next_at, entry.cron));
            shown.collect::<Vec<_>>().join("; ")
        }
        "push" => {
            let [name, body] = words(rest);
            shown(queue::push(name, body))
        }
        "push-bytes" => shown(queue::push("q", &format!("\"{}\"", "x".repeat(ms(rest) as usize)))),
        "size" => shown(queue::size()),
        "call" => {
            let [id, action, args] = words(rest);
            let answer = actors::call(&actors::Target::Id(id.to_string()), action, args, None);
            answer.unwrap_or_else(|error| format!("{}.{}", error.group, error.code))
        }
        "config" => format!("{:?}", config::get(rest)),
        "names" => config::names().join(" "),
        "info" => {
            let info = context::info();
            format!("{} {} {} v{}", info.namespace, info.name, info.generation, info.version)
        }
        "keep-awake" => {
            context::keep_awake(ms(rest));
            return Ok(None);
        }
        other => panic!("{other} is not an order"),
    };
    Ok(Some(line))
}

/// Under the next number below `did/`.
pub fn write_down(what: &str) {
    let number = did().len();
    kv::put(format!("did/{number:08}").as_bytes(), what.as_bytes()).expect("a few bytes can be stored");
}

fn did() -> Vec<String> {
    let options = kv::ListOptions { reverse: false, limit: None, keys_only: false };
    let entries = kv::list(&kv::Selector::Prefix(b"did/".to_vec()), options).expect("a short prefix can be listed");
    entries.into_iter().map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).collect()
}

fn words<const N: usize>(text: &str) -> [&str; N] {
    let words: Vec<&str> = text.splitn(N, ' ').collect();
    words.try_into().expect("the order has other words")
}

fn ms(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn shown<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, E>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{error:?}"),
    }
}
