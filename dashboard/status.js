// What an actor's times and errors mean, in words.

/** Kind and word. The first that fits, as operators know it from the original's dashboard. */
export function status(actor) {
  if (actor.connectable_ts !== null && actor.destroy_ts === null) return ["good", "running"];
  if (actor.destroy_ts !== null && !actor.error) return ["off", "destroyed"];
  if (actor.error) return ["bad", "crashed"];
  if (actor.reschedule_ts !== null) return ["warn", "crash loop"];
  if (actor.pending_allocation_ts !== null) return ["warn", "pending"];
  if (actor.sleep_ts !== null) return ["calm", "sleeping"];
  return ["busy", "starting"];
}

/** An error of an actor, or of a pool: a word, or an object with one field. */
export function sentence(error) {
  if (!error) return null;
  const [kind, detail] = typeof error === "string" ? [error, null] : Object.entries(error)[0];
  switch (kind) {
    case "no_envoys":
      return "No runner of its pool is connected. See the runners, and the pool's URL if it has one.";
    case "no_capacity":
      return "No runner of its pool has room for it.";
    case "concurrent_actor_limit_reached":
      return "Its pool has as many actors as it may have; see max_concurrent_actors.";
    case "crashed":
      return detail.message ? `It crashed: ${detail.message}` : "It crashed. See its log.";
    case "envoy_no_response":
    case "runner_no_response":
      return `Its runner ${detail.envoy_key ?? detail.runner_id ?? ""} did not answer in time.`;
    case "envoy_connection_lost":
    case "runner_connection_lost":
      return `The connection to its runner ${detail.envoy_key ?? detail.runner_id ?? ""} was lost.`;
    case "runner_pool_error":
      return `Its pool cannot start actors: ${sentence(detail)}`;
    case "serverless_http_error":
      return `The URL answered with status ${detail.status_code}: ${detail.body}`;
    case "serverless_connection_error":
      return `The URL could not be reached: ${detail.message}`;
    case "serverless_invalid_sse_payload":
      return `The URL sent what is no event: ${detail.message}`;
    case "serverless_stream_ended_early":
      return "The URL ended its answer early.";
    case "downgrade":
      return "The runners speak an older protocol than before.";
    case "internal_error":
      return "Something failed in the engine; its log has the cause.";
    default:
      return `${kind}${detail ? `: ${JSON.stringify(detail)}` : ""}`;
  }
}
