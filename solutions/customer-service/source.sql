-- 源库：95598 客服的坐席、工单、工单日志。The source database of a grid company's hotline: agents, tickets, ticket log.
-- 可重复执行。Can be run again.
CREATE TABLE IF NOT EXISTS agents (
  agent_id BIGINT PRIMARY KEY,
  agent_name TEXT NOT NULL,
  team TEXT NOT NULL,
  skill_level TEXT NOT NULL,
  agent_status TEXT NOT NULL,
  hired_on DATE NOT NULL);
COMMENT ON TABLE agents IS '坐席 agents';
COMMENT ON COLUMN agents.skill_level IS '初级、中级、高级、专家';
COMMENT ON COLUMN agents.agent_status IS 'online 在线、busy 通话中、offline 离线、leave 休假';

CREATE TABLE IF NOT EXISTS tickets (
  ticket_id BIGINT PRIMARY KEY,
  customer_id BIGINT NOT NULL,
  region TEXT NOT NULL,
  category TEXT NOT NULL,
  priority TEXT NOT NULL,
  channel TEXT NOT NULL,
  agent_id BIGINT,
  ticket_status TEXT NOT NULL,
  created_at TIMESTAMP(3) NOT NULL,
  assigned_at TIMESTAMP(3),
  resolved_at TIMESTAMP(3),
  closed_at TIMESTAMP(3),
  satisfaction INTEGER);
COMMENT ON TABLE tickets IS '工单 tickets';
COMMENT ON COLUMN tickets.category IS '停电报修、电费咨询、业扩报装、电压质量、充电服务、投诉';
COMMENT ON COLUMN tickets.priority IS '紧急、高、中、低';
COMMENT ON COLUMN tickets.ticket_status IS 'open 待派单、assigned 已派单、in_progress 处理中、resolved 已解决、closed 已归档、reopened 重开';
COMMENT ON COLUMN tickets.satisfaction IS '回访满意度 1 – 5，未评为空 what the customer said afterwards, 1 to 5';

CREATE TABLE IF NOT EXISTS ticket_log (
  log_id BIGINT PRIMARY KEY,
  ticket_id BIGINT NOT NULL,
  agent_id BIGINT,
  ticket_action TEXT NOT NULL,
  logged_at TIMESTAMP(3) NOT NULL);
COMMENT ON TABLE ticket_log IS '工单日志：受理、派单、转派、处理、升级、解决、回访、重开 what was done with a ticket';
CREATE INDEX IF NOT EXISTS ticket_log_ticket ON ticket_log (ticket_id);

-- Flink 的 postgres-cdc 需要旧值。Flink's postgres-cdc needs the old values.
ALTER TABLE agents REPLICA IDENTITY FULL;
ALTER TABLE tickets REPLICA IDENTITY FULL;
ALTER TABLE ticket_log REPLICA IDENTITY FULL;

-- ── 数据生成 The living hotline ─────────────────────────────────────────────────────────────────────────────────
-- 由 (seed, n, i) 决定的数，0 … below - 1。A number from 0 to below - 1 that follows from (seed, n, i).
CREATE OR REPLACE FUNCTION solution_draw(seed INTEGER, n BIGINT, i INTEGER, below BIGINT) RETURNS BIGINT
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (hashint8extended(n, seed::bigint * 1000 + i) & 9223372036854775807) % below
$$;

CREATE OR REPLACE FUNCTION solution_name(draw BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY['王','李','张','刘','陈','杨','赵','黄','周','吴','徐','孙','马','朱','胡','林','郭','何','高','罗'])[1 + draw % 20]
      || (ARRAY['伟','芳','娜','敏','静','丽','强','磊','军','洋','勇','艳','杰','涛','明','超','秀','霞','平','刚'])[1 + draw / 20 % 20]
      || (ARRAY['','','华','国','文','建','志','晓','海','云','玉','春','红','林','东','宁'])[1 + draw / 400 % 16]
$$;

CREATE OR REPLACE FUNCTION solution_region(draw BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY['华东', '华东', '华东', '华北', '华北', '华中', '华中', '华南', '华南', '西南', '西北', '东北'])[1 + draw % 12]
$$;

