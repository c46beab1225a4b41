//! How a sink claims its table: the checks that come before the first write, in one transaction with the claim.
//!
//! What always holds: a claim that is refused changes nothing, and fences nobody. One that is given tells the commit from which the
//! rows that are there lack nothing.

use gridhouse_base::{CommitId, Error, ErrorKind, Result};
use gridhouse_flow::connector::{MayGoOn, Standing};
use tokio_postgres::types::{ToSql, Type};

use super::{Claim, IDLE_TRANSACTION, JdbcSink, LOCK, Open, Under};
use crate::postgres::books;
use crate::postgres::catalog::MARK;
use crate::postgres::client::{Fault, literal};
use crate::postgres::parameters::array_type;
use crate::postgres::patience::{LOCK_WAIT, session_pid};
use crate::postgres::shape::{self, Shape};
use crate::postgres::sink_plan;
use crate::postgres::standing::{self, Asking, Rows};

impl JdbcSink {
    /// Connects, and takes the sink over from whoever wrote it before.
    pub(super) async fn claimed(&self, may_go_on: MayGoOn<'_>) -> Result<Claim> {
        let client = self.options.target.connect().await?;
        let pid = session_pid(&client).await?;
        let found = sink_plan::find(&client, &self.definition, &self.options).await?;
        // What is taken back under a job may be given back at any time, and then it goes on.
        books::check(&client, &found.table.schema, &self.options.target, ErrorKind::Unavailable).await?;
        let shape = Shape::of(&self.definition, &found.table);
        let (store, books) = (self.store(), books::name_in(&found.table.schema));
        let entry = shape::Entry { books: books.clone(), store: &store, sink: &self.writer.sink };
        let changed = entry.note(&client, &shape).await?;
        let remedy = changed.remedy(&found.table.key());
        let plan = sink_plan::plan(&client, &self.definition, &self.options, found, &mut Vec::new()).await;
        let plan = plan.map_err(|error| match (error.remedy().map(str::to_owned), remedy) {
            (Some(hint), Some(more)) => error.hint(format!("{hint}; {more}")),
            _ => error,
        })?;
        let context = format!("sink {} cannot be claimed", plan.key());
        let failed = |error: tokio_postgres::Error| Fault::of(&error).error(&context);
        client
            .batch_execute(&format!(
                "SET lock_timeout = '{}s'; SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION}'; \
                 BEGIN; SELECT pg_advisory_xact_lock({LOCK})",
                LOCK_WAIT.as_secs()
            ))
            .await
            .map_err(failed)?;
        let kept = books::make(&client, &books).await.map_err(failed)?;
        let target = plan.key();
        // What others wrote after this one claimed the table the last time, it does not know of.
        let last = format!(
            "SELECT COALESCE(claimed_at::text, '-infinity') FROM {books} WHERE store = $1 AND sink = $2 AND upto > 0"
        );
        let last = client.query_opt(&last, &[&store, &self.writer.sink]).await.map_err(failed)?;
        let claimed: Option<String> = last.map(|row| row.get(0));
        let (column, value, set) =
            if kept.owner { (", claimed_by", ", $4", ", claimed_by = $4") } else { ("", "", "") };
        let sql = format!(
            "INSERT INTO {books} AS b (store, sink, target, upto, epoch, claimed_at{column}) \
             VALUES ($1, $2, $3, 0, 1, clock_timestamp(){value}) \
             ON CONFLICT (store, sink) DO UPDATE SET epoch = b.epoch + 1, target = EXCLUDED.target, claimed_at = EXCLUDED.claimed_at{set} \
             RETURNING upto, epoch, history::text, xmax = 0"
        );
        let claim: [&(dyn ToSql + Sync); 4] = [&store, &self.writer.sink, &target, &self.owner];
        let claim = if kept.owner { &claim[..] } else { &claim[..3] };
        let row = client.query_one(&sql, claim).await.map_err(failed)?;
        let fence_others = format!("UPDATE {books} SET epoch = epoch + 1 WHERE target = $1 AND store <> $2");
        client.execute(&fence_others, &[&target, &store]).await.map_err(failed)?;
        let asked = books::Entry { books: &books, store: &store, sink: &self.writer.sink };
        let mut upto: i64 = books::value(&row, 0, "upto", asked)?;
        let epoch: i64 = books::value(&row, 1, "epoch", asked)?;
        let under = row.get::<_, Option<&str>>(2).and_then(Under::read);
        let rows = standing::rows(&client, &plan).await.map_err(failed)?;
        let (sink, role) = (self.writer.sink.as_str(), self.options.target.username.as_str());
        let is_lost = upto == 0 && row.get(3) && self.writer.written;
        let asking = Asking { store: &store, sink, role, is_lost };
        if upto == 0 {
            standing::check_unwritten(&client, &plan, rows, asking).await?;
        } else if let Some(claimed) = claimed {
            standing::check_written(&client, &plan, rows, asking, (upto, &claimed)).await?;
        }
        if upto > 0 && changed.is_replaced {
            tracing::warn!(
                sink,
                "table {target} is another one than was written up to commit {upto}: {}",
                match (plan.key.is_empty(), rows) {
                    (true, _) => "it has no key, and is not filled again".to_owned(),
                    (false, Rows::None) => "it is filled again".to_owned(),
                    (false, _) => format!(
                        "it is filled again; rows that it holds and that are not written stay; to have none of them, type there \
                         `TRUNCATE {}` while the job is stopped",
                        plan.name()
                    ),
                }
            );
        }
        if !plan.key.is_empty() && upto > 0 && (rows == Rows::None || self.remade.get() || changed.is_replaced) {
            let anew = format!("UPDATE {books} SET upto = 0, history = NULL WHERE store = $1 AND sink = $2");
            client.execute(&anew, &[&store, &self.writer.sink]).await.map_err(failed)?;
            if rows == Rows::None {
                entry.refill_others(&client, &target).await.map_err(failed)?;
            }
            // The history is told all the same: rows were written under it, which are gone.
            upto = 0;
        }
        if upto > 0 && rows != Rows::None && !changed.lost.is_empty() {
            let lost = Error::conflict(format!(
                "table {target}: the values of {} in the rows that are there are lost: dropped and added again, or changed to a type \
                 that does not hold them and back",
                changed.lost.join(", ")
            ));
            return Err(lost.hint(format!(
                "to have the table written anew, type there `{}`; to leave its rows as they are, type there `UPDATE {books} SET \
                 shape = NULL WHERE store = {} AND sink = {}`; then START JOB here",
                self.emptying(&plan),
                literal(&store),
                literal(&self.writer.sink)
            )));
        }
        if kept.shape {
            entry.put(&client, &shape.text(kept.oid)).await.map_err(failed)?;
        }
        let (at, history) = (CommitId(upto as u64), under.map(|under| under.history));
        may_go_on(&Standing { upto: at, history, emptied_by: Some(self.emptying(&plan)) })?;
        client.batch_execute("COMMIT").await.map_err(failed)?;

        let types: Vec<Type> = plan.columns.iter().map(|column| array_type(&column.kind)).collect();
        let insert = client.prepare_typed(&plan.insert_sql(), &types).await.map_err(failed)?;
        let delete = if plan.key.is_empty() {
            None
        } else {
            let types: Vec<Type> = plan.key.iter().map(|&k| types[k].clone()).collect();
            Some(client.prepare_typed(&plan.delete_sql(), &types).await.map_err(failed)?)
        };
        let advance = format!(
            "WITH moved AS (UPDATE {books} SET upto = $1, history = $6 WHERE store = $2 AND sink = $3 AND upto = $4 \
             AND epoch = $5 RETURNING 1) SELECT 1 / (count(*)::int * (COALESCE(to_regclass($7)::oid, 0) = $8 \
             AND EXISTS (SELECT FROM pg_class c WHERE c.oid = $8 AND {MARK} = $9))::int) FROM moved"
        );
        let (text, number) = (Type::TEXT, Type::INT8);
        let first = [number.clone(), text.clone(), text.clone(), number.clone(), number, text.clone(), text.clone()];
        let types: Vec<Type> = first.into_iter().chain([Type::OID, text]).collect();
        let advance = client.prepare_typed(&advance, &types).await.map_err(failed)?;
        Ok(Claim { open: Open { client, pid, plan, epoch, insert, delete, advance }, upto: at, under })
    }
}
