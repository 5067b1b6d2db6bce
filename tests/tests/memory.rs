//! One memory budget: an engine with little memory, and more asked of it than fits, all at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rivet_tests::address::by_key;
use rivet_tests::engine::run_with;
use rivet_tests::{Answer, Call, Engine, until};

const MIB: u64 = 1024 * 1024;
const LIMIT_BYTES: u64 = 256 * MIB;
/// What the kernel may count beyond the limit, for a moment: the watch looks four times a second.
const SLACK_BYTES: u64 = 48 * MIB;
const LOAD_FOR: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Actors that want four times what all guests may have.
const HOARDERS: usize = 64;
const HOARD_BYTES: u64 = 4 * MIB;
const UPLOADS: usize = 16;
const UPLOAD_BYTES: usize = 8 * 1024 * 1024;
const WRITERS: usize = 8;
/// Bodies that are announced and do not come: together more than all that may be held.
const PARKED: usize = 900;
const PARKED_BYTES: u64 = 64 * 1024;

/// How often each answer was seen: its status, and the code of an error.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, u64>>>);

impl Seen {
    fn count(&self, what: &str, answer: &Answer) {
        let row = format!("{what} {} {}", answer.status, answer.code());
        if answer.status == 500 {
            println!("{what}: {answer}");
        }
        *self.0.lock().expect("no task panicked").entry(row.trim_end().to_string()).or_default() += 1;
    }

    fn of(&self, row: &str) -> u64 {
        self.0.lock().expect("no task panicked").get(row).copied().unwrap_or(0)
    }
}

/// What was acknowledged of each counter, and what may have happened besides.
#[derive(Default)]
struct Count {
    acknowledged: AtomicU64,
    tried: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_than_fits_is_refused_or_sleeps_and_nothing_acknowledged_is_lost() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port that is free").port();
    let flags = ["--memory-limit", "256MiB", "--wasm-actor-memory", "32", "--metrics-port", &port.to_string()];
    let engine = Engine::start_alone(&flags).await;
    engine.deploy("counter", "counter").await;
    engine.deploy("hostile", "hostile").await;
    let put = |number: usize| Call::post(by_key("hostile", &format!("put-{number}"), "/put-many?n=7&bytes=131000"));
    engine.send(put(0)).await.expect_ok("what is to be there at the end");
    let shared = Arc::new(engine);

