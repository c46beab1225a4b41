//! Where queries on DataFusion run: two threads and a memory pool of their own, so that a query can slow neither ticks nor
//! sources, and a choice of optimiser rules that keep the plan's meaning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow_array::RecordBatch;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_limit::PushDownLimit;
use datafusion::physical_optimizer::aggregate_statistics::AggregateStatistics;
use datafusion::physical_optimizer::combine_partial_final_agg::CombinePartialFinalAggregate;
use datafusion::physical_optimizer::enforce_distribution::EnforceDistribution;
use datafusion::physical_optimizer::enforce_sorting::EnforceSorting;
use datafusion::physical_optimizer::ensure_coop::EnsureCooperative;
use datafusion::physical_optimizer::join_selection::JoinSelection;
use datafusion::physical_optimizer::limit_pushdown::LimitPushdown;
use datafusion::physical_optimizer::limited_distinct_aggregation::LimitedDistinctAggregation;
use datafusion::physical_optimizer::output_requirements::OutputRequirements;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::SessionConfig;
use gridhouse_base::panics::{contain_this_thread, defect};
use gridhouse_base::{Error, Result};
use tokio::runtime::{Builder, Runtime};

use super::grouping::GroupWhereRead;

/// Threads that all queries share. Half of a small machine stays with ticks and sources, whatever is asked.
pub(crate) const QUERY_THREADS: usize = 2;

/// Memory for hash tables and sorts that all queries share: a join or grouping of some ten million rows.
const QUERY_MEMORY_BYTES: usize = 1 << 30;

/// How many of those that hold most memory are named where it does not suffice.
const NAMED_CONSUMERS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN;

/// Rows that operators hand on at once; a table's scan gives as many.
const BATCH_ROWS: usize = 8_192;

/// How often it is looked whether a query has been cancelled.
const CANCEL_LOOK: Duration = Duration::from_millis(20);

/// Runs queries; its threads begin with the first.
#[derive(Default)]
pub(crate) struct Queries {
    running: OnceLock<std::result::Result<Running, String>>,
}

struct Running {
    /// `Some` until the end.
    threads: Option<Runtime>,
    environment: Arc<RuntimeEnv>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The last holder may be one of these threads itself, which must not wait for its own end.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

fn start() -> std::result::Result<Running, String> {
    let threads = Builder::new_multi_thread()
        .worker_threads(QUERY_THREADS)
        .thread_name("query")
        .on_thread_start(contain_this_thread)
        .build();
    let pool = TrackConsumersPool::new(GreedyMemoryPool::new(QUERY_MEMORY_BYTES), NAMED_CONSUMERS);
    let pool: Arc<dyn MemoryPool> = Arc::new(pool);
    let no_files = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let environment = RuntimeEnvBuilder::new().with_memory_pool(pool).with_disk_manager_builder(no_files).build_arc();
    Ok(Running {
        threads: Some(threads.map_err(|error| error.to_string())?),
        environment: environment.map_err(|error| error.to_string())?,
    })
}

impl Queries {
    fn running(&self) -> Result<(&Runtime, &Arc<RuntimeEnv>)> {
        let running = self.running.get_or_init(start).as_ref();
        let running = running.map_err(|why| Error::unavailable(format!("no threads for queries: {why}")))?;
        let threads = running.threads.as_ref().ok_or_else(|| Error::unavailable("the threads for queries end"))?;
        Ok((threads, &running.environment))
    }

    /// The rows of a plan, read in at most `parts` parts side by side. `stop` tells the plan's scans and functions that
    /// `is_cancelled` has become true: DataFusion's own operators may work for long before they look around.
    ///
    /// # Errors
    /// `Unavailable` where there are no threads, memory does not suffice, or the query is cancelled.
    pub(super) fn run(
        &self,
        plan: LogicalPlan,
        parts: usize,
        stop: &AtomicBool,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<DfResult<Vec<RecordBatch>>> {
        let (threads, environment) = self.running()?;
        let state = state(environment, parts);
        let (done, outcome) = sync_channel(1);
        let work = threads.spawn(async move {
            // Where nobody waits any more, nobody is told.
            let _ = done.send(rows(&state, &plan).await);
        });
        let outcome = loop {
            match outcome.recv_timeout(CANCEL_LOOK) {
                Ok(outcome) => break outcome,
                Err(RecvTimeoutError::Timeout) if is_cancelled() => {
                    stop.store(true, Ordering::Relaxed);
                    work.abort();
                    return Err(Error::unavailable("the query was cancelled"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(defect("a query ended without an answer"));
                }
            }
        };
        if let Err(error) = &outcome
            && matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
        {
            let mebibytes = QUERY_MEMORY_BYTES >> 20;
            return Err(Error::unavailable(format!(
                "the query needs more than the {mebibytes} MiB that queries share"
            ))
            .hint("let fewer rows into its joins and groups, or wait until others have ended"));
        }
        Ok(outcome)
    }
}

async fn rows(state: &SessionState, plan: &LogicalPlan) -> DfResult<Vec<RecordBatch>> {
    let physical = state.create_physical_plan(plan).await?;
    tracing::debug!(plan = %displayable(physical.as_ref()).indent(false), "query");
    collect(physical, state.task_ctx()).await
}

/// What a scan or function of a query says that is to end.
pub(super) fn stopped(stop: &AtomicBool) -> DfResult<()> {
    if stop.load(Ordering::Relaxed) {
        Err(DataFusionError::Execution("the query was cancelled".into()))
    } else {
        Ok(())
    }
}

/// The rules: what remains to be done after our own optimiser, and nothing that moves an expression to rows that it was not
/// meant for.
pub(super) fn state(environment: &Arc<RuntimeEnv>, parts: usize) -> SessionState {
    let config = SessionConfig::new()
        .with_target_partitions(parts)
        .with_batch_size(BATCH_ROWS)
        .with_create_default_catalog_and_schema(false);
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(environment.clone())
        .with_analyzer_rules(Vec::new())
        .with_optimizer_rules(vec![Arc::new(PushDownLimit::new()), Arc::new(OptimizeProjections::new())])
        .with_physical_optimizer_rules(vec![
            Arc::new(OutputRequirements::new_add_mode()),
            Arc::new(AggregateStatistics::new()),
            Arc::new(JoinSelection::new()),
            Arc::new(LimitedDistinctAggregation::new()),
            // Behind those that ask how many rows a node gives, or put a limit into it.
            Arc::new(GroupWhereRead),
            Arc::new(EnforceDistribution::new()),
            Arc::new(CombinePartialFinalAggregate::new()),
            Arc::new(EnforceSorting::new()),
            Arc::new(OutputRequirements::new_remove_mode()),
            Arc::new(LimitPushdown::new()),
            Arc::new(EnsureCooperative::new()),
            Arc::new(SanityCheckPlan::new()),
        ])
        .build()
}
