// An actor that counts. Which handlers it has is said in wit/world.wit; here each is exported under its name.
import { actions, connections, http, jsonResponse, kv } from './rivet-actor.js';

const count = () => kv.getJson('count') ?? 0;

export const actionHandler = actions({
  increment(by = 1) {
    const sum = count() + by;
    kv.putJson('count', sum);
    connections.broadcast('changed', sum);
    return sum;
  },
  get: () => count(),
});

export const httpHandler = http(() => jsonResponse(count()));
