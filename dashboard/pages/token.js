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
      throw error.isForbidden ? new Failure({ ...error, message: "this is not the engine's token; it is auth.admin_token of its configuration" }) : error;
    }
    accepted();
  };
  const value = input("token", { type: "password", required: true, autocomplete: "current-password" });
  const remember = "Without it the token is forgotten with this tab. With it, pages that actors serve can read it too: they come from the same address.";
  return h(
    "section",
    { class: "narrow" },
    heading("This engine wants a token"),
    h("p", null, wrong ? "The token you have given is not the engine's, or not any more." : "Without it nobody may use its API."),
    form("Continue", send, null, field("Token", value, "auth.admin_token of the engine's configuration"), checkbox("Remember on this device", "remember"), h("small", null, remember)),
  );
}
