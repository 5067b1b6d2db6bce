//! Recorded requests, as they are on disk: in a store of their own.

use rivet_engine_store::recordings::{Account, Place, RecordedBody, RecordedEnd, RecordedRequest, Sums};

use super::{check, id};

#[test]
fn recorded_requests() {
    let mut request = RecordedRequest {
        arrived_ms: 1_700_000_000_000,
        version: 300,
        method: "POST".to_owned(),
        path: "/a?b".to_owned(),
        headers: vec![("accept".to_owned(), b"\xff".to_vec())],
        body: RecordedBody::Whole(b"body".to_vec()),
        ended: RecordedEnd::Answered { status: 200, digest: Some([0xab; 32]) },
    };
    let head = "01 80d095ffbc31 ac02 04 504f5354 04 2f613f62 01 06 616363657074 01 ff";
    check("an answered one", &request, &format!("{head} 00 04 626f6479 00 c801 01 {}", "ab".repeat(32)));
    request.body = RecordedBody::TooLarge(Some(300));
    request.ended = RecordedEnd::Answered { status: 500, digest: None };
    check("a large one", &request, &format!("{head} 01 01 ac02 00 f403 00"));
    request.body = RecordedBody::TooLarge(None);
    request.ended = RecordedEnd::Failed { code: "a.b".to_owned() };
    check("one that failed", &request, &format!("{head} 01 00 01 03 612e62"));
    request.ended = RecordedEnd::Left;
    check("one that was left", &request, &format!("{head} 01 00 02"));
    check("a place", &Place { actor: id(7), bytes: 1_000 }, "01 01070707070707470787070707070707050001 e807");
    let account = Account { namespace: id(9), name: "shop".to_owned(), count: 3, bytes: 1_000 };
    check("an account", &account, "01 01090909090909490989090909090909050001 04 73686f70 03 e807");
    check("the sums", &Sums { bytes: 1_000_000, last: 301 }, "01 c0843d ad02");
}
