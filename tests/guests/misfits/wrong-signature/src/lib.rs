//! Must be refused when it is deployed, not when it is first called: its `http-handler` has another signature than ours.

wit_bindgen::generate!({ path: "wit" });

use exports::rivet::actor::http_handler::Guest;

struct Misfit;
export!(Misfit);

impl Guest for Misfit {
    fn handle(path: String) -> String {
        path
    }
}
