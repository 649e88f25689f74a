//! What holds for each request to the services, before it reaches them.

use super::REQUEST_BYTES_MAX;
use crate::listening::{Guest, MessageRule, RequestRule};
use crate::wire::weigh::{ENQUEUE, ENQUEUE_BATCH, SELECTION};

/// The largest request of an operator: as many tasks as it may name, by their ids.
const OPERATOR_BYTES_MAX: usize = 4 << 20;

const INGEST: &str = "/leasebridge.v1.Ingest/";
const ADMIN: &str = "/leasebridge.v1.Admin/";

/// The rule for a path, if there is a service with it.
pub(super) fn of(path: &str) -> Option<RequestRule> {
    let (guest, bytes_max) = match path {
        _ if path.starts_with(INGEST) => (Guest::Producer, REQUEST_BYTES_MAX),
        _ if path.starts_with(ADMIN) => (Guest::Operator, OPERATOR_BYTES_MAX),
        _ => return None,
    };
    let method = path.rsplit('/').next().unwrap_or_default();
    let lists = match method {
        "Enqueue" | "EnqueueStream" => ENQUEUE,
        "EnqueueBatch" => ENQUEUE_BATCH,
        "RequeuePoison" | "PurgePoison" => SELECTION,
        _ => &[],
    };
    Some(RequestRule {
        guest,
        accepts_by_answer: true,
        is_stream: method == "EnqueueStream",
        messages: MessageRule {
            first_bytes_max: bytes_max,
            bytes_max,
            lists,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1;

    #[test]
    fn the_rules_know_the_services_and_the_largest_requests() {
        use v1::admin_server::SERVICE_NAME as ADMIN_NAME;
        use v1::ingest_server::SERVICE_NAME as INGEST_NAME;
        assert_eq!(INGEST, format!("/{INGEST_NAME}/"));
        assert_eq!(ADMIN, format!("/{ADMIN_NAME}/"));
        assert!(of("/leasebridge.v1.Endpoint/ExecuteCommand").is_none());
        let id = v1::TaskId {
            origin: u64::MAX,
            seq: u64::MAX,
        };
        let all = v1::PoisonSelection {
            tasks: vec![id; crate::wire::limits::SELECTION_MAX],
            all_of_route: String::new(),
            release_key: true,
            as_job: true,
        };
        assert!(prost::Message::encoded_len(&all) < OPERATOR_BYTES_MAX);
    }
}
