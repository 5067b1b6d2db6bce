//! The targets of actors in the namespace `default`; `path` may have a query.

/// To an actor that exists.
pub fn by_id(actor: &str, path: &str) -> String {
    format!("/gateway/{actor}{path}")
}

/// To the actor with this key, which is made if there is none.
pub fn by_key(name: &str, key: &str, path: &str) -> String {
    with_parameters(name, path, &format!("rvt-namespace=default&rvt-method=getOrCreate&rvt-pool=default&rvt-key={key}"))
}

/// To the actor with this key, if there is one.
pub fn by_key_if_there(name: &str, key: &str, path: &str) -> String {
    with_parameters(name, path, &format!("rvt-namespace=default&rvt-method=get&rvt-key={key}"))
}

fn with_parameters(name: &str, path: &str, parameters: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("/gateway/{name}{path}{separator}{parameters}")
}

/// An id like this one that no actor has.
pub fn unknown(actor: &str) -> String {
    // A digit of the random part.
    actor.char_indices().map(|(at, digit)| if at == 4 { if digit == '1' { '2' } else { '1' } } else { digit }).collect()
}
