//! `rivet-engine deploy FILE --check`: what a version would do to actors that there are, without deploying it.

use clap::Args;
use reqwest::Body;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::api::checks::CALLS_HEADER;
use crate::api::settings::SETTINGS_HEADER;
use crate::cli::client::Client;
use crate::cli::deploy::one_line;
use crate::cli::{Outcome, print, settings};

/// Tables and keys that are named on one line.
const NAMED_MAX: usize = 5;

#[derive(Args)]
pub struct CheckArgs {
    /// Deploy nothing: try it on copies of actors' state and show what would change. Fails if it fails on any of them
    #[arg(long, conflicts_with_all = ["canary", "no_wait"])]
    check: bool,

    /// With --check: on how many actors, half of them the oldest, half the newest [default: 20]
    #[arg(long, value_name = "N", requires = "check")]
    actors: Option<usize>,

    /// With --check: on this actor. May be repeated
    #[arg(long, value_name = "ID", requires = "check", conflicts_with = "actors")]
    actor: Vec<String>,

    /// With --check: an action that each copy is asked once it runs, with its arguments. May be repeated
    #[arg(long, value_name = "NAME[=JSON]", requires = "check")]
    call: Vec<String>,

    /// With --check: the same with an HTTP request, as 'GET /path'; after the actions
    #[arg(long, value_name = "METHOD PATH", requires = "check")]
    request: Vec<String>,

    /// With --check: make the last N requests that were recorded of each actor again, first. 0: none [default: all, unless there are
    /// calls]
    #[arg(long, value_name = "N", requires = "check")]
    recorded: Option<u32>,
}

impl CheckArgs {
    pub fn is_wanted(&self) -> bool {
        self.check
    }

    /// As the API takes it.
    fn calls(&self) -> Result<String, String> {
        let action = |text: &String| {
            let (name, args) = text.split_once('=').unwrap_or((text, "[]"));
            let args: &RawValue = serde_json::from_str(args).map_err(|error| {
                format!("--call {text:?} has arguments that are not JSON ({error}); NAME='[1,\"a\"]' is an example")
            })?;
            // What is no array is one argument.
            let args = if args.get().starts_with('[') { args.get().to_string() } else { format!("[{}]", args.get()) };
            Ok(format!("{{\"action\":{},\"args\":{args}}}", json!(name)))
        };
        let actions = self.call.iter().map(action);
        let requests = self.request.iter().map(|request| Ok(json!({ "request": request }).to_string()));
        let calls = actions.chain(requests).collect::<Result<Vec<_>, String>>()?;
        Ok(format!("[{}]", calls.join(",")))
    }
}

/// What is sent, and how it is answered.
pub struct Sent<'a> {
    pub name: &'a str,
    pub settings: &'a Value,
    pub component: Body,
    pub json: bool,
}

pub async fn run(client: &Client, args: &CheckArgs, sent: Sent<'_>) -> Outcome {
    let count = args.actors.map(|count| count.to_string());
    let mut query: Vec<(&str, &str)> = args.actor.iter().map(|actor| ("actor_id", actor.as_str())).collect();
    query.extend(count.as_deref().map(|count| ("actors", count)));
    let recorded = args.recorded.map(|count| count.to_string());
    query.extend(recorded.as_deref().map(|count| ("recorded", count)));
    let calls: Value = serde_json::from_str(&args.calls()?).map_err(|error| format!("the calls cannot be sent: {error}"))?;
    let request = client.request(Method::POST, &["deployments", sent.name, "check"], &query);
    let request = request.header(SETTINGS_HEADER, one_line(sent.settings)).header(CALLS_HEADER, one_line(&calls));
    let request = request.header(CONTENT_TYPE, "application/wasm").header(ACCEPT, "application/x-ndjson").body(sent.component);
    let response = client.send(request).await?;
    let mut last = Value::Null;
    client
        .lines(response, |line| {
            print::progress("");
            match line["phase"].as_str() {
                Some("compiling") => {
                    print::progress(&format!("compiling, {} s", line["elapsed_ms"].as_u64().unwrap_or(0) / 1_000));
                }
                Some("checked") if !sent.json => {
                    print::line(&format!(
                        "{} in namespace {}, as version {} would be:",
                        sent.name, client.namespace, line["version"]
                    ));
                    settings::show(&line);
                }
                Some("tried") if !sent.json => show(&line).iter().for_each(|line| print::line(line)),
                _ => {}
            }
            last = line;
            Ok(())
        })
        .await?;
    match last["phase"].as_str() {
        Some("done") => {}
        Some("failed") => return Err(refused(&last["error"])),
        _ => return Err("the engine ended the check without saying how it went; its log may say why".to_string()),
    }
    if sent.json {
        print::line(&last.to_string());
    }
    let of = |name: &str| last["summary"][name].as_u64().unwrap_or(0);
    let (tried, failed, not_tried) = (of("tried"), of("failed"), of("not_tried"));
    if failed > 0 {
        return Err(format!("it failed on {failed} of {} that it was tried on; nothing was deployed", actors(tried)));
    }
    if not_tried > 0 {
        return Err(format!(
            "it went well on {}, and there was no time for {not_tried} more; try fewer with --actors",
            actors(tried)
        ));
    }
    if !sent.json {
        print::line(&match tried {
            0 => format!(
                "there is no actor of the name {} to try it on; the component itself is fine. Nothing was deployed",
                sent.name
            ),
            _ => format!("it went well on {}{}; nothing was deployed", actors(tried), otherwise(of("calls"), of("differing"))),
        });
    }
    Ok(())
}

