//! Faults in words, for the history.

use crate::plan::{DiskFault, FaultKind, Greed, NetFault, PeerFault, Ways};

/// A fault in a few words.
pub(super) fn of(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Network { a, b, fault } => network(&a.0, &b.0, fault),
        FaultKind::Crash { host, in_flight } => format!("crash of {host}{}", busy(*in_flight)),
        FaultKind::PowerCut { host, in_flight } => {
            format!("power cut of {host}{}", busy(*in_flight))
        }
        FaultKind::Pause { host } => format!("pause of {host}"),
        FaultKind::Slow { host, delay } => format!("{host} is slow by {delay}"),
        FaultKind::Drain { host } => format!("drain of {host}"),
        FaultKind::RenewLinks { host } => format!("{host} asks for new links"),
        FaultKind::Endpoint { host, fault } => format!("{host} {}", peer(fault)),
        FaultKind::Disk {
            host,
            fault,
            one_in,
            times,
        } => {
            let times = match times {
                0 => String::new(),
                times => format!(", at most {times} times"),
            };
            format!("{host}'s disk: {}, one in {one_in}{times}", disk(fault))
        }
        FaultKind::Drift { host, ppm } => format!("{host}'s clock drifts by {ppm} ppm"),
        FaultKind::Jump { host, ms } => format!("{host}'s wall clock jumps by {ms} ms"),
        FaultKind::Point {
            host,
            point,
            one_in,
        } => format!("point {point} on {host}, one in {one_in}"),
        FaultKind::Stranger {
            host,
            greed,
            connections,
        } => format!(
            "a stranger with {connections} connections to {host}: {}",
            words(*greed)
        ),
    }
}

fn words(greed: Greed) -> &'static str {
    match greed {
        Greed::Silent => "says nothing",
        Greed::HalfPreface => "stops in its first words",
        Greed::HalfRequest => "stops in a message",
        Greed::Unread => "asks much and reads nothing",
        Greed::Rollbacks => "rolls back what never was",
        Greed::LargeFirst => "begins with a large message",
    }
}

fn busy(in_flight: bool) -> &'static str {
    if in_flight {
        " in the middle of something"
    } else {
        ""
    }
}

fn network(a: &str, b: &str, fault: &NetFault) -> String {
    match fault {
        NetFault::Partition { ways: Ways::Both } => format!("partition of {a} and {b}"),
        NetFault::Partition { ways: Ways::AToB } => format!("partition from {a} to {b}"),
        NetFault::Partition { ways: Ways::BToA } => format!("partition from {b} to {a}"),
        NetFault::Hold => format!("messages between {a} and {b} are held"),
        NetFault::Latency { min, max } => format!("latency between {a} and {b}: {min} to {max}"),
        NetFault::Loss { one_in } => format!("loss between {a} and {b}, one in {one_in}"),
        NetFault::SlowLink { bytes_per_s } => {
            format!("slow link between {a} and {b}: {bytes_per_s} bytes a second")
        }
        NetFault::Reset { after_bytes } => {
            format!("reset between {a} and {b} after {after_bytes} bytes")
        }
        NetFault::AcceptThenSilence => format!("{b} accepts {a} and says nothing"),
        NetFault::ConnectHangs => format!("connects from {a} to {b} hang"),
        NetFault::SwallowsPings => format!("a proxy between {a} and {b} swallows pings"),
        NetFault::ReconnectStorm { every } => {
            format!("reconnect storm between {a} and {b}, every {every}")
        }
    }
}

fn peer(fault: &PeerFault) -> String {
    match fault {
        PeerFault::Rejects => "rejects".to_owned(),
        PeerFault::Refuses => "refuses".to_owned(),
        PeerFault::NeverAnswers => "never answers".to_owned(),
        PeerFault::AnswersTwice => "answers twice".to_owned(),
        PeerFault::AnswersLate { delay } => format!("answers {delay} late"),
        PeerFault::WrongDeliveryId => "answers for another delivery".to_owned(),
        PeerFault::TalksGarbage => "answers with garbage".to_owned(),
        PeerFault::TakesLate { delay } => format!("takes commands {delay} late"),
        PeerFault::BeatsButDoesNotWork => "beats but does not work".to_owned(),
        PeerFault::WorksButDoesNotBeat => "works but does not beat".to_owned(),
    }
}

fn disk(fault: &DiskFault) -> String {
    match fault {
        DiskFault::TornWrite => "torn write".to_owned(),
        DiskFault::ShortWrite => "short write".to_owned(),
        DiskFault::SyncError => "sync error".to_owned(),
        DiskFault::SyncLies => "lying sync".to_owned(),
        DiskFault::ReadError => "read error".to_owned(),
        DiskFault::WriteError => "write error".to_owned(),
        DiskFault::NoSpace { percent } => format!("no room beyond {percent} % of the log's limit"),
        DiskFault::NoFiles => "no descriptor for another segment".to_owned(),
        DiskFault::BitFlip => "bit flip".to_owned(),
        DiskFault::MisdirectedWrite => "misdirected write".to_owned(),
        DiskFault::SlowSync { min, max } => format!("slow sync, {min} to {max}"),
        DiskFault::LostEntry => "lost directory entry".to_owned(),
        DiskFault::MarkHurt { how } => format!("the log's mark: {}", how.name()),
        DiskFault::FolderReplaced => "a copy in the place of the log's folder".to_owned(),
    }
}
