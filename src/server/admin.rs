//! Admin: what operators ask of a running bridge.

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::StreamExt;
use tonic::{Request, Response, Status};

use super::ServerOptions;
use super::convert;
use super::gather::Gatherer;
use super::story;
use crate::core::{JobId, JobKind, Seq, TaskId, TaskState};
use crate::env::Env;
use crate::listening::RequestCharge;
use crate::queue::{Command, Heard, LeaseError, RouteMove, SafeTaskQueue};
use crate::wire::v1;
use crate::wire::v1::admin_server::Admin;

/// Tasks of one page of the poison store.
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;

/// Records of one page together; a page with more ends early, after at least one task.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Single tasks that are requeued or purged at once: they share their syncs.
const CHANGES_AT_ONCE: usize = 256;

/// Instead of a route's name: all routes.
const ALL_ROUTES: &str = "*";

pub(super) struct AdminService {
    pub(super) queue: SafeTaskQueue<Command>,
    pub(super) options: ServerOptions,
    pub(super) gatherer: Arc<Gatherer>,
    pub(super) env: Env,
}

impl AdminService {
    /// The names of `route`, which stands for all if it is empty or `*`.
    fn routes(&self, route: &str) -> Vec<String> {
        if route.is_empty() || route == ALL_ROUTES {
            let routes = self.queue.status().routes;
            return routes.into_iter().map(|route| route.route).collect();
        }
        vec![route.to_owned()]
    }

    /// Ids in poison on `routes`, oldest first, after `after`; and whether there are more.
    fn poison(
        &self,
        routes: &[String],
        after: Option<TaskId>,
        limit: usize,
    ) -> Result<(Vec<TaskId>, bool), Status> {
        let mut ids = Vec::new();
        let mut more = false;
        for route in routes {
            let (page, rest) = self
                .queue
                .poison(route, after, limit)
                .map_err(|error| convert::status(&error))?;
            ids.extend(page);
            more |= rest;
        }
        ids.sort_unstable();
        more |= ids.len() > limit;
        ids.truncate(limit);
        Ok((ids, more))
    }

    async fn change(
        &self,
        selection: v1::PoisonSelection,
        kind: JobKind,
    ) -> Result<v1::PoisonResult, Status> {
        let v1::PoisonSelection {
            tasks,
            all_of_route,
            as_job,
            ..
        } = selection;
        if tasks.is_empty() == all_of_route.is_empty() {
            return Err(Status::invalid_argument(
                "name either tasks or a route (`*` for all), and not both",
            ));
        }
        if all_of_route.is_empty() {
            let ids = tasks.into_iter().map(TaskId::from).collect();
            return self.change_each(ids, kind).await;
        }
        let route = Some(&*all_of_route).filter(|route| *route != ALL_ROUTES);
        let begun = self.queue.begin_job(kind, route).await;
        let begun = begun.map_err(|error| convert::status(&error))?;
        tracing::warn!(job = %begun.id, tasks = begun.total, "begun by an operator");
        let job = match as_job {
            true => begun,
            false => {
                let ended = self.queue.job_ended(begun.id).await;
                let ended = ended.map_err(|error| convert::status(&error))?;
                ended.unwrap_or(begun)
            }
        };
        Ok(v1::PoisonResult {
            changed: job.changed,
            missing: Vec::new(),
            job: Some(convert::job(&job)),
        })
    }

    async fn change_each(
        &self,
        ids: Vec<TaskId>,
        kind: JobKind,
    ) -> Result<v1::PoisonResult, Status> {
        let mut result = v1::PoisonResult::default();
        let mut changes = futures_util::stream::iter(ids)
            .map(|id| async move {
                let changed = match kind {
                    JobKind::Requeue => self.queue.requeue(id).await,
                    JobKind::Purge { release_key: false } => self.queue.purge(id).await,
                    JobKind::Purge { release_key: true } => self.queue.purge_with_key(id).await,
                };
                (id, changed)
            })
            .buffered(CHANGES_AT_ONCE);
        while let Some((id, changed)) = changes.next().await {
            match changed {
                Ok(()) => result.changed = result.changed.saturating_add(1),
                Err(LeaseError::NotThere { .. }) => result.missing.push(id.into()),
                Err(error) => return Err(convert::status(&error)),
            }
        }
        Ok(result)
    }

    fn task_state(&self, id: TaskId) -> Result<Option<TaskState>, Status> {
        let state = self.queue.task_state(id);
        state.map_err(|error| convert::status(&error))
    }

