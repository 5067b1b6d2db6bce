// Types of rivet-actor.js: write actor.ts, `import` from './rivet-actor.js', and compile it with tsc before it is componentized.

export type Bytes = Uint8Array;
export type Json = null | boolean | number | string | bigint | Bytes | Json[] | { [name: string]: Json | undefined };
type Answer<T> = T | Promise<T>;

/** What a handler refuses with. A RivetKit client gets it as an `ActorError` of group `user`. What was written before it is kept. */
export class Failure extends Error {
  constructor(code: string, message?: string, metadata?: Json);
  code: string;
  metadata?: Json;
  /** Of what another actor refused with: `user`, or `actor` for what the engine says. */
  group?: string;
}

export type Origin =
  | { tag: 'http' }
  | { tag: 'connection'; val: string }
  | { tag: 'actor'; val: string }
  | { tag: 'schedule'; val: { id: string; at: bigint; attempt: number } };

export interface Call { name: string; origin: Origin }
export interface Queued { id: bigint; name: string; body: any; queuedAt: number; attempt: number }
export interface Request { method: string; path: string; query?: string; headers: Record<string, string>; body: Bytes }
export interface OpenRequest { path: string; query?: string; headers: Record<string, string> }
export interface Response { status?: number; headers?: Record<string, string | Bytes>; body?: string | Bytes }

// Handlers: export what they return under the name that the comment says.

/** `export const actionHandler = actions({…})`. `this` is the call. */
export function actions(table: Record<string, (this: Call, ...args: any[]) => Answer<any>>): object;
/** `export const queueHandler = queues({…})`. `this` is the message; what is returned goes to a sender that waits. */
export function queues(table: Record<string, (this: Queued, body: any) => Answer<any>>): object;
/** `export const connectionHandler = connectionEvents({…})`. What `connect` returns is the connection's state. */
export function connectionEvents(handlers: {
  connect?(id: string, params: any): Answer<string | Bytes | void>;
  disconnect?(id: string): Answer<void>;
}): object;
/** `export const websocketHandler = webSockets({…})`. What `open` returns is the connection's state. */
export function webSockets(handlers: {
  open?(id: string, request: OpenRequest): Answer<string | Bytes | void>;
  receive(id: string, message: string | Bytes): Answer<void>;
  close?(id: string, code?: number, reason?: string): Answer<void>;
}): object;
/** `export const httpHandler = http(…)`. */
export function http(handler: (request: Request) => Answer<Response>): object;
/** `export const startHandler = start(…)`. An error stops the actor. */
export function start(handler: (reason: 'created' | 'woken' | 'restarted' | 'upgraded') => Answer<void>): object;
/** `export const stopHandler = stop(…)`. */
export function stop(handler: (reason: 'sleep' | 'destroy' | 'going-away') => Answer<void>): object;
/** `export const migrateHandler = migrate(…)`. An error leaves the actor with the version that it had. */
export function migrate(handler: (fromVersion: number) => Answer<void>): object;
/** `export const alarmHandler = alarms(…)`. An error lets the alarm fire again later. */
export function alarms(handler: (scheduledMs: number, attempt: number) => Answer<void>): object;

export function jsonResponse(value: any, status?: number): Response;
export function textResponse(text: string, status?: number): Response;

// What an actor can call. What the host refuses is thrown as a Failure, whose code says why.

type Key = string | Bytes;

export const kv: {
  get(key: Key): Bytes | undefined;
  put(key: Key, value: string | Bytes): void;
  delete(key: Key): void;
  list(options?: { prefix?: Key; start?: Key; end?: Key; reverse?: boolean; limit?: number; keysOnly?: boolean }): { key: Bytes; value: Bytes }[];
  getJson(key: Key): any;
  putJson(key: Key, value: any): void;
};

type SqlValue = null | undefined | boolean | number | bigint | string | Bytes;

export const sql: {
  execute(statement: string, ...parameters: SqlValue[]): {
    columns: string[];
    rows: Record<string, any>[];
    changes: number;
    lastInsertRowId?: number | bigint;
  };
  script(statements: string): void;
};

export const schedule: {
  /** Answers with an id. */
  at(momentMs: number, action: string, args?: any[]): string;
  cron(name: string, expression: string, action: string, args?: any[]): void;
  cancel(id: string): boolean;
  list(): { id: string; action: string; args: any[]; nextAt: number; cron?: string }[];
};

export const alarm: { set(momentMs: number): void; get(): number | undefined; clear(): void };

export const queue: { push(name: string, body: any): number; size(): number };

export interface Connection { id: string; kind: 'client' | 'websocket'; params: any; state: Bytes; connectedAt: number }

export const connections: {
  get(id: string): Connection | undefined;
  list(): Connection[];
  /** How many have subscribed. */
  broadcast(event: string, ...args: any[]): number;
  sendEvent(id: string, event: string, ...args: any[]): void;
  send(id: string, message: string | Bytes): void;
  setState(id: string, state: string | Bytes): void;
  close(id: string, code?: number, reason?: string): void;
};

export type Target = { id: string } | { id?: undefined; name: string; key?: string[]; create?: boolean; input?: Bytes };

export const actors: {
  call(to: Target, action: string, args?: any[], timeoutMs?: number): any;
  push(to: Target, queue: string, body: any): void;
};

export const context: {
  info(): { id: string; namespace: string; name: string; key?: string[]; generation: number; version: number; createdAt: number };
  input(): Bytes | undefined;
  sleep(): void;
  destroy(): void;
  keepAwake(forMs: number): void;
};

export const config: { get(name: string): string | undefined; names(): string[] };

export const log: Record<'trace' | 'debug' | 'info' | 'warn' | 'error', (line: string) => void>;
