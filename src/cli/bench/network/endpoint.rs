//! The endpoint's process: executes by noting how long each command took to get there.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use leasebridge::env::{Address, BoxFuture, Env};
use leasebridge::receiver::{Delivered, Handler, HandlerError, Receiver, ReceiverOptions};

use super::latency::{self, Latencies};
use crate::cli::bench::{BenchError, helper};

#[derive(Default)]
struct NotingHandler(Mutex<Latencies>);

impl Handler for NotingHandler {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        let result = match latency::age(&command.body) {
            Some(age) => {
                let mut latencies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                latencies.add(age);
                Ok(Bytes::new())
            }
            None => Err(HandlerError::Refused(
                "the body doesn't say when it was made".into(),
            )),
        };
        Box::pin(std::future::ready(result))
    }
}

/// Runs until it is told to end; then says how many were executed, and how soon.
pub(in crate::cli::bench) async fn run() -> Result<(), BenchError> {
    let noting = Arc::new(NotingHandler::default());
    let options = ReceiverOptions::new(Address::tcp("127.0.0.1", 0));
    let receiver = Receiver::new(options, noting.clone()).map_err(std::io::Error::other)?;
    let running = receiver.start(Env::real()).await;
    let running = running.map_err(std::io::Error::other)?;
    helper::ready(running.socket_address());
    helper::told_to_end().await?;
    let latencies = std::mem::take(&mut *noting.0.lock().unwrap_or_else(PoisonError::into_inner));
    println!("{}", latencies.json());
    Ok(())
}
