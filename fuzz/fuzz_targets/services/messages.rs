//! Messages as somebody might write them: well formed, with numbers and names from where the limits are.

use bytes::Bytes;
use leasebridge::wire::v1;
use leasebridge::wire::v1::explain_request::By;
use prost::Message;

use crate::choices::Choices;

/// Messages of one batch or stream.
const COMMANDS_MAX: usize = 12;

/// A message for the request of that number, of those that are asked for; a stream has several.
pub fn of(path: &str, choices: &mut Choices<'_>) -> Vec<Bytes> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let one = |message: Vec<u8>| vec![Bytes::from(message)];
    match name {
        "Enqueue" => one(command(choices).encode_to_vec()),
        "EnqueueBatch" => {
            let commands = commands(choices);
            one(v1::EnqueueBatchRequest { commands }.encode_to_vec())
        }
        "EnqueueStream" => commands(choices)
            .iter()
            .map(|command| command.encode_to_vec().into())
            .collect(),
        "Explain" => one(explain(choices).encode_to_vec()),
        "ListPoison" => one(v1::ListPoisonRequest {
            route: route(choices),
            after: (choices.byte() & 1 == 1).then(|| task(choices)),
            limit: choices.edgy(),
            with_body: choices.byte() & 1 == 1,
        }
        .encode_to_vec()),
        "RequeuePoison" | "PurgePoison" => one(v1::PoisonSelection {
            tasks: (0..choices.below(4)).map(|_| task(choices)).collect(),
            all_of_route: route(choices),
            release_key: choices.byte() & 1 == 1,
            ..v1::PoisonSelection::default()
        }
        .encode_to_vec()),
        "MoveRoute" => one(v1::MoveRouteRequest {
            from: route(choices),
            to: route(choices),
            with_poison: choices.byte() & 1 == 1,
            dry_run: choices.byte() & 1 == 1,
        }
        .encode_to_vec()),
        "PauseRoute" | "ResumeRoute" | "Watch" => one(v1::RouteRequest {
            route: route(choices),
        }
        .encode_to_vec()),
        _ => one(Vec::new()),
    }
}

fn commands(choices: &mut Choices<'_>) -> Vec<v1::EnqueueRequest> {
    let count = choices.below(COMMANDS_MAX + 1);
    (0..count).map(|_| command(choices)).collect()
}

fn command(choices: &mut Choices<'_>) -> v1::EnqueueRequest {
    let size = match choices.byte() {
        // Around the largest body of a route.
        0xff => (1 << 20) - 1 + choices.below(3),
        byte => usize::from(byte),
    };
    let headers = match choices.byte() {
        0xff => 127 + choices.below(3),
        byte => usize::from(byte % 4),
    };
    v1::EnqueueRequest {
        route: route(choices),
        body: vec![choices.byte(); size].into(),
        headers: (0..headers).map(|_| header(choices)).collect(),
        key: key(choices),
        deadline_unix_ms: moment(choices),
    }
}

fn header(choices: &mut Choices<'_>) -> v1::Header {
    let text = |choices: &mut Choices<'_>| "h".repeat(choices.below(300));
    v1::Header {
        name: text(choices),
        value: text(choices),
    }
}

fn explain(choices: &mut Choices<'_>) -> v1::ExplainRequest {
    let by = match choices.byte() % 4 {
        0 => Some(By::Task(task(choices))),
        1 => Some(By::Key(key(choices))),
        2 => Some(By::Seq(number(choices))),
        _ => None,
    };
    v1::ExplainRequest { by }
}

fn task(choices: &mut Choices<'_>) -> v1::TaskId {
    v1::TaskId {
        seq: number(choices),
        origin: number(choices),
    }
}

fn route(choices: &mut Choices<'_>) -> String {
    match choices.byte() % 8 {
        0..=2 => "default".into(),
        3 | 4 => "lamps".into(),
        5 => "*".into(),
        6 => "nowhere\u{202e}\n".into(),
        _ => String::new(),
    }
}

fn key(choices: &mut Choices<'_>) -> String {
    match choices.byte() {
        0xff => "k".repeat(255 + choices.below(3)),
        0x80.. => format!("key {}", choices.byte()),
        _ => String::new(),
    }
}

/// A number from the ends of the range, or from the middle of a small one.
fn number(choices: &mut Choices<'_>) -> u64 {
    let small = u64::from(choices.byte());
    match choices.byte() % 4 {
        0 => u64::MAX - small,
        1 => (1 << 63) - 128 + small,
        _ => small,
    }
}

/// A time from the ends of the range, or near now.
fn moment(choices: &mut Choices<'_>) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_millis() as u64);
    match choices.byte() % 8 {
        0 => number(choices),
        1 => now - 128 + u64::from(choices.byte()),
        2 => now + 1_000 * u64::from(choices.byte()),
        _ => 0,
    }
}
