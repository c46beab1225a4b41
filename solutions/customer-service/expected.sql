-- 在源库中由源表重新计算每张大屏表与各层行数，用于核对。
-- Every board and the rows of every layer, computed anew from the source's tables, for the check.

-- board: live_board
WITH ticket AS (
  SELECT t.*, a.agent_name, CASE WHEN t.agent_id IS NULL THEN '待派单' ELSE COALESCE(a.team, '无班组') END AS team,
         t.ticket_status NOT IN ('resolved', 'closed') AS is_open, t.created_at::date AS created_day,
         floor(EXTRACT(EPOCH FROM t.assigned_at - t.created_at) / 60)::int AS wait_minutes,
         floor(EXTRACT(EPOCH FROM t.resolved_at - t.created_at) / 60)::int AS resolve_minutes,
         CASE t.priority WHEN '紧急' THEN 180 WHEN '高' THEN 480 WHEN '中' THEN 1440 ELSE 4320 END AS limit_minutes
  FROM tickets t LEFT JOIN agents a USING (agent_id)
), total AS (
  SELECT COUNT(*) AS tickets, COUNT(*) FILTER (WHERE ticket_status = 'open') AS waiting, COUNT(*)
    FILTER (WHERE is_open) AS open_tickets,
         COUNT(*) FILTER (WHERE is_open AND priority = '紧急') AS urgent_open, COUNT(resolve_minutes) AS resolved,
         COUNT(*) FILTER (WHERE resolve_minutes > limit_minutes) AS overdue, SUM(resolve_minutes) AS resolve_minutes,
         COUNT(satisfaction) AS marks, SUM(satisfaction) AS mark_sum, MAX(created_day) AS latest_day
  FROM ticket
), duty AS (SELECT COUNT(*) FILTER (WHERE agent_status IN ('online', 'busy')) AS agents_on_duty FROM agents)
SELECT 1 AS board_id, tickets, waiting, open_tickets - waiting AS in_hand, urgent_open, resolved, overdue,
       overdue::float8 / NULLIF(resolved::float8, 0) AS overdue_rate,
         resolve_minutes::float8 / NULLIF(resolved::float8, 0) AS resolve_minutes,
       mark_sum::float8 / NULLIF(marks::float8, 0) AS satisfaction, agents_on_duty,
       open_tickets::float8 / NULLIF(agents_on_duty::float8, 0) AS tickets_per_agent,
       (SELECT team FROM ticket WHERE team NOT IN ('待派单', '无班组') GROUP BY team
        ORDER BY COUNT(*) FILTER (WHERE is_open) DESC, team COLLATE "C" LIMIT 1) AS busiest_team,
       latest_day, (SELECT COUNT(*) FROM ticket WHERE created_day = latest_day) AS latest_tickets
FROM total, duty
WHERE tickets > 0;

-- board: resolution_time
WITH ticket AS (
  SELECT t.*, a.agent_name, CASE WHEN t.agent_id IS NULL THEN '待派单' ELSE COALESCE(a.team, '无班组') END AS team,
         t.ticket_status NOT IN ('resolved', 'closed') AS is_open, t.created_at::date AS created_day,
         floor(EXTRACT(EPOCH FROM t.assigned_at - t.created_at) / 60)::int AS wait_minutes,
         floor(EXTRACT(EPOCH FROM t.resolved_at - t.created_at) / 60)::int AS resolve_minutes,
         CASE t.priority WHEN '紧急' THEN 180 WHEN '高' THEN 480 WHEN '中' THEN 1440 ELSE 4320 END AS limit_minutes
  FROM tickets t LEFT JOIN agents a USING (agent_id)
), summed AS (
  SELECT category, priority, COUNT(*) AS tickets, COUNT(resolve_minutes) AS resolved, COUNT(wait_minutes) AS assigned,
         COALESCE(SUM(wait_minutes), 0) AS wait_minutes, COALESCE(SUM(resolve_minutes), 0) AS resolve_minutes,
         MAX(resolve_minutes) AS longest_minutes, MAX(limit_minutes) AS limit_minutes,
         COUNT(*) FILTER (WHERE resolve_minutes > limit_minutes) AS overdue
  FROM ticket GROUP BY category, priority
)
SELECT category, priority, tickets, resolved, wait_minutes::float8 / NULLIF(assigned::float8, 0) AS wait_minutes,
       resolve_minutes::float8 / NULLIF(resolved::float8, 0) AS resolve_minutes, longest_minutes, limit_minutes, overdue,
       overdue::float8 / NULLIF(resolved::float8, 0) AS overdue_rate,
       CASE WHEN resolved = 0 THEN '无样本' WHEN overdue * 10 <= resolved THEN '达标' WHEN overdue * 10 <= resolved * 3 THEN '预警'
         ELSE '超标' END AS grade
