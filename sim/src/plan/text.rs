//! Plans as text.

use super::{PLAN_FORMAT, Plan};

/// Text that is no plan of this version.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Written by another version.
    #[error(
        "the plan has format {found}, and this simulator reads format {PLAN_FORMAT}: \
         draw it again from its scenario and seed"
    )]
    OtherFormat {
        /// Which it has.
        found: i64,
    },
    /// Not TOML, or not a plan.
    #[error("not a plan: {0}")]
    Malformed(String),
}

impl Plan {
    /// The plan as TOML; [`Plan::parse`] reads it back the same.
    ///
    /// # Panics
    /// Never: every part of a plan has a form in TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every part of a plan has a form in TOML")
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// [`PlanError`]: the version is looked at before anything else.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let malformed = |error: toml::de::Error| PlanError::Malformed(error.to_string());
        let table: toml::Table = text.parse().map_err(malformed)?;
        match table.get("format").and_then(toml::Value::as_integer) {
            Some(found) if found == i64::from(PLAN_FORMAT) => {}
            Some(found) => return Err(PlanError::OtherFormat { found }),
            None => return Err(PlanError::Malformed("it has no `format`".to_owned())),
        }
        toml::from_str(text).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use crate::seed::Seed;

    fn plan() -> Plan {
        let (bridge, endpoint) = (HostName::from("bridge"), HostName::from("endpoint"));
        let fault = |id, kind| FaultSpec {
            id: FaultId(id),
            at: Micros::from_millis(1_500),
            span: Micros::from_secs(3),
            kind,
        };
        Plan {
            format: PLAN_FORMAT,
            scenario: "test".into(),
            seed: Seed(u64::MAX),
            speed: Speed::Full,
            tick: Micros::from_millis(10),
            duration: Micros::from_secs(60),
            liveness: LivenessSpec {
                budget: Micros::from_secs(120),
                bridge: bridge.clone(),
                endpoint: endpoint.clone(),
                transports: Transports::Grpc,
            },
            topology: Topology {
                producers: vec!["producer".into()],
                bridges: vec![bridge.clone()],
                endpoints: vec![EndpointSpec {
                    host: endpoint.clone(),
                    inbox: Inbox::Effect,
                    handlers: 16,
                    in_flight: 1_024,
                }],
                routes: vec![RouteSpec {
                    name: "orders".into(),
                    endpoint: endpoint.clone(),
                    transports: Transports::Both,
                    on_lost_inbox: OnLost::Redeliver,
                }],
            },
            knobs: Knobs {
                lease: Micros::from_secs(30),
                max_hold: Micros::from_secs(300),
                max_retries: 5,
                max_in_doubt: 20,
                backoff: [Micros::from_millis(250), Micros::from_secs(10)],
                segment_bytes: 65_536,
                log_bytes_max: 4 << 20,
                cache_bytes: 1 << 20,
                capacity: 1_000,
                window: 16,
                key_window: Micros::from_secs(3_600),
                heartbeat: Micros::from_secs(5),
                latency: [Micros::from_millis(1), Micros::from_millis(20)],
                schedule: Vec::new(),
                max_age: None,
                line: None,
            },
            lifts: vec![Invariant::EffectivelyOnce],
            expects: vec!["fallback_taken".into()],
            ops: vec![
                OpSpec {
                    id: OpId(1),
                    at: Micros(17),
                    bridge: bridge.clone(),
                    kind: OpKind::Enqueue {
                        producer: "producer".into(),
                        route: "orders".into(),
                        key: Some("k1".into()),
                        deadline: None,
                        padding: 64,
                        behaviour: Behaviour(vec![
                            Step::Reject(Micros(0)),
                            Step::Silent,
                            Step::Done(Micros::from_millis(30)),
                        ]),
                    },
                },
                OpSpec {
                    id: OpId(2),
                    at: Micros::from_secs(1),
                    bridge: bridge.clone(),
                    kind: OpKind::RequeueAll,
                },
            ],
            faults: vec![
                fault(
                    1,
                    FaultKind::Network {
                        a: bridge.clone(),
                        b: endpoint.clone(),
                        fault: NetFault::Partition { ways: Ways::AToB },
                    },
                ),
                fault(
                    2,
                    FaultKind::Crash {
                        host: bridge.clone(),
                        in_flight: true,
                    },
                ),
                fault(
                    3,
                    FaultKind::Disk {
                        host: bridge.clone(),
                        fault: DiskFault::NoSpace { percent: 50 },
                        one_in: 1,
                        times: 0,
                    },
                ),
                fault(
                    4,
                    FaultKind::Endpoint {
                        host: endpoint,
                        fault: PeerFault::AnswersLate {
                            delay: Micros::from_secs(4),
                        },
                    },
                ),
                fault(
                    5,
                    FaultKind::Jump {
                        host: bridge,
                        ms: -5_000,
                    },
                ),
            ],
        }
    }

    #[test]
    fn a_plan_reads_as_it_was_written() {
        let text = plan().to_toml();
        let read = Plan::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(read, plan(), "{text}");
    }

    #[test]
    fn another_format_is_refused_before_anything_else() {
        let error = Plan::parse("format = 99\nnonsense = 1").unwrap_err();
        assert!(matches!(error, PlanError::OtherFormat { found: 99 }));
        assert!(matches!(
            Plan::parse("x = 1").unwrap_err(),
            PlanError::Malformed(_)
        ));
    }
}