fn actors(count: u64) -> String {
    format!("{count} actor{}", if count == 1 { "" } else { "s" })
}

/// How many requests went otherwise than today.
fn otherwise(calls: u64, differing: u64) -> String {
    match (calls, differing) {
        (0, _) => String::new(),
        (_, 0) => format!(", and all of {calls} requests as today"),
        _ => format!(", and {differing} of {calls} requests otherwise than today"),
    }
}

fn refused(error: &Value) -> String {
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    format!("{} ({}.{})", text("message"), text("group"), text("code"))
}

/// How it went with one actor. What comes from a guest is shown without what a terminal would act upon.
fn show(actor: &Value) -> Vec<String> {
    let mut head = format!("{}  {}", text(&actor["actor_id"]), text(&actor["outcome"]).replace('_', " "));
    let version = actor["version"].as_u64();
    head.push_str(&version.map_or_else(|| "  never ran a component".to_string(), |version| format!("  from version {version}")));
    if let Some(key) = actor["key"].as_str() {
        head.push_str(&format!("  key {}", plain(key)));
    }
    if let Some(pinned) = actor["pinned"].as_u64() {
        head.push_str(&format!("  (pinned to version {pinned}, where it would stay)"));
    }
    let mut lines = vec![head];
    let mut tell = |what: &str, said: String| lines.push(format!("  {what:<10}{said}"));
    if let Some(message) = actor["message"].as_str() {
        tell("because", plain(message));
    }
    changes(&actor["changes"]).into_iter().for_each(|(what, said)| tell(what, said));
    for call in each(&actor["calls"]) {
        asked(call).into_iter().for_each(|(what, said)| tell(what, said));
    }
    for (what, tried) in [("requests", &actor["outgoing"]), ("calls", &actor["actor_calls"])] {
        if tried["count"] != 0 {
            let to: Vec<String> = each(&tried["to"]).map(|to| plain(text(to))).collect();
            tell(what, format!("{} refused, to {}", tried["count"], to.join(", ")));
        }
    }
    for wish in each(&actor["wishes"]) {
        tell("wished", format!("to {}", text(wish)));
    }
    for line in each(&actor["logs"]["lines"]) {
        tell("logged", format!("{} {}", text(&line["level"]), plain(text(&line["text"]))));
    }
    let memory = print::size(actor["memory_bytes"].as_u64().unwrap_or(0));
    tell(
        "used",
        format!("{:.1} ms of a processor, {memory}, {} ms in all", actor["cpu_ms"].as_f64().unwrap_or(0.0), actor["elapsed_ms"]),
    );
    lines
}

/// What was answered, and in what today's version is another.
fn asked(call: &Value) -> Vec<(&'static str, String)> {
    let (recorded, today) = (&call["recorded"], &call["today"]);
    let status = |answer: &Value| answer["status"].as_u64().map_or_else(|| "no answer".to_string(), |status| status.to_string());
    let name = plain(text(&call["call"]));
    if let Some(why) = recorded["skipped"].as_str() {
        return vec![("skipped", format!("{name}: {why}"))];
    }
    let answered = || format!("{} {}", status(call), plain(text(&call["body"])));
    let differs: Vec<&str> = each(&call["differs"]).map(text).collect();
    let mut said = match recorded.is_object() {
        false => vec![("asked", format!("{name}: {}", answered()))],
        true if differs.is_empty() && today.is_object() => {
            vec![("replayed", format!("{name}: {}, as today{}", status(call), then(recorded)))]
        }
        true => vec![("replayed", format!("{name}: {}{}", answered(), then(recorded)))],
    };
    if differs.contains(&"status") || differs.contains(&"answer") {
        said.push(("today", format!("{} {}", status(today), plain(text(&today["body"])))));
    }
    if !differs.is_empty() {
        said.push(("differs", differs.join(", ")));
    }
    for (of, what) in [("changes", "did"), ("today_changes", "today did")] {
        if differs.iter().any(|what| !matches!(*what, "status" | "answer")) && call[of].is_object() {
            said.extend(changes(&call[of]).into_iter().map(|(which, done)| (what, format!("{which} {done}"))));
        }
    }
    said
}

