//! An endpoint on the socket that speaks the protocol and does what no honest one does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leasebridge::env::{Address, BoxStream, Env};
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::v1::{self, reply};
use leasebridge::wire::{
    BODY_BYTES_DEFAULT, EndpointHello, FrameReader, FrameSender, HELLO_BYTES_MAX, InboxId,
    OutboxLimits, frame_bytes_for, outbox,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::local;

/// What it does with commands. Heartbeats it answers, except when mute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Executes nothing, answers nothing.
    Silent,
    /// Says that it executed.
    Done,
    /// Says nothing to a command, and to its rollback that it executed it, with `found` as the result.
    DoneAtRollback,
    /// Answers each command twice under a wrong delivery id, then rightly.
    WrongIds,
    /// Sends a frame that only bridges send.
    Violates,
    /// Takes the connection and never says a word.
    Mute,
}

pub(crate) struct Rogue {
    pub(crate) address: Address,
    manners: watch::Sender<Manners>,
    commands: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Rogue {
    pub(crate) async fn start(manners: Manners, inbox_id: InboxId) -> Self {
        let mut listener = Env::real().transport.bind(&local()).await.unwrap();
        let address = listener.local_address();
        let (manners, is) = watch::channel(manners);
        let commands = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&commands);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = serve(stream, is.clone(), inbox_id, Arc::clone(&count));
                tokio::spawn(serving);
            }
        });
        Self {
            address,
            manners,
            commands,
            task,
        }
    }

    pub(crate) fn behave(&self, manners: Manners) {
        self.manners.send_replace(manners);
    }

    /// Commands that arrived.
    pub(crate) fn commands(&self) -> usize {
        self.commands.load(Ordering::SeqCst)
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: BoxStream,
    manners: watch::Receiver<Manners>,
    inbox_id: InboxId,
    commands: Arc<AtomicUsize>,
) {
    let (reading, writing) = tokio::io::split(stream);
    let frame_bytes_max = frame_bytes_for(BODY_BYTES_DEFAULT);
    let (sender, source) = outbox(OutboxLimits::for_peer(
        frame_bytes_max,
        Duration::from_secs(5),
    ));
    let mut reader = FrameReader::new(reading, HELLO_BYTES_MAX);
    let writer = tokio::spawn(async move {
        let clock = Env::real().clock;
        let _ = source.write_to(writing, &*clock).await;
    });
    let Ok(Some(Kind::Hello(_))) = reader.next().await else {
        return;
    };
    reader.set_frame_bytes_max(frame_bytes_max);
    if *manners.borrow() != Manners::Mute {
        let hello = EndpointHello {
            software: "rogue/1".into(),
            frame_bytes_max,
            body_bytes_max: BODY_BYTES_DEFAULT,
            in_flight_max: 1024,
            inbox_id,
            heartbeat: Duration::from_millis(200),
            tells_received: false,
        };
        let _ = sender.force(hello.to_kind());
    }
    while let Ok(Some(kind)) = reader.next().await {
        let manners = *manners.borrow();
        match kind {
            Kind::Heartbeat(v1::Heartbeat { sequence, .. }) if manners != Manners::Mute => {
                let ack = v1::HeartbeatAck {
                    sequence,
                    received_bytes: 0,
                };
                let _ = sender.force(Kind::HeartbeatAck(ack));
            }
            Kind::Rollback(rollback) if manners == Manners::DoneAtRollback => {
                let _ = sender.force(Kind::RollbackReply(v1::RollbackReply {
                    delivery: rollback.delivery,
                    send: rollback.send,
                    state: v1::rollback_reply::State::AlreadyDone.into(),
                    result: "found".into(),
                }));
            }
            Kind::Command(command) => {
                commands.fetch_add(1, Ordering::SeqCst);
                misbehave(&sender, manners, command);
            }
            _ => {}
        }
    }
    sender.close();
    let _ = writer.await;
}

fn misbehave(sender: &FrameSender, manners: Manners, command: v1::Command) {
    let done = |delivery| {
        Kind::Reply(v1::Reply {
            delivery,
            send: command.send,
            outcome: Some(reply::Outcome::Done(v1::Done::default())),
        })
    };
    match manners {
        Manners::Silent | Manners::DoneAtRollback | Manners::Mute => {}
        Manners::Done => {
            let _ = sender.force(done(command.delivery));
        }
        Manners::WrongIds => {
            let mut wrong = command.delivery;
            wrong.as_mut().unwrap().epoch += 7;
            for delivery in [wrong, wrong, command.delivery] {
                let _ = sender.force(done(delivery));
            }
        }
        Manners::Violates => {
            let _ = sender.force(Kind::Settled(v1::Settled { ranges: vec![] }));
        }
    }
}
