-- 95598 客服：PostgreSQL → ODS → DWD → DWS → ADS → PostgreSQL
-- The hotline: agents, tickets and their log become resolution times, workload, daily statistics, performance and ranking.
--
-- 同一文本可在 Gridhouse 与真实的 Fluss + Flink 上运行；@…@ 在运行前填写（见 solutions/README.md）。
-- The same text runs on Gridhouse and on a real Fluss + Flink; the @…@ are filled in first (see solutions/README.md).
-- 每层一个作业（语句集）。One job (statement set) for each layer.

-- ── 源表 Sources ─────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TEMPORARY TABLE service_agents_source (
  agent_id BIGINT, agent_name STRING, team STRING, skill_level STRING, agent_status STRING, hired_on DATE,
  PRIMARY KEY (agent_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'agents', 'slot.name' = 'service_agents', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE service_tickets_source (
  ticket_id BIGINT, customer_id BIGINT, region STRING, category STRING, priority STRING, channel STRING,
  agent_id BIGINT, ticket_status STRING, created_at TIMESTAMP(3), assigned_at TIMESTAMP(3), resolved_at TIMESTAMP(3),
  closed_at TIMESTAMP(3), satisfaction INT, PRIMARY KEY (ticket_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'tickets', 'slot.name' = 'service_tickets', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE service_ticket_log_source (
  log_id BIGINT, ticket_id BIGINT, agent_id BIGINT, ticket_action STRING, logged_at TIMESTAMP(3),
  PRIMARY KEY (log_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'ticket_log', 'slot.name' = 'service_ticket_log', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

-- ── 目标表 Sinks ──────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TEMPORARY TABLE service_live_board_sink (
  board_id INT, tickets BIGINT, waiting BIGINT, in_hand BIGINT, urgent_open BIGINT, resolved BIGINT, overdue BIGINT,
  overdue_rate DOUBLE, resolve_minutes DOUBLE, satisfaction DOUBLE, agents_on_duty BIGINT, tickets_per_agent DOUBLE,
  busiest_team STRING, latest_day DATE, latest_tickets BIGINT, PRIMARY KEY (board_id) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'live_board', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE service_resolution_time_sink (
  category STRING, priority STRING, tickets BIGINT, resolved BIGINT, wait_minutes DOUBLE, resolve_minutes DOUBLE,
  longest_minutes INT, limit_minutes INT, overdue BIGINT, overdue_rate DOUBLE, grade STRING,
  PRIMARY KEY (category, priority) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'resolution_time', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE service_workload_sink (
  team STRING, agents BIGINT, agents_on_duty BIGINT, open_tickets BIGINT, urgent_open BIGINT, resolved BIGINT,
  open_per_agent DOUBLE, load_grade STRING, PRIMARY KEY (team) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'workload', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE service_daily_statistics_sink (
  created_day DATE, tickets BIGINT, resolved BIGINT, open_tickets BIGINT, overdue BIGINT, escalated BIGINT,
  reopened BIGINT, customers BIGINT, resolve_minutes DOUBLE, satisfaction DOUBLE, growth DOUBLE,
  PRIMARY KEY (created_day) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'daily_statistics', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE service_agent_performance_sink (
  agent_id BIGINT, agent_name STRING, team STRING, skill_level STRING, handled BIGINT, resolved BIGINT,
  open_tickets BIGINT, overdue BIGINT, transferred BIGINT, resolve_minutes DOUBLE, satisfaction DOUBLE, score BIGINT,
  grade STRING, PRIMARY KEY (agent_id) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'agent_performance', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE service_agent_ranking_sink (
  team STRING, place BIGINT, agent_id BIGINT, agent_name STRING, score BIGINT, resolved BIGINT,
  PRIMARY KEY (team, place) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'agent_ranking', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE service_hourly_load_sink (
  created_hour INT, tickets BIGINT, outages BIGINT, outage_share DOUBLE, busiest_category STRING,
  PRIMARY KEY (created_hour) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'hourly_load', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE service_attention_sink (
  reason STRING, object_id BIGINT, note STRING, PRIMARY KEY (reason, object_id) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'attention', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = '@FLUSS@');
CREATE DATABASE IF NOT EXISTS fluss.customer_service;

SET 'execution.runtime-mode' = 'streaming';
SET 'execution.checkpointing.interval' = '1s';
SET 'parallelism.default' = '1';

-- ── ODS：原样落地 as it comes ───────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.customer_service.ods_agents (
  agent_id BIGINT, agent_name STRING, team STRING, skill_level STRING, agent_status STRING, hired_on DATE,
  PRIMARY KEY (agent_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.ods_tickets (
  ticket_id BIGINT, customer_id BIGINT, region STRING, category STRING, priority STRING, channel STRING,
  agent_id BIGINT, ticket_status STRING, created_at TIMESTAMP(3), assigned_at TIMESTAMP(3), resolved_at TIMESTAMP(3),
  closed_at TIMESTAMP(3), satisfaction INT, PRIMARY KEY (ticket_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.ods_ticket_log (
  log_id BIGINT, ticket_id BIGINT, agent_id BIGINT, ticket_action STRING, logged_at TIMESTAMP(3),
  PRIMARY KEY (log_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'service-ods';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.customer_service.ods_agents SELECT * FROM service_agents_source;
INSERT INTO fluss.customer_service.ods_tickets SELECT * FROM service_tickets_source;
INSERT INTO fluss.customer_service.ods_ticket_log SELECT * FROM service_ticket_log_source;
END;

-- ── DWD：时长、时限、班组 minutes, limits, teams ────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.customer_service.dwd_agents (
  agent_id BIGINT, agent_name STRING, team STRING, skill_level STRING, is_on_duty BOOLEAN, hired_year BIGINT,
  PRIMARY KEY (agent_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.dwd_tickets (
  ticket_id BIGINT, customer_id BIGINT, region STRING, category STRING, priority STRING, agent_id BIGINT,
  agent_name STRING, team STRING, ticket_status STRING, is_open BOOLEAN, created_day DATE, created_hour INT,
  wait_minutes INT, resolve_minutes INT, limit_minutes INT, is_overdue BOOLEAN, satisfaction INT,
  PRIMARY KEY (ticket_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.dwd_last_actions (
  ticket_id BIGINT, log_id BIGINT, ticket_action STRING, agent_id BIGINT, logged_at TIMESTAMP(3),
  PRIMARY KEY (ticket_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.dwd_ticket_events (
  ticket_id BIGINT, escalations BIGINT, reopenings BIGINT, transfers BIGINT, PRIMARY KEY (ticket_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'service-dwd';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.customer_service.dwd_agents
  SELECT agent_id, agent_name, team, skill_level, agent_status IN ('online', 'busy'), YEAR(hired_on)
  FROM fluss.customer_service.ods_agents;

-- 各优先级的解决时限（分钟）；坐席可能已离职，工单仍保留。
-- The limit of each priority in minutes. The agent may be gone, the ticket stays.
INSERT INTO fluss.customer_service.dwd_tickets
  WITH limits AS (
    SELECT priority, limit_minutes
    FROM (VALUES ('紧急', 180), ('高', 480), ('中', 1440), ('低', 4320)) AS v (priority, limit_minutes))
  SELECT t.ticket_id, t.customer_id, t.region, t.category, t.priority, t.agent_id, a.agent_name,
         CASE WHEN t.agent_id IS NULL THEN '待派单' ELSE COALESCE(a.team, '无班组') END, t.ticket_status,
         t.ticket_status NOT IN ('resolved', 'closed'), CAST(t.created_at AS DATE), CAST(HOUR(t.created_at) AS INT),
         TIMESTAMPDIFF(MINUTE, t.created_at, t.assigned_at), TIMESTAMPDIFF(MINUTE, t.created_at, t.resolved_at),
         l.limit_minutes, COALESCE(TIMESTAMPDIFF(MINUTE, t.created_at, t.resolved_at) > l.limit_minutes, FALSE),
         t.satisfaction
  FROM fluss.customer_service.ods_tickets AS t
  JOIN limits AS l ON t.priority = l.priority
  LEFT JOIN fluss.customer_service.ods_agents AS a ON t.agent_id = a.agent_id;

-- 每张工单最近一次操作（去重）。The newest action of each ticket.
INSERT INTO fluss.customer_service.dwd_last_actions
  SELECT ticket_id, log_id, ticket_action, agent_id, logged_at
  FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY ticket_id ORDER BY logged_at DESC, log_id DESC) AS place
    FROM fluss.customer_service.ods_ticket_log)
  WHERE place = 1;

-- 升级过、重开过、转派过的工单由日志得知。The log knows which tickets were escalated, opened again or handed on.
INSERT INTO fluss.customer_service.dwd_ticket_events
  SELECT ticket_id, COUNT(*) FILTER (WHERE ticket_action = '升级'), COUNT(*) FILTER (WHERE ticket_action = '重开'),
         COUNT(*) FILTER (WHERE ticket_action = '转派')
  FROM fluss.customer_service.ods_ticket_log
  WHERE ticket_action IN ('升级', '重开', '转派') GROUP BY ticket_id;
END;

-- ── DWS：按坐席、班组、日、类别汇总 per agent, team, day and category ────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.customer_service.dws_agents (
  agent_id BIGINT, handled BIGINT, resolved BIGINT, open_tickets BIGINT, overdue BIGINT, resolve_minutes BIGINT,
  marks BIGINT, mark_sum BIGINT, PRIMARY KEY (agent_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.dws_transfers (
  agent_id BIGINT, transferred BIGINT, PRIMARY KEY (agent_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.dws_team_agents (
  team STRING, agents BIGINT, agents_on_duty BIGINT, PRIMARY KEY (team) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.dws_team_tickets (
  team STRING, tickets BIGINT, open_tickets BIGINT, urgent_open BIGINT, resolved BIGINT,
  PRIMARY KEY (team) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.dws_days (
  created_day DATE, tickets BIGINT, resolved BIGINT, open_tickets BIGINT, overdue BIGINT, escalated BIGINT,
  reopened BIGINT, customers BIGINT, resolve_minutes BIGINT, marks BIGINT, mark_sum BIGINT,
  PRIMARY KEY (created_day) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.dws_categories (
  category STRING, priority STRING, tickets BIGINT, resolved BIGINT, assigned BIGINT, overdue BIGINT,
  wait_minutes BIGINT, resolve_minutes BIGINT, longest_minutes INT, limit_minutes INT,
  PRIMARY KEY (category, priority) NOT ENFORCED
) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'service-dws';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.customer_service.dws_agents
  SELECT agent_id, COUNT(*), COUNT(resolve_minutes), COUNT(*) FILTER (WHERE is_open), COUNT(*) FILTER (WHERE is_overdue),
         COALESCE(SUM(CAST(resolve_minutes AS BIGINT)), CAST(0 AS BIGINT)), COUNT(satisfaction),
         COALESCE(SUM(CAST(satisfaction AS BIGINT)), CAST(0 AS BIGINT))
  FROM fluss.customer_service.dwd_tickets WHERE agent_id IS NOT NULL GROUP BY agent_id;

-- 转派记在日志所载的坐席名下。A transfer counts for the agent that the log names.
INSERT INTO fluss.customer_service.dws_transfers
  SELECT agent_id, COUNT(DISTINCT ticket_id)
  FROM fluss.customer_service.ods_ticket_log
  WHERE ticket_action = '转派' AND agent_id IS NOT NULL GROUP BY agent_id;

INSERT INTO fluss.customer_service.dws_team_agents
  SELECT team, COUNT(*), COUNT(*) FILTER (WHERE is_on_duty) FROM fluss.customer_service.dwd_agents GROUP BY team;

INSERT INTO fluss.customer_service.dws_team_tickets
  SELECT team, COUNT(*), COUNT(*) FILTER (WHERE is_open), COUNT(*) FILTER (WHERE is_open AND priority = '紧急'),
         COUNT(resolve_minutes)
  FROM fluss.customer_service.dwd_tickets GROUP BY team;

INSERT INTO fluss.customer_service.dws_days
  SELECT t.created_day, COUNT(*), COUNT(t.resolve_minutes), COUNT(*) FILTER (WHERE t.is_open),
         COUNT(*) FILTER (WHERE t.is_overdue), COUNT(*) FILTER (WHERE e.escalations > 0),
         COUNT(*) FILTER (WHERE e.reopenings > 0), COUNT(DISTINCT t.customer_id),
         COALESCE(SUM(CAST(t.resolve_minutes AS BIGINT)), CAST(0 AS BIGINT)), COUNT(t.satisfaction),
         COALESCE(SUM(CAST(t.satisfaction AS BIGINT)), CAST(0 AS BIGINT))
  FROM fluss.customer_service.dwd_tickets AS t
  LEFT JOIN fluss.customer_service.dwd_ticket_events AS e ON t.ticket_id = e.ticket_id
  GROUP BY t.created_day;

INSERT INTO fluss.customer_service.dws_categories
  SELECT category, priority, COUNT(*), COUNT(resolve_minutes), COUNT(wait_minutes), COUNT(*) FILTER (WHERE is_overdue),
         COALESCE(SUM(CAST(wait_minutes AS BIGINT)), CAST(0 AS BIGINT)),
         COALESCE(SUM(CAST(resolve_minutes AS BIGINT)), CAST(0 AS BIGINT)), MAX(resolve_minutes), MAX(limit_minutes)
  FROM fluss.customer_service.dwd_tickets GROUP BY category, priority;
END;

-- ── ADS：大屏指标 the figures of the boards ─────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.customer_service.ads_live_board (
  board_id INT, tickets BIGINT, waiting BIGINT, in_hand BIGINT, urgent_open BIGINT, resolved BIGINT, overdue BIGINT,
  overdue_rate DOUBLE, resolve_minutes DOUBLE, satisfaction DOUBLE, agents_on_duty BIGINT, tickets_per_agent DOUBLE,
  busiest_team STRING, latest_day DATE, latest_tickets BIGINT, PRIMARY KEY (board_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.ads_resolution_time (
  category STRING, priority STRING, tickets BIGINT, resolved BIGINT, wait_minutes DOUBLE, resolve_minutes DOUBLE,
  longest_minutes INT, limit_minutes INT, overdue BIGINT, overdue_rate DOUBLE, grade STRING,
  PRIMARY KEY (category, priority) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.ads_workload (
  team STRING, agents BIGINT, agents_on_duty BIGINT, open_tickets BIGINT, urgent_open BIGINT, resolved BIGINT,
  open_per_agent DOUBLE, load_grade STRING, PRIMARY KEY (team) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.ads_daily_statistics (
  created_day DATE, tickets BIGINT, resolved BIGINT, open_tickets BIGINT, overdue BIGINT, escalated BIGINT,
  reopened BIGINT, customers BIGINT, resolve_minutes DOUBLE, satisfaction DOUBLE, growth DOUBLE,
  PRIMARY KEY (created_day) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.ads_agent_performance (
  agent_id BIGINT, agent_name STRING, team STRING, skill_level STRING, handled BIGINT, resolved BIGINT,
  open_tickets BIGINT, overdue BIGINT, transferred BIGINT, resolve_minutes DOUBLE, satisfaction DOUBLE, score BIGINT,
  grade STRING, PRIMARY KEY (agent_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.ads_agent_ranking (
  team STRING, place BIGINT, agent_id BIGINT, agent_name STRING, score BIGINT, resolved BIGINT,
  PRIMARY KEY (team, place) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.ads_hourly_load (
  created_hour INT, tickets BIGINT, outages BIGINT, outage_share DOUBLE, busiest_category STRING,
  PRIMARY KEY (created_hour) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.customer_service.ads_attention (
  reason STRING, object_id BIGINT, note STRING, PRIMARY KEY (reason, object_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

-- 坐席得分：整数运算，处处一致。The score of an agent: whole numbers, the same everywhere.
CREATE TEMPORARY VIEW service_agent_scores AS
  SELECT a.agent_id, a.agent_name, a.team, a.skill_level, COALESCE(s.handled, CAST(0 AS BIGINT)) AS handled,
         COALESCE(s.resolved, CAST(0 AS BIGINT)) AS resolved, COALESCE(s.open_tickets, CAST(0 AS BIGINT)) AS open_tickets,
         COALESCE(s.overdue, CAST(0 AS BIGINT)) AS overdue, COALESCE(m.transferred, CAST(0 AS BIGINT)) AS transferred,
         s.resolve_minutes, s.marks, s.mark_sum,
         COALESCE(10 * s.resolved + 2 * s.mark_sum - 5 * s.overdue, CAST(0 AS BIGINT))
           - 3 * COALESCE(m.transferred, CAST(0 AS BIGINT)) AS score
  FROM fluss.customer_service.dwd_agents AS a
  LEFT JOIN fluss.customer_service.dws_agents AS s ON a.agent_id = s.agent_id
  LEFT JOIN fluss.customer_service.dws_transfers AS m ON a.agent_id = m.agent_id;

SET 'pipeline.name' = 'service-ads';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.customer_service.ads_live_board
  WITH total AS (
    SELECT SUM(tickets) AS tickets, SUM(resolved) AS resolved, SUM(overdue) AS overdue,
           SUM(resolve_minutes) AS resolve_minutes, SUM(marks) AS marks, SUM(mark_sum) AS mark_sum
    FROM fluss.customer_service.dws_days),
  teams AS (
    SELECT SUM(open_tickets) AS open_tickets, SUM(urgent_open) AS urgent_open
    FROM fluss.customer_service.dws_team_tickets),
  duty AS (
    SELECT SUM(agents_on_duty) AS agents_on_duty FROM fluss.customer_service.dws_team_agents),
  latest AS (
    SELECT created_day, tickets FROM fluss.customer_service.dws_days
    WHERE created_day = (SELECT MAX(created_day) FROM fluss.customer_service.dws_days))
  SELECT 1, t.tickets, w.waiting, m.open_tickets - w.waiting, m.urgent_open, t.resolved, t.overdue,
         CAST(t.overdue AS DOUBLE) / NULLIF(CAST(t.resolved AS DOUBLE), 0),
         CAST(t.resolve_minutes AS DOUBLE) / NULLIF(CAST(t.resolved AS DOUBLE), 0),
         CAST(t.mark_sum AS DOUBLE) / NULLIF(CAST(t.marks AS DOUBLE), 0), a.agents_on_duty,
         CAST(m.open_tickets AS DOUBLE) / NULLIF(CAST(a.agents_on_duty AS DOUBLE), 0), b.team, l.created_day, l.tickets
  FROM total AS t
  CROSS JOIN teams AS m
  CROSS JOIN duty AS a
  CROSS JOIN (
    SELECT COUNT(*) AS waiting FROM fluss.customer_service.dwd_tickets WHERE ticket_status = 'open') AS w
  CROSS JOIN latest AS l
  LEFT JOIN (
    SELECT team FROM fluss.customer_service.dws_team_tickets WHERE team NOT IN ('待派单', '无班组')
    ORDER BY open_tickets DESC, team LIMIT 1) AS b ON TRUE;

INSERT INTO fluss.customer_service.ads_resolution_time
  SELECT category, priority, tickets, resolved, CAST(wait_minutes AS DOUBLE) / NULLIF(CAST(assigned AS DOUBLE), 0),
         CAST(resolve_minutes AS DOUBLE) / NULLIF(CAST(resolved AS DOUBLE), 0), longest_minutes, limit_minutes, overdue,
         CAST(overdue AS DOUBLE) / NULLIF(CAST(resolved AS DOUBLE), 0),
         CASE WHEN resolved = 0 THEN '无样本'
              WHEN overdue * 10 <= resolved THEN '达标'
              WHEN overdue * 10 <= resolved * 3 THEN '预警'
              ELSE '超标' END
  FROM fluss.customer_service.dws_categories;

-- 有坐席或有工单的班组都在（全外连接）。Teams with agents or with tickets (a full join).
INSERT INTO fluss.customer_service.ads_workload
  SELECT team, agents, agents_on_duty, open_tickets, urgent_open, resolved,
         CAST(open_tickets AS DOUBLE) / NULLIF(CAST(agents_on_duty AS DOUBLE), 0),
         CASE WHEN agents_on_duty = 0 AND open_tickets > 0 THEN '无人'
              WHEN open_tickets > agents_on_duty * 10 THEN '过载'
              WHEN open_tickets > agents_on_duty * 4 THEN '繁忙'
              ELSE '正常' END
  FROM (
    SELECT COALESCE(a.team, t.team) AS team, COALESCE(a.agents, CAST(0 AS BIGINT)) AS agents,
           COALESCE(a.agents_on_duty, CAST(0 AS BIGINT)) AS agents_on_duty,
           COALESCE(t.open_tickets, CAST(0 AS BIGINT)) AS open_tickets,
           COALESCE(t.urgent_open, CAST(0 AS BIGINT)) AS urgent_open, COALESCE(t.resolved, CAST(0 AS BIGINT)) AS resolved
    FROM fluss.customer_service.dws_team_agents AS a
    FULL JOIN fluss.customer_service.dws_team_tickets AS t ON a.team = t.team);

-- 与前一日相比。Against the day before.
INSERT INTO fluss.customer_service.ads_daily_statistics
  SELECT d.created_day, d.tickets, d.resolved, d.open_tickets, d.overdue, d.escalated, d.reopened, d.customers,
         CAST(d.resolve_minutes AS DOUBLE) / NULLIF(CAST(d.resolved AS DOUBLE), 0),
         CAST(d.mark_sum AS DOUBLE) / NULLIF(CAST(d.marks AS DOUBLE), 0),
         CAST(d.tickets AS DOUBLE) / NULLIF(CAST(b.tickets AS DOUBLE), 0) - 1
  FROM fluss.customer_service.dws_days AS d
  LEFT JOIN fluss.customer_service.dws_days AS b ON d.created_day = b.created_day + INTERVAL '1' DAY;

INSERT INTO fluss.customer_service.ads_agent_performance
  SELECT agent_id, agent_name, team, skill_level, handled, resolved, open_tickets, overdue, transferred,
         CAST(resolve_minutes AS DOUBLE) / NULLIF(CAST(resolved AS DOUBLE), 0),
         CAST(mark_sum AS DOUBLE) / NULLIF(CAST(marks AS DOUBLE), 0), score,
         CASE WHEN handled = 0 THEN '无工单'
              WHEN score >= handled * 14 THEN '优秀'
              WHEN score >= handled * 11 THEN '良好'
              WHEN score >= handled * 8 THEN '合格'
              ELSE '待提升' END
  FROM service_agent_scores;

INSERT INTO fluss.customer_service.ads_agent_ranking
  SELECT team, place, agent_id, agent_name, score, resolved
  FROM (
    SELECT team, agent_id, agent_name, score, resolved,
           ROW_NUMBER() OVER (PARTITION BY team ORDER BY score DESC, resolved DESC, agent_id) AS place
    FROM service_agent_scores
    WHERE handled > 0)
  WHERE place <= 3;

INSERT INTO fluss.customer_service.ads_hourly_load
  WITH hours AS (
    SELECT created_hour, COUNT(*) AS tickets, COUNT(*) FILTER (WHERE category = '停电报修') AS outages
    FROM fluss.customer_service.dwd_tickets GROUP BY created_hour),
  busiest AS (
    SELECT created_hour, category
    FROM (
      SELECT created_hour, category, ROW_NUMBER() OVER (PARTITION BY created_hour ORDER BY tickets DESC, category) AS place
      FROM (
        SELECT created_hour, category, COUNT(*) AS tickets
        FROM fluss.customer_service.dwd_tickets GROUP BY created_hour, category))
    WHERE place = 1)
  SELECT h.created_hour, h.tickets, h.outages, CAST(h.outages AS DOUBLE) / CAST(h.tickets AS DOUBLE), b.category
  FROM hours AS h
  JOIN busiest AS b ON h.created_hour = b.created_hour;

INSERT INTO fluss.customer_service.ads_attention
  -- 紧急工单无人处理。Urgent tickets that nobody has.
  SELECT '紧急待派', ticket_id, CONCAT(region, ' ', category)
  FROM fluss.customer_service.dwd_tickets
  WHERE priority = '紧急' AND ticket_status = 'open'
  UNION ALL
  -- 坐席已离职而工单未结（反连接），附最近一次操作。Open tickets whose agent is gone, with their newest action.
  SELECT '坐席离职', t.ticket_id, l.ticket_action
  FROM fluss.customer_service.dwd_tickets AS t
  LEFT JOIN fluss.customer_service.dwd_last_actions AS l ON t.ticket_id = l.ticket_id
  WHERE t.is_open AND t.agent_id IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM fluss.customer_service.dwd_agents AS a WHERE a.agent_id = t.agent_id)
  UNION ALL
  -- 四次及以上来电的客户。Customers who called four times or more.
  SELECT '反复来电', customer_id, CONCAT(CAST(COUNT(*) AS STRING), ' 次')
  FROM fluss.customer_service.dwd_tickets
  GROUP BY customer_id HAVING COUNT(*) >= 4
  UNION ALL
  -- 在线而没有在办工单的坐席（差集）。On duty, without an open ticket.
  SELECT '空闲坐席', agent_id, CAST(NULL AS STRING)
  FROM (
    SELECT agent_id FROM fluss.customer_service.dwd_agents WHERE is_on_duty
    EXCEPT
    SELECT agent_id FROM fluss.customer_service.dwd_tickets WHERE is_open AND agent_id IS NOT NULL);
END;

-- ── 写出 into PostgreSQL ─────────────────────────────────────────────────────────────────────────────────────────────
SET 'pipeline.name' = 'service-sink';
EXECUTE STATEMENT SET BEGIN
INSERT INTO service_live_board_sink SELECT * FROM fluss.customer_service.ads_live_board;
INSERT INTO service_resolution_time_sink SELECT * FROM fluss.customer_service.ads_resolution_time;
INSERT INTO service_workload_sink SELECT * FROM fluss.customer_service.ads_workload;
INSERT INTO service_daily_statistics_sink SELECT * FROM fluss.customer_service.ads_daily_statistics;
INSERT INTO service_agent_performance_sink SELECT * FROM fluss.customer_service.ads_agent_performance;
INSERT INTO service_agent_ranking_sink SELECT * FROM fluss.customer_service.ads_agent_ranking;
INSERT INTO service_hourly_load_sink SELECT * FROM fluss.customer_service.ads_hourly_load;
INSERT INTO service_attention_sink SELECT * FROM fluss.customer_service.ads_attention;
END;
