//! The clients of a running bridge.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use hyper_util::rt::TokioIo;
use leasebridge::env::{Address, AddressError, Elapsed, Env, timeout};
use leasebridge::wire::v1::admin_client::AdminClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::exit::{CommandFailure, Exit};
use super::{Context, words};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an operator waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a quiet connection is probed, and how long the answer may take. A connection that lives
/// only in our kernel is found out within the sum.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer: a page of 1000 poisoned tasks, or one with a body of 16 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// HTTP/2 window of each stream and of the connection. A client with a small one hangs up on a server that answers a few
/// hundred calls at once: how many short frames may wait to be read follows the window.
const WINDOW_BYTES: u32 = 8 << 20;

/// Where the bridge is.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct BridgeArgs {
    /// Where the running bridge listens: `host:port` or `unix:/path` [default: `listen` of the
    /// configuration, 127.0.0.1:7410]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "LEASEBRIDGE_BRIDGE",
        hide_env_values = true,
        value_parser = address_or_nothing
    )]
    bridge: Option<AddressOrNothing>,
}

/// An address, or the nothing that an empty environment variable stands for.
#[derive(Clone, Debug)]
struct AddressOrNothing(Option<Address>);

fn address_or_nothing(text: &str) -> Result<AddressOrNothing, AddressError> {
    match text {
        "" => Ok(AddressOrNothing(None)),
        text => text.parse().map(Some).map(AddressOrNothing),
    }
}

impl BridgeArgs {
    /// The address to connect to.
    pub(crate) fn address(&self, context: &Context) -> Address {
        let asked = self.bridge.as_ref().and_then(|asked| asked.0.clone());
        asked.unwrap_or_else(|| context.config.listen.clone())
    }
}

/// Whether a channel has ever had a connection: before that nothing it was given has left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached(Arc<AtomicBool>);

impl Reached {
    pub(crate) fn ever(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A channel to `address` that connects when it is first used, and again after a loss.
pub(crate) fn channel(env: &Env, address: &Address) -> Channel {
    noting_channel(env, address, &Reached::default())
}

/// The same, noting whether it has ever reached the bridge.
pub(crate) fn noting_channel(env: &Env, address: &Address, reached: &Reached) -> Channel {
    let transport = env.transport.clone();
    let target = address.clone();
    let reached = reached.clone();
    let connector = tower::service_fn(move |_: http::Uri| {
        let transport = transport.clone();
        let target = target.clone();
        let reached = reached.clone();
        async move {
            let stream = transport.connect(&target).await?;
            reached.0.store(true, Ordering::Release);
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    // The connector knows where to go; tonic only wants a well-formed name.
    Endpoint::from_static("http://bridge.invalid")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .connect_with_connector_lazy(connector)
}

/// An operator's client.
pub(crate) struct Operator {
    /// The generated client.
    pub(crate) admin: AdminClient<Channel>,
    env: Env,
    address: Address,
}

impl Operator {
    /// A client of the bridge that `args` name. Connects with the first request.
    pub(crate) fn new(args: &BridgeArgs, context: &Context) -> Self {
        let address = args.address(context);
        let admin = AdminClient::new(channel(&context.env, &address))
            .max_decoding_message_size(ANSWER_BYTES_MAX);
        Self {
            admin,
            env: context.env.clone(),
            address,
        }
    }

    /// Waits for an answer, for a bounded time. An operation that was cut off may still happen.
    ///
    /// # Errors
    /// What the bridge said, or that it can't be reached.
    pub(crate) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, CommandFailure> {
        match timeout(&*self.env.clock, ANSWER_TIMEOUT, request).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.refused(&status)),
            Err(Elapsed { after }) => Err(CommandFailure::new(
                Exit::Unreachable,
                format!(
                    "no answer from the bridge at {} within {}; what was asked for may still happen",
                    self.address,
                    words::age(after)
                ),
            )),
        }
    }

    /// A failed request in words.
    pub(crate) fn refused(&self, status: &Status) -> CommandFailure {
        let said = words::safe(status.message());
        match status.code() {
            Code::NotFound => CommandFailure::new(Exit::NotFound, said),
            Code::InvalidArgument => CommandFailure::usage(said),
            Code::Unavailable | Code::Unknown | Code::Cancelled => CommandFailure::new(
                Exit::Unreachable,
                format!(
                    "the bridge at {} can't be reached ({}); is `leasebridge run` up?",
                    self.address,
                    root_cause(status)
                ),
            ),
            code => CommandFailure::failed(format!("the bridge answered: {said} ({code:?})")),
        }
    }
}

/// The innermost error of a status: "connection refused" says more than "transport error".
pub(crate) fn root_cause(status: &Status) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(status);
    let mut text = status.message().to_owned();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    words::safe(&text)
}