FROM summed;

-- board: workload
WITH ticket AS (
  SELECT t.*, a.agent_name, CASE WHEN t.agent_id IS NULL THEN '待派单' ELSE COALESCE(a.team, '无班组') END AS team,
         t.ticket_status NOT IN ('resolved', 'closed') AS is_open, t.created_at::date AS created_day,
         floor(EXTRACT(EPOCH FROM t.assigned_at - t.created_at) / 60)::int AS wait_minutes,
         floor(EXTRACT(EPOCH FROM t.resolved_at - t.created_at) / 60)::int AS resolve_minutes,
         CASE t.priority WHEN '紧急' THEN 180 WHEN '高' THEN 480 WHEN '中' THEN 1440 ELSE 4320 END AS limit_minutes
  FROM tickets t LEFT JOIN agents a USING (agent_id)
), staffed AS (
  SELECT team, COUNT(*) AS agents, COUNT(*) FILTER (WHERE agent_status IN ('online', 'busy')) AS agents_on_duty FROM agents
    GROUP BY team
), loaded AS (
  SELECT team, COUNT(*) FILTER (WHERE is_open) AS open_tickets, COUNT(*) FILTER (WHERE is_open AND priority = '紧急') AS urgent_open,
         COUNT(resolve_minutes) AS resolved
  FROM ticket GROUP BY team
), teams AS (
  SELECT team, COALESCE(agents, 0) AS agents, COALESCE(agents_on_duty, 0) AS agents_on_duty,
    COALESCE(open_tickets, 0) AS open_tickets,
         COALESCE(urgent_open, 0) AS urgent_open, COALESCE(resolved, 0) AS resolved
  FROM staffed FULL JOIN loaded USING (team)
)
SELECT team, agents, agents_on_duty, open_tickets, urgent_open, resolved,
       open_tickets::float8 / NULLIF(agents_on_duty::float8, 0) AS open_per_agent,
       CASE WHEN agents_on_duty = 0 AND open_tickets > 0 THEN '无人' WHEN open_tickets > agents_on_duty * 10 THEN '过载'
            WHEN open_tickets > agents_on_duty * 4 THEN '繁忙' ELSE '正常' END AS load_grade
FROM teams;

-- board: daily_statistics
WITH ticket AS (
  SELECT t.*, a.agent_name, CASE WHEN t.agent_id IS NULL THEN '待派单' ELSE COALESCE(a.team, '无班组') END AS team,
         t.ticket_status NOT IN ('resolved', 'closed') AS is_open, t.created_at::date AS created_day,
         floor(EXTRACT(EPOCH FROM t.assigned_at - t.created_at) / 60)::int AS wait_minutes,
         floor(EXTRACT(EPOCH FROM t.resolved_at - t.created_at) / 60)::int AS resolve_minutes,
         CASE t.priority WHEN '紧急' THEN 180 WHEN '高' THEN 480 WHEN '中' THEN 1440 ELSE 4320 END AS limit_minutes
  FROM tickets t LEFT JOIN agents a USING (agent_id)
), days AS (
  SELECT created_day, COUNT(*) AS tickets, COUNT(resolve_minutes) AS resolved, COUNT(*) FILTER (WHERE is_open) AS open_tickets,
         COUNT(*) FILTER (WHERE resolve_minutes > limit_minutes) AS overdue,
         COUNT(*) FILTER (WHERE EXISTS (SELECT FROM ticket_log l WHERE l.ticket_id = t.ticket_id
           AND l.ticket_action = '升级')) AS escalated,
         COUNT(*) FILTER (WHERE EXISTS (SELECT FROM ticket_log l WHERE l.ticket_id = t.ticket_id
           AND l.ticket_action = '重开')) AS reopened,
         COUNT(DISTINCT customer_id) AS customers, SUM(resolve_minutes) AS resolve_minutes, COUNT(satisfaction) AS marks,
         SUM(satisfaction) AS mark_sum
  FROM ticket t GROUP BY created_day
)
SELECT d.created_day, d.tickets, d.resolved, d.open_tickets, d.overdue, d.escalated, d.reopened, d.customers,
       d.resolve_minutes::float8 / NULLIF(d.resolved::float8, 0) AS resolve_minutes,
       d.mark_sum::float8 / NULLIF(d.marks::float8, 0) AS satisfaction, d.tickets::float8 / NULLIF(b.tickets::float8, 0) - 1 AS growth
