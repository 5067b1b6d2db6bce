//! More comes than can be written: nobody waits, what is lost is counted, and memory stays within its bound.

use bytes::Bytes;
use engine_store::Memory;
use http::{HeaderMap, Method, StatusCode};
use protocol::id::Id;

use super::underway::{Ended, HELD_BYTES_MAX};
use super::*;
use crate::requests::Head;

#[test]
fn what_is_lost_is_counted() {
    let (namespace, actor) = (Id::new([1; 16], 1), Id::new([2; 16], 1));
    // Requests, what each and its answer have, and how many of them are lost.
    let rows = [
        (10, 100, 0),
        (WAITING_MAX, 0, 0),
        (WAITING_MAX + 5, 0, 5),
        // With its answer each takes 129 KiB of the 16 MiB.
        (200, 64 * KIB, 73),
    ];
    for (count, bytes, lost) in rows {
        let folder = tempfile::tempdir().expect("a folder");
        let state = State::new(Arc::new(Memory::new()));
        let config = RecordingConfig { requests: 9, ..RecordingConfig::default() };
        let place = folder.path().join("recordings");
        let recorder = Recorder::start(place, config, Clock::default(), state, &[]).expect("a thread");
        let name = (namespace, "shop".to_string());
        recorder.learn(News { deployments: vec![(namespace, name.1.clone(), Some(3))], ..News::default() });
        assert!(recorder.is_on() && recorder.begin(actor, 1).is_none(), "it has not started");
        write(&recorder.shared.wanted).actors.insert(actor, Arc::new(Of { actor, name, version: 1, keep: 3 }));
        // The thread waits for the disk, and nobody else does.
        let disk = lock(&recorder.shared.disk);
        for _ in 0..count {
            let body = Bytes::from(vec![0; bytes]);
            let head =
                Head { method: Method::GET, path: "/".to_string(), headers: HeaderMap::new(), body: body.clone(), room: None };
            let underway = recorder.begin(actor, 1).expect("it is recorded");
            underway.ends(Some(head), false, Ended::Whole(StatusCode::OK, body));
        }
        let held = recorder.shared.held_bytes.load(Ordering::Relaxed);
        assert!(held <= HELD_BYTES_MAX, "{held} bytes are held");
        assert_eq!(recorder.figures().1, lost, "{count} of {bytes} bytes");
        drop(disk);
        recorder.learn(News { deployments: vec![(namespace, "shop".to_string(), Some(0))], ..News::default() });
        assert!(!recorder.is_on() && recorder.begin(actor, 1).is_none(), "it is off at once");
        recorder.close();
        assert_eq!(recorder.shared.held_bytes.load(Ordering::Relaxed), 0, "all of it is given back");
    }
}
