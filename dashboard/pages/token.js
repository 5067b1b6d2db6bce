// Asks for the token when the engine wants one.
import { Failure, get, token } from "../api.js";
import { h } from "../dom.js";
import { checkbox, field, form, heading, input } from "../ui.js";

export function tokenForm(accepted) {
  const wrong = token.read() !== null;
  token.forget();
  const send = async ({ token: typed, remember }) => {
    token.keep(typed.trim(), remember === "on");
    try {
      await get("/namespaces", { limit: 1 });
    } catch (error) {
      token.forget();
      const unknown = error.isForbidden && !error.isBeyondToken;
      throw unknown ? new Failure({ ...error, message: "this is not the engine's token, nor one that it has minted and not revoked" }) : error;
    }
    accepted();
  };
  const value = input("token", { type: "password", required: true, autocomplete: "current-password" });
  const remember = "Without it the token is forgotten with this tab. With it, pages that actors serve can read it too: they come from the same address.";
  return h(
    "section",
    { class: "narrow" },
    heading("This engine wants a token"),
    h("p", null, wrong ? "The token you have given counts for nothing, or not any more." : "Without it nobody may use its API."),
    form("Continue", send, null, field("Token", value, "auth.admin_token of the engine's configuration, or one of rivet-engine tokens create"), checkbox("Remember on this device", "remember"), h("small", null, remember)),
  );
}