FROM days d LEFT JOIN days b ON d.created_day = b.created_day + 1;

-- board: agent_performance
WITH ticket AS (
  SELECT t.*, a.agent_name, CASE WHEN t.agent_id IS NULL THEN '待派单' ELSE COALESCE(a.team, '无班组') END AS team,
         t.ticket_status NOT IN ('resolved', 'closed') AS is_open, t.created_at::date AS created_day,
         floor(EXTRACT(EPOCH FROM t.assigned_at - t.created_at) / 60)::int AS wait_minutes,
         floor(EXTRACT(EPOCH FROM t.resolved_at - t.created_at) / 60)::int AS resolve_minutes,
         CASE t.priority WHEN '紧急' THEN 180 WHEN '高' THEN 480 WHEN '中' THEN 1440 ELSE 4320 END AS limit_minutes
  FROM tickets t LEFT JOIN agents a USING (agent_id)
), scored AS (
  SELECT a.agent_id, a.agent_name, a.team, a.skill_level, COUNT(t.ticket_id) AS handled, COUNT(t.resolve_minutes) AS resolved,
         COUNT(t.ticket_id) FILTER (WHERE t.is_open) AS open_tickets,
         COUNT(t.ticket_id) FILTER (WHERE t.resolve_minutes > t.limit_minutes) AS overdue,
         COALESCE(MAX(m.transferred), 0) AS transferred,
         COALESCE(SUM(t.resolve_minutes), 0) AS resolve_minutes, COUNT(t.satisfaction) AS marks,
           COALESCE(SUM(t.satisfaction), 0) AS mark_sum
  FROM agents a LEFT JOIN ticket t USING (agent_id)
  LEFT JOIN (
    SELECT agent_id, COUNT(DISTINCT ticket_id) AS transferred FROM ticket_log WHERE ticket_action = '转派' GROUP BY 1) m USING (agent_id)
  GROUP BY a.agent_id
), agent AS (SELECT *, 10 * resolved + 2 * mark_sum - 5 * overdue - 3 * transferred AS score FROM scored)
SELECT agent_id, agent_name, team, skill_level, handled, resolved, open_tickets, overdue, transferred,
       resolve_minutes::float8 / NULLIF(resolved::float8, 0) AS resolve_minutes,
         mark_sum::float8 / NULLIF(marks::float8, 0) AS satisfaction,
       score, CASE WHEN handled = 0 THEN '无工单' WHEN score >= handled * 14 THEN '优秀' WHEN score >= handled * 11 THEN '良好'
                   WHEN score >= handled * 8 THEN '合格' ELSE '待提升' END AS grade
FROM agent;