    /// Which task is meant.
    fn find(&self, by: v1::explain_request::By) -> Result<(TaskId, Option<TaskState>), Status> {
        use v1::explain_request::By;
        match by {
            By::Task(id) => {
                let id = TaskId::from(id);
                Ok((id, self.task_state(id)?))
            }
            By::Seq(seq) => {
                let id = self.queue.find_seq(Seq(seq)).map_err(|error| convert::status(&error))?.ok_or_else(|| {
                    Status::not_found(format!(
                        "no task {seq} is in the queue: it was executed, removed, or there never was one"
                    ))
                })?;
                Ok((id, self.task_state(id)?))
            }
            By::Key(key) => {
                let found = self.queue.find_key_anywhere(&key);
                let found = found.map_err(|error| convert::status(&error))?;
                // The newest, if it stands for several: it is on several routes.
                let newest = found.into_iter().max_by_key(|(id, _)| id.seq);
                let (id, state) = newest.ok_or_else(|| {
                    Status::not_found(format!(
                        "the key `{key}` is not remembered: it was never enqueued, or longer ago than \
                         keys are kept"
                    ))
                })?;
                Ok((id, Some(state)))
            }
        }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<v1::LifecycleEvent, Status>> + Send + 'static>>;

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        Ok(Response::new((&self.gatherer.snapshot()).into()))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        let by = request
            .into_inner()
            .by
            .ok_or_else(|| Status::invalid_argument("say which task: by id, number or key"))?;
        let (id, state) = self.find(by)?;
        let explained = self.queue.explain(id).await;
        let Some(task) = explained.map_err(|error| convert::status(&error))? else {
            // A key outlives its task; without one nobody remembers more than that it is gone.
            let Some(state) = state else {
                return Err(Status::not_found(story::unknown(id)));
            };
            return Ok(Response::new(v1::ExplainReply {
                task: Some(v1::TaskInfo {
                    task: Some(id.into()),
                    state: convert::state(state).into(),
                    ..Default::default()
                }),
                story: story::gone(id, state),
            }));
        };
        let status = self.queue.status();
        let route = status.routes.iter().find(|route| route.route == task.route);
        let bridge = (self.options.beside)().bridge.unwrap_or_default();
        let mut served = bridge.routes.iter();
        let served = served.find(|route| route.name == task.route);
        let surroundings = story::Surroundings {
            paused: route.is_some_and(|route| route.paused),
            configured: self.options.routes.contains_key(&task.route),
            ready: route.map_or(0, |route| route.counts.ready),
            breaker: served.map_or("", |route| route.breaker.as_str()),
        };
        let now = self.env.clock.wall();
        Ok(Response::new(v1::ExplainReply {
            story: story::tell(&task, &surroundings),
            task: Some(convert::task_info(&task, now, false)),
        }))
    }

    async fn list_poison(
        &self,
        request: Request<v1::ListPoisonRequest>,
    ) -> Result<Response<v1::ListPoisonReply>, Status> {
        let charge = request.extensions().get::<RequestCharge>().cloned();
        let charge = charge.expect("every request is charged");
        let request = request.into_inner();
        let limit = match request.limit {
            0 => PAGE_DEFAULT,
            limit => limit.min(PAGE_MAX),
        };
        let routes = self.routes(&request.route);
        let after = request.after.map(TaskId::from);
        let (ids, mut more) = self.poison(&routes, after, limit as usize)?;
        let now = self.env.clock.wall();
        let mut tasks: Vec<v1::TaskInfo> = Vec::with_capacity(ids.len());
        let mut bytes = 0_usize;
        for id in ids {
            // It may have left meanwhile.
            let explained = self.queue.explain(id).await;
            let Some(task) = explained.map_err(|error| convert::status(&error))? else {
                continue;
            };
            bytes = bytes.saturating_add(task.bytes as usize);
            if request.with_body && bytes > PAGE_BYTES_MAX && !tasks.is_empty() {
                more = true;
                break;
            }
            charge.add(task.bytes as usize)?;
            tasks.push(convert::task_info(&task, now, request.with_body));
        }
        let total = self
            .queue
            .status()
            .routes
            .iter()
            .filter(|route| routes.contains(&route.route))
            .map(|route| route.counts.poison)
            .sum();
        Ok(Response::new(v1::ListPoisonReply { tasks, more, total }))
    }

    async fn requeue_poison(
        &self,
        request: Request<v1::PoisonSelection>,
    ) -> Result<Response<v1::PoisonResult>, Status> {
        let result = self.change(request.into_inner(), JobKind::Requeue).await?;
        tracing::info!(
            tasks = result.changed,
            "requeued from poison by an operator"
        );
        Ok(Response::new(result))
    }