-- 来电集中在停电与缴费的时段。Calls come when people are at home, or when the office opens.
CREATE OR REPLACE FUNCTION solution_hour(draw BIGINT) RETURNS INTEGER LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY[0,1,2,4,6,7,7,8,8,8,9,9,9,9,9,10,10,10,10,11,11,11,12,12,13,13,14,14,14,15,15,15,16,16,16,17,17,18,18,18,
                19,19,19,19,20,20,20,20,20,21,21,21,22,22,23])[1 + draw % 55]
$$;

CREATE OR REPLACE FUNCTION solution_category(draw BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN draw % 100 < 30 THEN '停电报修' WHEN draw % 100 < 60 THEN '电费咨询' WHEN draw % 100 < 72 THEN '业扩报装'
              WHEN draw % 100 < 80 THEN '电压质量' WHEN draw % 100 < 92 THEN '充电服务' ELSE '投诉' END
$$;

-- 停电与投诉紧急，其余较缓。Outages and complaints are urgent, the rest can wait.
CREATE OR REPLACE FUNCTION solution_priority(category TEXT, draw BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE category WHEN '停电报修' THEN (ARRAY['紧急', '紧急', '高', '高', '中'])[1 + draw % 5]
                       WHEN '投诉' THEN (ARRAY['紧急', '高', '高', '中', '中'])[1 + draw % 5]
                       ELSE (ARRAY['高', '中', '中', '低', '低'])[1 + draw % 5] END
$$;

CREATE OR REPLACE FUNCTION solution_channel(draw BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY['95598 热线', '95598 热线', '95598 热线', '网上国网', '网上国网', '微信公众号', '营业厅'])[1 + draw % 7]
$$;

CREATE OR REPLACE FUNCTION solution_agent(seed INTEGER, id BIGINT) RETURNS SETOF agents LANGUAGE sql STABLE AS $$
  SELECT id, solution_name(solution_draw(seed, id, 100, 6400)),
         (ARRAY['停电报修一组', '停电报修二组', '电费咨询组', '业扩报装组', '充电服务组', '投诉处理组'])[1 + id % 6],
         (ARRAY['初级', '初级', '中级', '中级', '高级', '专家'])[1 + solution_draw(seed, id, 101, 6)],
         (ARRAY['online', 'online', 'online', 'busy', 'busy', 'offline', 'leave'])[1 + solution_draw(seed, id, 102, 7)],
         DATE '2026-06-01' - solution_draw(seed, id, 103, 3000)::int
$$;

-- 初始数据：size 张工单，分布于三十天，每百张一名坐席（至少十二名）。
-- First contents: size tickets over thirty days, an agent for every hundred of them (twelve at least).
CREATE OR REPLACE FUNCTION solution_fill(size INTEGER, seed INTEGER) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
  agent_count CONSTANT BIGINT := GREATEST(12, size / 100);
  total BIGINT;
  added BIGINT;
BEGIN
  IF EXISTS (SELECT FROM agents) THEN
    RETURN 0;
  END IF;
  INSERT INTO agents SELECT a.* FROM generate_series(1, agent_count) i, LATERAL solution_agent(seed, i) a;
  GET DIAGNOSTICS total = ROW_COUNT;
  INSERT INTO tickets
    SELECT i, 1 + solution_draw(seed, i, 1, GREATEST(size / 2, 1)), solution_region(solution_draw(seed, i, 2, 12)), category,
           solution_priority(category, solution_draw(seed, i, 4, 5)), solution_channel(solution_draw(seed, i, 5, 7)),
           CASE WHEN fate > 1 THEN 1 + solution_draw(seed, i, 6, agent_count) END,
           CASE WHEN fate > 18 THEN 'closed' WHEN fate > 10 THEN 'resolved' WHEN fate > 5 THEN 'in_progress'
             WHEN fate > 1 THEN 'assigned'
                ELSE 'open' END,
           created, CASE WHEN fate > 1 THEN assigned END, CASE WHEN fate > 10 THEN resolved END,
           CASE WHEN fate > 18 THEN resolved + (1 + solution_draw(seed, i, 10, 2880)) * INTERVAL '1 minute' END,
           CASE WHEN fate > 45 THEN (ARRAY[1, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5])[1 + solution_draw(seed, i, 11, 12)] END
    FROM generate_series(1::bigint, size) i,
         LATERAL (SELECT solution_draw(seed, i, 7, 100) AS fate, solution_category(solution_draw(seed, i, 3, 100)) AS category,
                         TIMESTAMP '2026-06-01' + (i - 1) * 30 / size * INTERVAL '1 day'
                           + solution_hour(solution_draw(seed, i, 8, 55)) * INTERVAL '1 hour'
                           + solution_draw(seed, i, 9, 3600) * INTERVAL '1 second' AS created) t,
         LATERAL (SELECT created + (30 + solution_draw(seed, i, 12, 2400)) * INTERVAL '1 second' AS assigned) s,
         LATERAL (SELECT assigned + (5 + solution_draw(seed, i, 13, CASE category WHEN '停电报修' THEN 240 WHEN '业扩报装' THEN 6000
                                                                           WHEN '电费咨询' THEN 90 ELSE 1500 END)) * INTERVAL '1 minute' AS resolved) r;
  GET DIAGNOSTICS added = ROW_COUNT;
  total := total + added;
  -- 日志由工单推出：受理、派单、（转派、升级）、解决、回访。The log follows from the tickets.
  INSERT INTO ticket_log
    SELECT ROW_NUMBER() OVER (ORDER BY logged_at, ticket_id, part), ticket_id, agent_id, ticket_action, logged_at
    FROM (
      SELECT 1 AS part, ticket_id, NULL::bigint AS agent_id, '受理' AS ticket_action, created_at AS logged_at FROM tickets
      UNION ALL SELECT 2, ticket_id, agent_id, '派单', assigned_at FROM tickets WHERE assigned_at IS NOT NULL
      UNION ALL SELECT 3, ticket_id, agent_id, '转派', assigned_at + INTERVAL '3 minutes' FROM tickets
        WHERE assigned_at IS NOT NULL AND solution_draw(seed, ticket_id, 14, 12) = 0
      UNION ALL SELECT 4, ticket_id, agent_id, '升级', assigned_at + INTERVAL '4 minutes' FROM tickets
        WHERE assigned_at IS NOT NULL AND solution_draw(seed, ticket_id, 15, 20) = 0
      UNION ALL SELECT 5, ticket_id, agent_id, '解决', resolved_at FROM tickets WHERE resolved_at IS NOT NULL
      UNION ALL SELECT 6, ticket_id, agent_id, '回访', closed_at FROM tickets WHERE closed_at IS NOT NULL) t;
  GET DIAGNOSTICS added = ROW_COUNT;
  RETURN total + added;
END $$;

-- 第 n 次变更；一次调用即一个事务，业务时间每步前进三十秒。
-- The n-th change; one transaction; business time goes on by thirty seconds with each.
CREATE OR REPLACE FUNCTION solution_step(seed INTEGER, n BIGINT) RETURNS INTEGER LANGUAGE plpgsql AS $$
DECLARE
  moment CONSTANT TIMESTAMP(3) := TIMESTAMP '2026-07-01' + n * INTERVAL '30 seconds';
  what CONSTANT BIGINT := solution_draw(seed, n, 20, 100);
  agents_max BIGINT;
  newest BIGINT;
  oldest BIGINT;
  picked BIGINT;
  agent BIGINT;
  log BIGINT;
  more INTEGER := 1;
  touched BIGINT[];
  done TEXT;
  changed INTEGER := 0;
  part INTEGER := 0;
BEGIN
  -- 独占此锁者（例如核对程序）使源库静止。Whoever holds this lock exclusively, as the check does, makes the source stand still.
  PERFORM pg_advisory_xact_lock_shared(47110001);
  SELECT MAX(agent_id) INTO agents_max FROM agents;
  IF agents_max IS NULL THEN
    RETURN 0;
  END IF;
  SELECT COALESCE(MAX(ticket_id), 0), COALESCE(MIN(ticket_id), 0) INTO newest, oldest FROM tickets;
  SELECT COALESCE(MAX(log_id), 0) INTO log FROM ticket_log;
  -- 多数事件发生在较新的工单上。Most things happen to newer tickets.
  picked := newest - LEAST(solution_draw(seed, n, 21, newest - oldest + 1), solution_draw(seed, n, 22, newest - oldest + 1));
  agent := 1 + solution_draw(seed, n, 23, agents_max);

  IF what < 28 OR n % 150 = 0 THEN
    -- 来单；每一百五十步一次雷暴，一个事务四十张同一区域的停电报修。
    -- Tickets come in; every 150th step is a thunderstorm: forty outages of one region in one transaction.
    IF n % 150 = 0 THEN
      more := 40;
    END IF;
    INSERT INTO tickets
      SELECT newest + k, 1 + solution_draw(seed, newest + k, 1, GREATEST(newest - oldest, 1) / 2 + 1),
             solution_region(CASE WHEN more > 1 THEN solution_draw(seed, n, 24, 12) ELSE solution_draw(seed, newest + k, 2, 12) END),
             category, CASE WHEN more > 1 THEN '紧急' ELSE solution_priority(category, solution_draw(seed, newest + k, 4, 5)) END,
             solution_channel(solution_draw(seed, newest + k, 5, 7)), NULL, 'open', moment + k * INTERVAL '100 milliseconds', NULL,
               NULL, NULL, NULL
      FROM generate_series(1, more) k,
           LATERAL (SELECT CASE WHEN more > 1 THEN '停电报修' ELSE solution_category(solution_draw(seed, newest + k, 3,
             100)) END AS category) t;
    INSERT INTO ticket_log SELECT log + k, newest + k, NULL, '受理', moment + k * INTERVAL '100 milliseconds'
      FROM generate_series(1, more) k;
    changed := 2 * more;
    -- 最旧的工单归档离开，数据量有界。The oldest tickets are archived, so that the number of rows stays bounded.
    DELETE FROM ticket_log WHERE ticket_id <= newest + more - 100 * agents_max - 200;
    GET DIAGNOSTICS part = ROW_COUNT;
    changed := changed + part;
    DELETE FROM tickets WHERE ticket_id <= newest + more - 100 * agents_max - 200;
    GET DIAGNOSTICS part = ROW_COUNT;
    RETURN changed + part;
  END IF;

  -- 工单流转：先改工单，再记日志。A ticket goes on: it changes, and the log says so.
  IF what < 45 THEN
    done := '派单';
    WITH moved AS (
      UPDATE tickets SET ticket_status = 'assigned', agent_id = 1 + (agent + ticket_id) % agents_max,
        assigned_at = GREATEST(moment, created_at)
        WHERE ticket_status = 'open' AND ticket_id BETWEEN picked AND picked + 40 RETURNING ticket_id)
    SELECT array_agg(ticket_id ORDER BY ticket_id) INTO touched FROM moved;
  ELSIF what < 52 THEN
    done := '处理';
    WITH moved AS (
      UPDATE tickets SET ticket_status = 'in_progress'
        WHERE ticket_status IN ('assigned', 'reopened') AND ticket_id BETWEEN picked AND picked + 40 RETURNING ticket_id)
    SELECT array_agg(ticket_id ORDER BY ticket_id) INTO touched FROM moved;
  ELSIF what < 68 THEN
    done := '解决';
    WITH moved AS (
      UPDATE tickets SET ticket_status = 'resolved', resolved_at = GREATEST(moment, assigned_at)
        WHERE ticket_status IN ('assigned', 'in_progress', 'reopened') AND ticket_id BETWEEN picked AND picked + 20
          RETURNING ticket_id)
    SELECT array_agg(ticket_id ORDER BY ticket_id) INTO touched FROM moved;
  ELSIF what < 76 THEN
    done := '回访';
    WITH moved AS (
      UPDATE tickets SET ticket_status = 'closed', closed_at = GREATEST(moment, resolved_at),
          satisfaction = NULLIF(solution_draw(seed, n * 100 + ticket_id, 25, 6), 0)
        WHERE ticket_status = 'resolved' AND ticket_id BETWEEN picked AND picked + 15 RETURNING ticket_id)
    SELECT array_agg(ticket_id ORDER BY ticket_id) INTO touched FROM moved;
  ELSIF what < 80 THEN
    -- 客户不认可，工单重开：解决时间与评价作废。The customer disagrees: the ticket is open again, its times and marks are void.
    done := '重开';
    WITH moved AS (
      UPDATE tickets SET ticket_status = 'reopened', resolved_at = NULL, closed_at = NULL, satisfaction = NULL
        WHERE ticket_status IN ('resolved', 'closed') AND ticket_id BETWEEN picked AND picked + 1 RETURNING ticket_id)
    SELECT array_agg(ticket_id ORDER BY ticket_id) INTO touched FROM moved;
  ELSIF what < 84 THEN
    done := '转派';
    WITH moved AS (
      UPDATE tickets SET agent_id = agent WHERE agent_id <> agent AND resolved_at IS NULL AND ticket_id BETWEEN picked AND picked + 60
        RETURNING ticket_id)
    SELECT array_agg(ticket_id ORDER BY ticket_id) INTO touched FROM moved;
  ELSIF what < 87 THEN
    done := '升级';
    WITH moved AS (
      UPDATE tickets SET priority = CASE priority WHEN '低' THEN '中' WHEN '中' THEN '高' ELSE '紧急' END
        WHERE resolved_at IS NULL AND priority <> '紧急' AND ticket_id BETWEEN picked AND picked + 20 RETURNING ticket_id)
    SELECT array_agg(ticket_id ORDER BY ticket_id) INTO touched FROM moved;
  END IF;
  IF done IS NOT NULL THEN
    INSERT INTO ticket_log
      SELECT log + k, t.ticket_id, t.agent_id, done, moment FROM unnest(touched) WITH ORDINALITY AS u (ticket_id, k)
        JOIN tickets t USING (ticket_id);
    RETURN 2 * COALESCE(cardinality(touched), 0);
  END IF;

  IF what < 91 THEN
    -- 更正：分类、受理时间、满意度、区域。Corrections: category, time of the call, satisfaction, region.
    UPDATE tickets SET
      category = CASE WHEN what = 87 THEN solution_category(solution_draw(seed, n, 26, 100)) ELSE category END,
      created_at = CASE WHEN what = 88 THEN created_at - INTERVAL '10 minutes' ELSE created_at END,
      satisfaction = CASE WHEN what = 89 AND closed_at IS NOT NULL THEN 1 + solution_draw(seed, n, 26, 5) ELSE satisfaction END,
      region = CASE WHEN what = 90 THEN solution_region(solution_draw(seed, n, 26, 12)) ELSE region END
      WHERE ticket_id = picked;
    GET DIAGNOSTICS changed = ROW_COUNT;
  ELSIF what < 93 THEN
    -- 重复工单连同日志删除。Duplicates are deleted with their log.
    DELETE FROM ticket_log WHERE ticket_id BETWEEN picked AND picked + 1;
    GET DIAGNOSTICS changed = ROW_COUNT;
    DELETE FROM tickets WHERE ticket_id BETWEEN picked AND picked + 1;
    GET DIAGNOSTICS part = ROW_COUNT;
  ELSIF what < 97 THEN
    -- 坐席：签入签出、调组、晋级。Agents come and go, change their team, rise a level.
    UPDATE agents SET
      agent_status = CASE WHEN what < 95 THEN (ARRAY['online', 'busy', 'offline', 'leave'])[1 + solution_draw(seed, n, 27, 4)]
        ELSE agent_status END,
      team = CASE WHEN what = 95
                  THEN (ARRAY['停电报修一组', '停电报修二组', '电费咨询组', '业扩报装组', '充电服务组', '投诉处理组'])[1 + solution_draw(seed, n, 27, 6)]
                  ELSE team END,
      skill_level = CASE WHEN what < 96 THEN skill_level WHEN skill_level = '初级' THEN '中级' WHEN skill_level = '中级' THEN '高级'
                         WHEN skill_level = '高级' THEN '专家' ELSE '初级' END
      WHERE agent_id = agent;
    GET DIAGNOSTICS changed = ROW_COUNT;
  ELSIF what < 99 THEN
    -- 坐席离职（其工单留下），空号由新人补上。An agent leaves and the tickets stay; a new one takes the number.
    IF what = 97 AND solution_draw(seed, n, 28, 2) = 0 THEN
      DELETE FROM agents WHERE agent_id = agent AND agent < agents_max;
      GET DIAGNOSTICS changed = ROW_COUNT;
    ELSE
      INSERT INTO agents
        SELECT a.* FROM (SELECT MIN(i) AS id FROM generate_series(1, agents_max) i
          WHERE NOT EXISTS (SELECT FROM agents WHERE agent_id = i)) m,
               LATERAL solution_agent((seed + n)::int, m.id) a WHERE m.id IS NOT NULL
        ON CONFLICT DO NOTHING;
      GET DIAGNOSTICS part = ROW_COUNT;
    END IF;
  ELSE
    -- 日志更正：误记的一条被删除。A line of the log was wrong and is deleted.
    DELETE FROM ticket_log WHERE log_id = log - solution_draw(seed, n, 29, 100);
    GET DIAGNOSTICS changed = ROW_COUNT;
  END IF;
  RETURN changed + part;
END $$;
