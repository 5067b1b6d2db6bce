//! What a handler that is not HTTP is told to do wrong.
//!
//! An order is a word: `panic`, `error`, `loop`, `sleep`, `destroy`; for alarms also `again:MS` (set it anew) and a count, as in
//! `error:2` (only up to the second attempt). It comes from the value of the key `do/HANDLER`, or else from the actor's input, where
//! the handler's name stands in front and commas between: `start-error,alarm-panic:2`.

use crate::rivet::actor::{context, kv};

pub enum Order {
    Panic,
    Error,
    Loop,
    Sleep,
    Destroy,
    /// Set the alarm again, so many milliseconds from now.
    Again(u64),
    /// Only while the attempt is not above this one.
    UpTo(u32, Box<Order>),
}

pub fn order_for(handler: &str) -> Option<Order> {
    if let Some(stored) = kv::get(format!("do/{handler}").as_bytes()).expect("a short key can be read") {
        return parse(&String::from_utf8_lossy(&stored));
    }
    let input = context::input()?;
    let input = String::from_utf8_lossy(&input);
    input.split(',').find_map(|word| parse(word.strip_prefix(handler)?.strip_prefix('-')?))
}

fn parse(word: &str) -> Option<Order> {
    if let Some((word, number)) = word.split_once(':') {
        let number: u32 = number.parse().expect("an order's number is a number");
        return Some(match word {
            "again" => Order::Again(number.into()),
            _ => Order::UpTo(number, Box::new(parse(word)?)),
        });
    }
    Some(match word {
        "panic" => Order::Panic,
        "error" => Order::Error,
        "loop" => Order::Loop,
        "sleep" => Order::Sleep,
        "destroy" => Order::Destroy,
        _ => return None,
    })
}