    async fn purge_poison(
        &self,
        request: Request<v1::PoisonSelection>,
    ) -> Result<Response<v1::PoisonResult>, Status> {
        let selection = request.into_inner();
        let release_key = selection.release_key;
        let result = self
            .change(selection, JobKind::Purge { release_key })
            .await?;
        tracing::warn!(
            tasks = result.changed,
            release_key,
            "purged from poison by an operator"
        );
        Ok(Response::new(result))
    }

    async fn list_poison_jobs(
        &self,
        request: Request<v1::ListPoisonJobsRequest>,
    ) -> Result<Response<v1::ListPoisonJobsReply>, Status> {
        let wanted = request.into_inner().id;
        let jobs = self.queue.jobs().await;
        let jobs = jobs.map_err(|error| convert::status(&error))?.into_iter();
        let jobs = jobs.filter(|job| wanted == 0 || job.id.0 == wanted);
        let jobs: Vec<_> = jobs.map(|job| convert::job(&job)).collect();
        if wanted != 0 && jobs.is_empty() {
            return Err(Status::not_found(format!(
                "there is no job {wanted}, or it was over long ago"
            )));
        }
        Ok(Response::new(v1::ListPoisonJobsReply { jobs }))
    }

    async fn stop_poison_job(
        &self,
        request: Request<v1::StopPoisonJobRequest>,
    ) -> Result<Response<v1::PoisonJob>, Status> {
        let id = JobId(request.into_inner().id);
        let job = self.queue.stop_job(id).await;
        let job = job.map_err(|error| convert::status(&error))?;
        tracing::warn!(job = %job.id, changed = job.changed, "stopped by an operator");
        Ok(Response::new(convert::job(&job)))
    }

    async fn pause_route(
        &self,
        request: Request<v1::RouteRequest>,
    ) -> Result<Response<v1::RouteReply>, Status> {
        let route = request.into_inner().route;
        let paused = self.queue.pause(&route).await;
        paused.map_err(|error| convert::status(&error))?;
        tracing::info!(route, "paused by an operator");
        Ok(Response::new(v1::RouteReply { paused: true }))
    }

    async fn resume_route(
        &self,
        request: Request<v1::RouteRequest>,
    ) -> Result<Response<v1::RouteReply>, Status> {
        let route = request.into_inner().route;
        let resumed = self.queue.resume(&route).await;
        resumed.map_err(|error| convert::status(&error))?;
        tracing::info!(route, "resumed by an operator");
        Ok(Response::new(v1::RouteReply { paused: false }))
    }

    async fn move_route(
        &self,
        request: Request<v1::MoveRouteRequest>,
    ) -> Result<Response<v1::MoveRouteReply>, Status> {
        let v1::MoveRouteRequest {
            from,
            to,
            with_poison,
            dry_run,
        } = request.into_inner();
        if from == to {
            return Err(Status::invalid_argument("the two routes are the same"));
        }
        if !self.options.routes.contains_key(&to) {
            return Err(Status::invalid_argument(format!(
                "route `{to}` is not configured: its tasks would wait for ever"
            )));
        }
        let what = RouteMove {
            with_poison,
            dry_run,
        };
        let moved = self.queue.move_route(&from, &to, what).await;
        let moved = moved.map_err(|error| convert::status(&error))?;
        if !dry_run {
            tracing::info!(from, to, tasks = moved.moved, "moved by an operator");
        }
        Ok(Response::new(v1::MoveRouteReply {
            moved: moved.moved,
            kept_in_doubt: moved.kept_in_doubt,
            kept_leased: moved.kept_leased,
            kept_poison: moved.kept_poison,
        }))
    }

    async fn accept_clock(
        &self,
        _: Request<v1::AcceptClockRequest>,
    ) -> Result<Response<v1::AcceptClockReply>, Status> {
        let accepted = self.queue.accept_clock().await;
        let was_doubted = accepted.map_err(|error| convert::status(&error))?;
        tracing::warn!(was_doubted, "the clock was accepted by an operator");
        Ok(Response::new(v1::AcceptClockReply { was_doubted }))
    }

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let route = request.into_inner().route;
        let feed = self.queue.subscribe();
        let clock = Arc::clone(&self.env.clock);
        let heard = futures_util::stream::unfold(feed, |mut feed| async move {
            let heard = feed.next().await?;
            Some((heard, feed))
        });
        let events = heard.filter_map(move |heard| {
            let event = match heard {
                Heard::Event(event) => Some(convert::lifecycle_event(&event))
                    .filter(|event| route.is_empty() || event.route == route),
                Heard::Missed(missed) => Some(v1::LifecycleEvent {
                    at_unix_ms: clock.wall().unix_ms(),
                    kind: "lagged".into(),
                    missed,
                    ..Default::default()
                }),
            };
            std::future::ready(event.map(Ok))
        });
        Ok(Response::new(Box::pin(events)))
    }
}