/// How it ended when it was recorded, if that is another.
fn then(recorded: &Value) -> String {
    let ended = match (recorded["status"].as_u64(), recorded["error"].as_str()) {
        (Some(status), _) => status.to_string(),
        (None, Some(code)) => code.to_string(),
        (None, None) => "not waited for".to_string(),
    };
    let same = match recorded["same"].as_bool() {
        Some(true) => return ", as recorded".to_string(),
        Some(false) => "another answer",
        None => "not comparable",
    };
    format!(", recorded {}: {ended}, {same}", print::moment(recorded["ts"].as_u64().unwrap_or(0)))
}

fn changes(changes: &Value) -> Vec<(&'static str, String)> {
    let mut said = Vec::new();
    if let Some(counts) = counts(&changes["kv"]) {
        let keys = ["added", "changed", "removed"].into_iter().zip(["+", "~", "-"]);
        let named =
            keys.flat_map(|(of, sign)| each(&changes["kv"]["keys"][of]).map(move |key| format!("{sign}{}", plain(text(key)))));
        said.push(("entries", format!("{counts}: {}", named.collect::<Vec<_>>().join(" "))));
    }
    for table in each(&changes["tables"]) {
        let definition = table["definition"].as_str().map(|definition| format!(" {definition}")).unwrap_or_default();
        let rows = counts(&table["rows"]).map(|counts| format!(", rows {counts}")).unwrap_or_default();
        said.push(("database", format!("{} {}{definition}{rows}", text(&table["kind"]), plain(text(&table["name"])))));
    }
    let moment = |ms: &Value| ms.as_u64().map_or_else(|| "none".to_string(), print::moment);
    if changes["alarm"].is_object() {
        let (before, after) = (moment(&changes["alarm"]["before_ts"]), moment(&changes["alarm"]["after_ts"]));
        said.push(("alarm", format!("{before} -> {after}")));
    }
    if let Some(counts) = counts(&changes["kept"]) {
        said.push(("kept", format!("{counts} (schedules, queued messages, connections)")));
    }
    let unknown: Vec<String> = each(&changes["unknown"]).take(NAMED_MAX).map(|what| plain(text(what))).collect();
    said.extend(unknown.into_iter().map(|what| ("unknown", what)));
    if said.is_empty() {
        said.push(("state", "as it was".to_string()));
    }
    said
}

fn counts(counted: &Value) -> Option<String> {
    let of = |name: &str| counted[name].as_u64().unwrap_or(0);
    let (added, changed, removed) = (of("added"), of("changed"), of("removed"));
    let more = if counted["more"] == true { ", and more" } else { "" };
    (added + changed + removed > 0).then(|| format!("{added} added, {changed} changed, {removed} removed{more}"))
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// On one line, but for those that follow: these are set in.
fn plain(text: &str) -> String {
    let shown = |char: char| match char {
        '\n' => "\n            ".to_string(),
        char if char.is_control() => char.escape_default().to_string(),
        char => char.to_string(),
    };
    text.trim_end().chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::deploy::DeployArgs;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        deploy: DeployArgs,
    }

    fn calls(flags: &[&str]) -> Result<String, String> {
        let typed = Typed::try_parse_from([&["x", "a.wasm"], flags].concat()).map_err(|error| error.kind().to_string())?;
        typed.deploy.check.calls()
    }

    #[test]
    fn flags_become_calls() {
        let rows: [(&[&str], Result<&str, &str>); 9] = [
            (&["--check"], Ok("[]")),
            (&["--check", "--call", "get"], Ok(r#"[{"action":"get","args":[]}]"#)),
            (
                &["--check", "--call", "add=[1,2]", "--call", "put=\"a\""],
                Ok(r#"[{"action":"add","args":[1,2]},{"action":"put","args":["a"]}]"#),
            ),
            (&["--check", "--request", "GET /a", "--call", "b"], Ok(r#"[{"action":"b","args":[]},{"request":"GET /a"}]"#)),
            (&["--check", "--call", "a=["], Err("not JSON")),
            (&["--call", "a"], Err("required arguments")),
            (&["--actors", "3"], Err("required arguments")),
            (&["--check", "--canary", "5%"], Err("cannot be used with")),
            (&["--check", "--actors", "3", "--actor", "x"], Err("cannot be used with")),
        ];
        for (flags, expected) in rows {
            match (calls(flags), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{flags:?}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{flags:?}: {why}"),
                (found, expected) => panic!("{flags:?}: {expected:?} expected, seen {found:?}"),
            }
        }
    }

    #[test]
    fn a_guest_does_not_speak_to_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\tc\u{7}\n  in d\n"), "a\\u{1b}[2Jb\\r\\tc\\u{7}\n              in d");
    }
}
