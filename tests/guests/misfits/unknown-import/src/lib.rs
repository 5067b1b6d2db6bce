//! Must be refused: it imports `acme:thing/missing`, which nobody offers. The refusal is to name it.

wit_bindgen::generate!({ path: "wit", generate_all });

use exports::rivet::actor::http_handler::{Guest, Request, Response};

struct Misfit;
export!(Misfit);

impl Guest for Misfit {
    fn handle(_: Request) -> Response {
        // Called, because an import that is not used is left out of the component.
        Response { status: 200, headers: vec![], body: acme::thing::missing::answer().to_string().into_bytes() }
    }
}