-- board: agent_ranking
WITH ticket AS (
  SELECT t.*, a.agent_name, CASE WHEN t.agent_id IS NULL THEN '待派单' ELSE COALESCE(a.team, '无班组') END AS team,
         t.ticket_status NOT IN ('resolved', 'closed') AS is_open, t.created_at::date AS created_day,
         floor(EXTRACT(EPOCH FROM t.assigned_at - t.created_at) / 60)::int AS wait_minutes,
         floor(EXTRACT(EPOCH FROM t.resolved_at - t.created_at) / 60)::int AS resolve_minutes,
         CASE t.priority WHEN '紧急' THEN 180 WHEN '高' THEN 480 WHEN '中' THEN 1440 ELSE 4320 END AS limit_minutes
  FROM tickets t LEFT JOIN agents a USING (agent_id)
), scored AS (
  SELECT a.agent_id, a.agent_name, a.team, a.skill_level, COUNT(t.ticket_id) AS handled, COUNT(t.resolve_minutes) AS resolved,
         COUNT(t.ticket_id) FILTER (WHERE t.is_open) AS open_tickets,
         COUNT(t.ticket_id) FILTER (WHERE t.resolve_minutes > t.limit_minutes) AS overdue,
         COALESCE(MAX(m.transferred), 0) AS transferred,
         COALESCE(SUM(t.resolve_minutes), 0) AS resolve_minutes, COUNT(t.satisfaction) AS marks,
           COALESCE(SUM(t.satisfaction), 0) AS mark_sum
  FROM agents a LEFT JOIN ticket t USING (agent_id)
  LEFT JOIN (
    SELECT agent_id, COUNT(DISTINCT ticket_id) AS transferred FROM ticket_log WHERE ticket_action = '转派' GROUP BY 1) m USING (agent_id)
  GROUP BY a.agent_id
), agent AS (SELECT *, 10 * resolved + 2 * mark_sum - 5 * overdue - 3 * transferred AS score FROM scored), placed AS (
  SELECT team, ROW_NUMBER() OVER (PARTITION BY team ORDER BY score DESC, resolved DESC, agent_id) AS place, agent_id, agent_name,
    score, resolved
  FROM agent WHERE handled > 0
)
SELECT * FROM placed WHERE place <= 3;

-- board: hourly_load
WITH counted AS (
  SELECT EXTRACT(HOUR FROM created_at)::int AS created_hour, category, COUNT(*) AS tickets FROM tickets GROUP BY 1, 2
), hours AS (
  SELECT created_hour, SUM(tickets) AS tickets, COALESCE(SUM(tickets) FILTER (WHERE category = '停电报修'), 0) AS outages
  FROM counted GROUP BY created_hour
)
SELECT created_hour, tickets, outages, outages::float8 / tickets::float8 AS outage_share,
       (SELECT c.category FROM counted c WHERE c.created_hour = h.created_hour ORDER BY c.tickets DESC,
         c.category COLLATE "C" LIMIT 1) AS busiest_category
FROM hours h;

-- board: attention
WITH ticket AS (
  SELECT t.*, a.agent_name, CASE WHEN t.agent_id IS NULL THEN '待派单' ELSE COALESCE(a.team, '无班组') END AS team,
         t.ticket_status NOT IN ('resolved', 'closed') AS is_open, t.created_at::date AS created_day,
         floor(EXTRACT(EPOCH FROM t.assigned_at - t.created_at) / 60)::int AS wait_minutes,
         floor(EXTRACT(EPOCH FROM t.resolved_at - t.created_at) / 60)::int AS resolve_minutes,
         CASE t.priority WHEN '紧急' THEN 180 WHEN '高' THEN 480 WHEN '中' THEN 1440 ELSE 4320 END AS limit_minutes
  FROM tickets t LEFT JOIN agents a USING (agent_id)
)
SELECT '紧急待派' AS reason, ticket_id AS object_id, region || ' ' || category AS note FROM ticket WHERE priority = '紧急'
  AND ticket_status = 'open'
UNION ALL
SELECT '坐席离职', ticket_id,
       (SELECT l.ticket_action FROM ticket_log l WHERE l.ticket_id = t.ticket_id ORDER BY l.logged_at DESC, l.log_id DESC LIMIT 1)
FROM ticket t WHERE is_open AND team = '无班组'
UNION ALL
SELECT '反复来电', customer_id, COUNT(*) || ' 次' FROM tickets GROUP BY customer_id HAVING COUNT(*) >= 4
UNION ALL
SELECT '空闲坐席', agent_id, NULL FROM agents a
WHERE agent_status IN ('online', 'busy') AND NOT EXISTS (SELECT FROM ticket t WHERE t.agent_id = a.agent_id AND t.is_open);

-- layer: fluss.customer_service.ods_agents
SELECT COUNT(*) FROM agents;

