//! Every message that a runner of components sends or gets, and all that is in it.

use super::schema::{wire_enum, wire_struct};
use crate::component::{ActorLimits, ComponentInfo, ComponentRefusal, ComponentRefusalKind, Handler, Settings};
use crate::database::{DatabaseAnswer, DatabaseQuestion, Executed, MessageStep, Rows, SqlValue, Statement};
use crate::message::{
    AlarmChange, Ask, CallError, CallTarget, Checkpoint, Command, Commit, DatabaseCommit, Deployed, Event, Failure, FailureKind,
    FromRunner, KvAnswer, KvChange, KvEntry, KvQuestion, KvRange, KvSpace, LogLevel, LogLine, Outcome, RequestStart, SocketOpen,
    Start, StartReason, StopReason, ToRunner,
};

wire_enum! {
    ToRunner {
        0 Command(checkpoint, command),
        1 Request(start),
        2 RequestChunk { request, body, finish },
        3 RequestAbort { request },
        4 RequestBodyCancel { request },
        5 ResponseWindow { request, consumed_bytes },
        6 SocketOpen(open),
        7 SocketMessage { request, index, data, binary, trace },
        8 SocketClose { request, index, code, reason },
        9 Kv { actor, generation, call, result },
        10 Database { actor, call, result },
        11 Alarm { actor, generation, scheduled_ms, attempt },
        12 Committed { actor, generation, commit },
        13 CallAnswer { actor, generation, call, result },
        14 Prepare { component },
        15 AskToSleep { actor, generation },
    }
    // The engine acknowledges the events of others only, and a component goes in pieces.
    never { AckEvents(_), Component { .. } }
}

wire_enum! {
    FromRunner {
        0 Event(checkpoint, event),
        1 Stopping,
        2 ResponseStart { request, status, headers, body, stream },
        3 ResponseChunk { request, body, finish },
        4 ResponseAbort { request, failure },
        5 RequestWindow { request, consumed_bytes },
        6 RequestBodyCancel { request },
        7 RequestReturned { request },
        8 SocketOpened { request, can_hibernate },
        9 SocketMessage { request, data, binary },
        10 SocketAck { request, index },
        11 SocketClose { request, code, reason, hibernate },
        12 Kv { actor, generation, call, space, question },
        13 Database { actor, call, question },
        14 Commit(commit),
        15 CallActor { actor, generation, call, target, ask, timeout_ms, trace },
        16 GetComponent { component },
        17 Prepared { component, result },
        18 Log { actor, lines },
        19 AskStorage { actor, generation, call, changes, own, size_pages },
    }
    // A broken connection ends its actors, so no command is ever said again; its writes are commits.
    never { Names(_), AckCommands(_), KvWrite { .. } }
}

wire_struct! { Checkpoint { actor, generation, index } }
wire_enum! { Command { 0 Start(start), 1 Stop(reason) } }
wire_struct! { Start { name, key, create_ms, input, reason, component, alarm_ms, hibernating } }
wire_struct! { Deployed { component, version, migrate_from, namespace, settings } }
wire_struct! { Settings { config, secrets, outbound, limits } unsaid { record_requests } }
wire_struct! { ActorLimits { cpu_ms, memory_bytes, message_bytes, mailbox, sockets, action_ms, storage_bytes, awake } }
wire_enum! { StartReason { 0 Created, 1 Woken, 2 Restarted, 3 Upgraded } }
wire_enum! { StopReason { 0 Sleep, 1 Stop, 2 Destroy, 3 GoingAway, 4 Lost } }
wire_enum! {
    Event { 0 Running, 1 Stopped(outcome), 2 SleepIntent, 3 StopIntent }
    // A runner of components sets alarms in its commits.
    never { SetAlarm(_) }
}
wire_enum! { Outcome { 0 Ok, 1 Error(message), 2 NoRoom(message), 3 NotMigrated(message) } }

wire_struct! { RequestStart { request, actor, generation, method, path, headers, body, stream } }
wire_struct! { SocketOpen { request, actor, generation, path, headers } }
wire_struct! { Failure { kind, message } }
wire_enum! {
    FailureKind {
        0 Cancelled,
        1 NotHandled,
        2 HandlerError,
        3 Trapped,
        4 CpuTimeExceeded,
        5 MemoryExceeded,
        6 StackOverflow,
        7 StartFailed,
        8 RequestTooLarge,
        9 NoRoom,
        10 Stopped,
        11 Internal,
        12 StorageFull,
    }
}

wire_struct! { Commit { actor, generation, commit, changes, own, database, alarm, fired_ms, alarm_failed } }
wire_struct! { DatabaseCommit { call, pages, size_pages } }
wire_enum! { AlarmChange { 0 Keep, 1 Set(alarm_ms), 2 Clear } }
wire_enum! { KvSpace { 0 Actor, 1 Runner } }
wire_enum! { KvChange { 0 Put { key, value }, 1 Delete { key }, 2 DeleteRange { range } } }
wire_enum! { KvQuestion { 0 Get { keys }, 1 List { range, reverse, limit, keys_only } } }
wire_struct! { KvRange { start, end } }
wire_enum! { KvAnswer { 0 Get(entries), 1 List(entries), 2 Written } }
wire_struct! { KvEntry { key, value, update_ms } }

wire_enum! {
    DatabaseQuestion { 0 Message { generation, step } }
    // Those are of runners that run SQLite themselves, or whose statements are not part of a message.
    never {
        GetPages { .. }, Commit { .. }, StageBegin { .. }, StageSegment { .. }, StageFinalize { .. },
        Exec { .. }, Execute { .. }, ExecuteBatch { .. },
    }
}
wire_enum! { MessageStep { 0 Execute(statement), 1 Script(sql), 2 Seal, 3 RollBack } }
wire_struct! { Statement { sql, parameters } }
wire_enum! { SqlValue { 0 Null, 1 Integer(number), 2 Float(number), 3 Text(text), 4 Blob(bytes) } }
wire_enum! {
    DatabaseAnswer { 0 Executed(done), 1 Sealed { pages, size_pages }, 2 Unchanged }
    never { Pages { .. }, Committed { .. }, Staging { .. }, Staged { .. }, Rows(_), ExecutedBatch(_) }
}
wire_struct! { Executed { rows, changes, last_insert_row_id } }
wire_struct! { Rows { columns, rows } }

wire_enum! { CallTarget { 0 Id(actor), 1 Get { name, key }, 2 GetOrCreate { name, key, input } } }
wire_enum! { Ask { 0 Action { name, args }, 1 Push { queue, body } } }
wire_struct! { CallError { group, code, message, metadata } }

wire_struct! { ComponentInfo { handlers, imports, bytes, compiled_bytes, compile_ms } }
wire_enum! {
    Handler {
        0 Start,
        1 Stop,
        2 Alarm,
        3 Http,
        4 WasiHttp,
        5 Migrate,
        6 Action,
        7 Queue,
        8 Connection,
        9 Websocket,
    }
}
wire_struct! { ComponentRefusal { kind, message } }
wire_enum! { ComponentRefusalKind { 0 Malformed, 1 UnknownImport, 2 NoHandler, 3 TooLarge, 4 Internal } }

wire_struct! { LogLine { time_ms, level, text } }
wire_enum! { LogLevel { 0 Trace, 1 Debug, 2 Info, 3 Warn, 4 Error } }
