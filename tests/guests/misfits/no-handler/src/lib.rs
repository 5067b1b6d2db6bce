//! Must be refused: a valid component that exports nothing an engine could call.

wit_bindgen::generate!({ path: "wit" });

struct Misfit;
export!(Misfit);

impl Guest for Misfit {
    fn greet() -> String {
        "hello".into()
    }
}
