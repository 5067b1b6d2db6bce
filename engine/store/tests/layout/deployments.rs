//! Deployments, as they are on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::record::{Canary, DeploymentRecord, Share, VersionRecord};
use protocol::component::{ActorLimits, ComponentHash, ComponentInfo, Handler, Settings};

use super::{check, check_older, id};

const COMPONENTS: [&str; 2] = [
    "0101010101010101010101010101010101010101010101010101010101010101 00 011472697665743a6163746f722f6b7640302e312e30 \
     f0a204e0a712fa01 80d095ffbc31",
    "0202020202020202020202020202020202020202020202020202020202020202 050001020304 \
     011472697665743a6163746f722f6b7640302e312e30 f0a204e0a712fa01 80d095ffbc31",
];
const DEPLOYMENT: &str = "0109090909090949098909090909090905000107636f756e7465720764656661756c7402";

fn version(number: u32, handlers: &[Handler]) -> VersionRecord {
    VersionRecord {
        number,
        component: ComponentHash([number as u8; 32]),
        info: ComponentInfo {
            handlers: handlers.to_vec(),
            imports: vec!["rivet:actor/kv@0.1.0".to_owned()],
            bytes: 70_000,
            compiled_bytes: 300_000,
            compile_ms: 250,
        },
        deploy_ms: 1_700_000_000_000,
        settings: Arc::default(),
        attempt: 0,
        kept: false,
    }
}

fn deployment() -> DeploymentRecord {
    let handlers = [Handler::Start, Handler::Stop, Handler::Alarm, Handler::Http, Handler::WasiHttp];
    DeploymentRecord {
        namespace: id(9),
        name: "counter".to_owned(),
        pool: "default".to_owned(),
        live: 2,
        versions: vec![version(1, &[]), version(2, &handlers)],
        canary: None,
    }
}

#[test]
fn deployment_records_of_version_1() {
    let [first, second] = COMPONENTS;
    check_older("deployment", &deployment(), &format!("01 {DEPLOYMENT} 02 01 {first} 02 {second}"));
}

#[test]
fn deployment_records() {
    let [first, second] = COMPONENTS;
    let none = "00 00 00 0000000000";
    check_older("of version 2", &deployment(), &format!("02 {DEPLOYMENT} 02 01 {first} {none} 00 00 02 {second} {none} 00 00 00"));
    let oldest_none = none;
    let none = format!("{none} 000000");
    let of_version_3 = format!("03 {DEPLOYMENT} 02 01 {first} {none} 00 00 02 {second} {none} 00 00 00");
    check_older("of version 3", &deployment(), &of_version_3);
    let old_none = none;
    let none = format!("{old_none} 00");
    check("deployment", &deployment(), &format!("04 {DEPLOYMENT} 02 01 {first} {none} 00 00 02 {second} {none} 00 00 00"));
    let mut full = deployment();
    full.canary = Some(Canary { version: 2, share: Share::new(525).expect("5.25%") });
    full.versions[1].settings = Arc::new(Settings {
        config: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        secrets: BTreeMap::from([("S".to_owned(), "s".to_owned())]),
        outbound: vec!["a.b".to_owned()],
        limits: ActorLimits {
            cpu_ms: Some(300),
            memory_bytes: Some(1),
            message_bytes: Some(2),
            mailbox: Some(3),
            sockets: Some(4),
            action_ms: None,
            storage_bytes: None,
            awake: None,
        },
        record_requests: None,
    });
    full.versions[1].attempt = 3;
    full.versions[1].kept = true;
    let everything = "01 01 41 01 31 01 01 53 01 73 01 03 612e62 01 ac02 01 01 01 02 01 03 01 04";
    check_older(
        "with everything of version 2",
        &full,
        &format!("02 {DEPLOYMENT} 02 01 {first} {oldest_none} 00 00 02 {second} {everything} 03 01 01 02 8d04"),
    );
    let limits = &mut Arc::make_mut(&mut full.versions[1].settings).limits;
    (limits.action_ms, limits.storage_bytes, limits.awake) = (Some(7), Some(5), Some(6));
    let everything = format!("{everything} 01 07 01 05 01 06");
    check_older(
        "with everything of version 3",
        &full,
        &format!("03 {DEPLOYMENT} 02 01 {first} {old_none} 00 00 02 {second} {everything} 03 01 01 02 8d04"),
    );
    Arc::make_mut(&mut full.versions[1].settings).record_requests = Some(20);
    check(
        "with everything",
        &full,
        &format!("04 {DEPLOYMENT} 02 01 {first} {none} 00 00 02 {second} {everything} 01 14 03 01 01 02 8d04"),
    );
}