    let (seen, over) = (Seen::default(), Arc::new(AtomicBool::new(false)));
    let counts: Arc<Vec<Count>> = Arc::new((0..WRITERS).map(|_| Count::default()).collect());
    let mut tasks = Vec::new();
    for number in 0..HOARDERS {
        tasks.push(repeat(&shared, &over, &seen, "hoard", move || {
            Call::post(by_key("hostile", &format!("hoard-{number}"), &format!("/hoard?bytes={HOARD_BYTES}")))
        }));
    }
    for number in 0..UPLOADS {
        tasks.push(repeat(&shared, &over, &seen, "upload", move || {
            Call::post(by_key("hostile", &format!("upload-{number}"), "/echo")).chunked(UPLOAD_BYTES)
        }));
        tasks.push(repeat(&shared, &over, &seen, "put", move || put(number)));
    }
    for number in 0..WRITERS {
        let (engine, over, seen, counts) = (shared.clone(), over.clone(), seen.clone(), counts.clone());
        tasks.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                counts[number].tried.fetch_add(1, Ordering::Relaxed);
                let Ok(answer) = engine.try_send(Call::post(by_key("counter", &number.to_string(), "/increment"))).await else {
                    continue;
                };
                seen.count("increment", &answer);
                match answer.status {
                    200 => counts[number].acknowledged.fetch_max(answer.number("an increment"), Ordering::Relaxed),
                    _ => continue,
                };
            }
        }));
    }
    let parked: Vec<_> = (0..PARKED)
        .map(|number| {
            let (engine, seen) = (shared.clone(), seen.clone());
            tokio::spawn(async move {
                let call = Call::post(by_key("hostile", &format!("parked-{}", number % 16), "/request")).announced(PARKED_BYTES);
                if let Ok(answer) = engine.try_send(call).await {
                    seen.count("parked", &answer);
                }
            })
        })
        .collect();

    let highest = Arc::new(AtomicU64::new(0));
    let (id, most, ended) = (shared.id(), highest.clone(), over.clone());
    let watched = tokio::spawn(async move {
        while !ended.load(Ordering::Relaxed) {
            most.fetch_max(private_bytes(id), Ordering::Relaxed);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    tokio::time::sleep(LOAD_FOR).await;
    let figures = metrics(port).await;
    over.store(true, Ordering::Relaxed);
    parked.iter().for_each(tokio::task::JoinHandle::abort);
    for task in parked {
        // It was told to end.
        let _ = task.await;
    }
    for task in tasks.into_iter().chain([watched]) {
        task.await.expect("no task panicked");
    }

    let answers = seen.0.lock().expect("no task panicked").clone();
    let highest = highest.load(Ordering::Relaxed);
    println!("highest {} MiB, answers {answers:#?}\n{figures}", highest / MIB);
    assert!(highest <= LIMIT_BYTES + SLACK_BYTES, "{} MiB of {} MiB were in use", highest / MIB, LIMIT_BYTES / MIB);
    assert!(highest > LIMIT_BYTES / 4, "{} MiB are not enough to be a test", highest / MIB);
    // Whoever was refused was told why, in a code that says that it may try again.
    let coded = [
        "actor.no_room",
        "guard.service_unavailable",
        "actor.overloaded",
        "guard.actor_ready_timeout",
        "guard.actor_stopped_while_waiting",
    ];
    for row in answers.keys() {
        let mut words = row.split(' ').skip(1);
        let (status, code) = (words.next().expect("each has a status"), words.next().unwrap_or_default());
        assert!(status == "200" || (status == "503" && coded.contains(&code)), "{row}");
    }
    for row in ["hoard 200", "hoard 503 actor.no_room", "put 200", "increment 200", "parked 503 guard.service_unavailable"] {
        assert!(seen.of(row) > 0, "no {row:?} among {answers:?}");
    }
    let figure = |name: &str| value(&figures, name);
    assert!(figure("rivet_wasm_slept_for_room_total") > 0.0, "nobody was put to sleep");
    assert!(figure("rivet_memory_refused_total{part=\"buffers\"}") > 0.0, "no body was refused");
    assert!(figure("rivet_memory_refused_total{part=\"guests\"}") > 0.0, "no guest was refused");
    for part in ["store", "guests"] {
        let [used, limit] = ["", "_limit"].map(|what| figure(&format!("rivet_memory_part{what}_bytes{{part=\"{part}\"}}")));
        assert!(used > 0.0 && used <= limit * 1.1, "{part}: {used} of {limit}");
    }

    // Nobody is in the way any more.
    until("a long body fits", async || {
        let upload = Call::post(by_key("hostile", "upload-0", "/echo")).chunked(UPLOAD_BYTES);
        let answer = shared.try_send(upload).await.map_err(|error| error.to_string())?;
        (answer.status == 200 && answer.body.len() == UPLOAD_BYTES).then_some(()).ok_or(answer.to_string())
    })
    .await;

    // Killed as it is. What was acknowledged is there; what got no answer may be.
    let mut engine = Arc::into_inner(shared).expect("all tasks have ended");
    engine.kill9();
    engine.restart().await;
    for (number, count) in counts.iter().enumerate() {
        let found = engine.get(by_key("counter", &number.to_string(), "/")).await.number("a counter");
        let [acknowledged, tried] = [&count.acknowledged, &count.tried].map(|count| count.load(Ordering::Relaxed));
        assert!((acknowledged..=tried).contains(&found), "counter {number} is {found}: {acknowledged} acknowledged of {tried}");
        assert!(acknowledged > 0, "counter {number} never counted");
    }
    let kept = engine.get(by_key("hostile", "put-0", "/list?prefix=many/&keys_only")).await.expect_ok("a list").text();
    assert_eq!(kept.lines().count(), 7, "{kept}");
}

/// Sends the same again and again, until it is over.
fn repeat(
    engine: &Arc<Engine>,
    over: &Arc<AtomicBool>,
    seen: &Seen,
    what: &'static str,
    call: impl Fn() -> Call + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let (engine, over, seen) = (engine.clone(), over.clone(), seen.clone());
    tokio::spawn(async move {
        while !over.load(Ordering::Relaxed) {
            match engine.try_send(call()).await {
                Ok(answer) => seen.count(what, &answer),
                // A body that was refused is not read to its end, so the connection may break before the answer is heard.
                Err(_) if what == "upload" => {}
                Err(error) => panic!("{what}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}

/// Pages of the process that are in memory and in no file, as the kernel counts them.
fn private_bytes(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the engine runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the kernel counts them");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

async fn metrics(port: u16) -> String {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
    let page = client.get(format!("http://127.0.0.1:{port}/metrics")).send().await.expect("an answer").text().await.expect("text");
    page.lines()
        .filter(|line| line.starts_with("rivet_memory") || line.starts_with("rivet_wasm_slept"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn value(page: &str, name: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {name} in:\n{page}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_shown_divided_or_said_to_be_too_little() {
    let gib = "memory: 1024 MiB (memory_limit): 166 for the process itself, 212 for the store, 408 for guests, 236 for buffers";
    let too_little = "error: memory_limit (the command line, --memory-limit): 100 MiB is too little for 74 MiB for the process itself, \
                      at least 24 MiB for the store, at least 32 MiB for guests, at least 48 MiB for buffers; set at least 187 MiB";
    let variable = ("RIVET__WASM__MEMORY_MIB", "512");
    let asked = "error: memory_limit (the command line, --memory-limit): 512 MiB is too little for 115 MiB for the process itself, \
                 at least 24 MiB for the store, 512 MiB for guests (wasm.memory_mib), at least 48 MiB for buffers; set at least 721 MiB, \
                 or lower wasm.memory_mib";
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<i32>, &'a str);
    let rows: [Row; 4] = [
        ("1GiB", &[], Some(0), gib),
        ("100MiB", &[], Some(1), too_little),
        ("512MiB", &[variable], Some(1), asked),
        ("auto", &[variable], Some(0), "512 for guests"),
    ];
    for (limit, variables, code, words) in rows {
        let done = run_with(&["config", "show", "--memory-limit", limit, "--data-dir", "/d"], variables).await;
        assert_eq!(done.code, code, "{limit}: {}{}", done.out, done.err);
        let said = if code == Some(0) { done.out } else { done.err };
        assert!(said.contains(words), "{limit}: {words:?} expected in: {said}");
    }
}
