//! What several test modules of the pipeline share: an error of each class, and an event recorder.

use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use super::{Class, Classify, Context, ContextOptions};
use crate::env::Env;

/// One error of each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TestError {
    #[error("final")]
    Final,
    #[error("not done")]
    NotDone,
    #[error("in doubt")]
    InDoubt,
}

impl Classify for TestError {
    fn class(&self) -> Class {
        match self {
            Self::Final => Class::Final,
            Self::NotDone => Class::NotDone,
            Self::InDoubt => Class::InDoubt,
        }
    }
}

/// A root context over the real environment.
pub(super) fn context() -> Context {
    Context::new(Env::real(), ContextOptions::default())
}

/// Names in the order in which something happened.
#[derive(Clone, Default)]
pub(super) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(super) fn note(&self, name: impl Into<String>) {
        self.0
            .lock()
            .expect("no test panics here")
            .push(name.into());
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.lock().expect("no test panics here").clone()
    }
}

/// Records `LEVEL message` of each event of this thread while the guard lives.
pub(super) fn record_events() -> (Journal, DefaultGuard) {
    // While there is just one dispatcher, an event that a thread without one meets first is switched
    // off for every thread. A second one that stays makes tracing ask them all.
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(Recorder(Journal::default())));
    let journal = Journal::default();
    let guard = tracing::subscriber::set_default(Recorder(journal.clone()));
    (journal, guard)
}

struct Recorder(Journal);

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().contains("pipeline")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(*event.metadata().level(), String::new());
        event.record(&mut message);
        self.0.note(format!("{} {}", message.0, message.1));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Message(Level, String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.1 = format!("{value:?}");
        }
    }
}