-- layer: fluss.customer_service.ods_tickets
SELECT COUNT(*) FROM tickets;

-- layer: fluss.customer_service.ods_ticket_log
SELECT COUNT(*) FROM ticket_log;

-- layer: fluss.customer_service.dwd_agents
SELECT COUNT(*) FROM agents;

-- layer: fluss.customer_service.dwd_tickets
SELECT COUNT(*) FROM tickets;

-- layer: fluss.customer_service.dwd_last_actions
SELECT COUNT(DISTINCT ticket_id) FROM ticket_log;

-- layer: fluss.customer_service.dwd_ticket_events
SELECT COUNT(DISTINCT ticket_id) FROM ticket_log WHERE ticket_action IN ('升级', '重开', '转派');

-- layer: fluss.customer_service.dws_agents
SELECT COUNT(DISTINCT agent_id) FROM tickets;

-- layer: fluss.customer_service.dws_transfers
SELECT COUNT(DISTINCT agent_id) FROM ticket_log WHERE ticket_action = '转派';

-- layer: fluss.customer_service.dws_team_agents
SELECT COUNT(DISTINCT team) FROM agents;

-- layer: fluss.customer_service.dws_team_tickets
SELECT COUNT(DISTINCT CASE WHEN t.agent_id IS NULL THEN '待派单' ELSE COALESCE(a.team, '无班组') END)
FROM tickets t LEFT JOIN agents a USING (agent_id);

-- layer: fluss.customer_service.dws_days
SELECT COUNT(DISTINCT created_at::date) FROM tickets;

-- layer: fluss.customer_service.dws_categories
SELECT COUNT(DISTINCT (category, priority)) FROM tickets;

-- layer: fluss.customer_service.ads_live_board
SELECT COUNT(*) FROM (SELECT 1 FROM tickets LIMIT 1) t;

-- layer: fluss.customer_service.ads_resolution_time
SELECT COUNT(DISTINCT (category, priority)) FROM tickets;

-- layer: fluss.customer_service.ads_workload
SELECT COUNT(*) FROM (
  SELECT team FROM agents
  UNION SELECT CASE WHEN t.agent_id IS NULL THEN '待派单' ELSE COALESCE(a.team, '无班组') END FROM tickets t LEFT
    JOIN agents a USING (agent_id)) t;

-- layer: fluss.customer_service.ads_daily_statistics
SELECT COUNT(DISTINCT created_at::date) FROM tickets;

-- layer: fluss.customer_service.ads_agent_performance
SELECT COUNT(*) FROM agents;

-- layer: fluss.customer_service.ads_agent_ranking
SELECT COALESCE(SUM(LEAST(agents, 3)), 0) FROM (
  SELECT team, COUNT(*) AS agents FROM agents a WHERE EXISTS (SELECT FROM tickets t WHERE t.agent_id = a.agent_id) GROUP BY team) t;

-- layer: fluss.customer_service.ads_hourly_load
SELECT COUNT(DISTINCT EXTRACT(HOUR FROM created_at)) FROM tickets;

-- layer: fluss.customer_service.ads_attention
SELECT (SELECT COUNT(*) FROM tickets WHERE priority = '紧急' AND ticket_status = 'open')
     + (SELECT COUNT(*) FROM tickets t WHERE ticket_status NOT IN ('resolved', 'closed') AND agent_id IS NOT NULL
          AND NOT EXISTS (SELECT FROM agents a WHERE a.agent_id = t.agent_id))
     + (SELECT COUNT(*) FROM (SELECT customer_id FROM tickets GROUP BY customer_id HAVING COUNT(*) >= 4) t)
     + (SELECT COUNT(*) FROM agents a WHERE agent_status IN ('online', 'busy') AND NOT EXISTS (
          SELECT FROM tickets t WHERE t.agent_id = a.agent_id AND t.ticket_status NOT IN ('resolved', 'closed')));

-- 原样落地的行。The rows of the layer that is as it comes.

-- rows: fluss.customer_service.ods_agents
SELECT * FROM agents;

-- rows: fluss.customer_service.ods_tickets
SELECT * FROM tickets;

-- rows: fluss.customer_service.ods_ticket_log
SELECT * FROM ticket_log;
