//! An endpoint inside the test: a real receiver whose handler does what a command's body says.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use leasebridge::env::{Address, BoxFuture, Env};
use leasebridge::receiver::{
    Delivered, Handler, HandlerError, Receiver, ReceiverOptions, RunningReceiver,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::house::House;

/// A running endpoint. Dropping it cuts its links.
pub(crate) struct Endpoint {
    judge: Arc<Judge>,
    running: Option<RunningReceiver>,
    runtime: Runtime,
}

/// Executes by the first word of the body: `refuse` and `reject` say no, `wait` waits for leave, all
/// else is done at once.
struct Judge {
    executed: Mutex<Vec<String>>,
    waiting: watch::Sender<usize>,
    leave: watch::Sender<bool>,
    lenient: watch::Sender<bool>,
}

impl Endpoint {
    /// Starts where the route of `house` leads to.
    pub(crate) fn start(house: &House) -> Self {
        let runtime = Runtime::new().expect("threads");
        let judge = Arc::new(Judge {
            executed: Mutex::default(),
            waiting: watch::Sender::new(0),
            leave: watch::Sender::new(false),
            lenient: watch::Sender::new(false),
        });
        let options = ReceiverOptions {
            grpc: Some(Address::tcp("127.0.0.1", house.grpc)),
            heartbeat: Duration::from_millis(500),
            ..ReceiverOptions::new(Address::tcp("127.0.0.1", house.socket))
        };
        let handler: Arc<dyn Handler> = Arc::clone(&judge) as _;
        let receiver = Receiver::new(options, handler).expect("sound options");
        let running = runtime.block_on(receiver.start(Env::real()));
        Self {
            judge,
            running: Some(running.expect("its ports are free")),
            runtime,
        }
    }

    /// How many commands wait for leave.
    pub(crate) fn waiting(&self) -> usize {
        *self.judge.waiting.borrow()
    }

    /// Gives leave to all that wait, and to all that come.
    pub(crate) fn give_leave(&self) {
        self.judge.leave.send_replace(true);
    }

    /// From now on everything is executed, whatever it says.
    pub(crate) fn become_lenient(&self) {
        self.judge.lenient.send_replace(true);
    }

    /// The bodies that were executed, sorted.
    pub(crate) fn executed(&self) -> Vec<String> {
        let mut bodies = self.judge.executed.lock().expect("nobody panics").clone();
        bodies.sort();
        bodies
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.give_leave();
            self.runtime
                .block_on(running.shutdown(Duration::from_secs(1)));
        }
    }
}

impl Handler for Judge {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(async move {
            let body = String::from_utf8_lossy(&command.body).into_owned();
            let lenient = *self.lenient.borrow();
            match body.split(' ').next() {
                Some("refuse") if !lenient => {
                    return Err(HandlerError::Refused(format!("no such lamp: {body}")));
                }
                Some("reject") if !lenient => {
                    return Err(HandlerError::Rejected(format!("the lamp is hot: {body}")));
                }
                Some("wait") => {
                    self.waiting.send_modify(|count| *count += 1);
                    let mut leave = self.leave.subscribe();
                    let _ = leave.wait_for(|given| *given).await;
                }
                _ => {}
            }
            self.executed.lock().expect("nobody panics").push(body);
            Ok(Bytes::new())
        })
    }
}
