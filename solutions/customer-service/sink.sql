-- 目标库：客服大屏读取的表。The target database: the tables that the hotline's boards read.
-- 可重复执行。Can be run again.

-- 实时看板：一行关键指标 the live board: one row of key figures
CREATE TABLE IF NOT EXISTS live_board (
  board_id INTEGER,
  tickets BIGINT,
  waiting BIGINT,
  in_hand BIGINT,
  urgent_open BIGINT,
  resolved BIGINT,
  overdue BIGINT,
  overdue_rate DOUBLE PRECISION,
  resolve_minutes DOUBLE PRECISION,
  satisfaction DOUBLE PRECISION,
  agents_on_duty BIGINT,
  tickets_per_agent DOUBLE PRECISION,
  busiest_team TEXT,
  latest_day DATE,
  latest_tickets BIGINT,
  PRIMARY KEY (board_id));
COMMENT ON TABLE live_board IS '实时看板：一行关键指标 the live board: one row of key figures';
COMMENT ON COLUMN live_board.waiting IS '待派单 nobody has it yet';
COMMENT ON COLUMN live_board.in_hand IS '已派单未解决 assigned, not resolved';
COMMENT ON COLUMN live_board.overdue IS '解决超时限 resolved later than the limit of its priority';
COMMENT ON COLUMN live_board.resolve_minutes IS '受理到解决的平均分钟数 mean minutes from call to solution';
COMMENT ON COLUMN live_board.satisfaction IS '平均满意度 mean of the customers'' marks, 1 to 5';

-- 解决时长：按类别与优先级 how long it takes, by category and priority
CREATE TABLE IF NOT EXISTS resolution_time (
  category TEXT,
  priority TEXT,
  tickets BIGINT,
  resolved BIGINT,
  wait_minutes DOUBLE PRECISION,
  resolve_minutes DOUBLE PRECISION,
  longest_minutes INTEGER,
  limit_minutes INTEGER,
  overdue BIGINT,
  overdue_rate DOUBLE PRECISION,
  grade TEXT,
  PRIMARY KEY (category, priority));
COMMENT ON TABLE resolution_time IS '解决时长：按类别与优先级 how long it takes, by category and priority';
COMMENT ON COLUMN resolution_time.wait_minutes IS '受理到派单 from call to agent';
COMMENT ON COLUMN resolution_time.grade IS '达标、预警、超标 by overdue_rate: up to 10 %, up to 30 %, above';

-- 班组工作量 workload of the teams
CREATE TABLE IF NOT EXISTS workload (
  team TEXT,
  agents BIGINT,
  agents_on_duty BIGINT,
  open_tickets BIGINT,
  urgent_open BIGINT,
  resolved BIGINT,
  open_per_agent DOUBLE PRECISION,
  load_grade TEXT,
  PRIMARY KEY (team));
COMMENT ON TABLE workload IS '班组工作量 workload of the teams';
COMMENT ON COLUMN workload.agents_on_duty IS '在线与通话中 online or busy';
COMMENT ON COLUMN workload.team IS '坐席已离职的工单归入“无班组” tickets whose agent is gone are without a team';

-- 日统计 day by day
CREATE TABLE IF NOT EXISTS daily_statistics (
  created_day DATE,
  tickets BIGINT,
  resolved BIGINT,
  open_tickets BIGINT,
  overdue BIGINT,
  escalated BIGINT,
  reopened BIGINT,
  customers BIGINT,
  resolve_minutes DOUBLE PRECISION,
  satisfaction DOUBLE PRECISION,
  growth DOUBLE PRECISION,
  PRIMARY KEY (created_day));
COMMENT ON TABLE daily_statistics IS '日统计 day by day';
COMMENT ON COLUMN daily_statistics.escalated IS '升级过的工单 tickets that were escalated';
COMMENT ON COLUMN daily_statistics.customers IS '来电客户数 distinct customers';
COMMENT ON COLUMN daily_statistics.growth IS '工单数较前一日 tickets against the day before, 0.1 = +10 %';

-- 坐席绩效 performance of the agents
CREATE TABLE IF NOT EXISTS agent_performance (
  agent_id BIGINT,
  agent_name TEXT,
  team TEXT,
  skill_level TEXT,
  handled BIGINT,
  resolved BIGINT,
  open_tickets BIGINT,
  overdue BIGINT,
  transferred BIGINT,
  resolve_minutes DOUBLE PRECISION,
  satisfaction DOUBLE PRECISION,
  score BIGINT,
  grade TEXT,
  PRIMARY KEY (agent_id));
COMMENT ON TABLE agent_performance IS '坐席绩效 performance of the agents';
COMMENT ON COLUMN agent_performance.score IS '10 × 解决 + 2 × 满意度之和 - 5 × 超时 - 3 × 转派';
COMMENT ON COLUMN agent_performance.grade IS '优秀、良好、合格、待提升、无工单';

-- 各班组绩效前三 the three best of each team
CREATE TABLE IF NOT EXISTS agent_ranking (
  team TEXT,
  place BIGINT,
  agent_id BIGINT,
  agent_name TEXT,
  score BIGINT,
  resolved BIGINT,
  PRIMARY KEY (team, place));
COMMENT ON TABLE agent_ranking IS '各班组绩效前三 the three best of each team';

-- 一天各小时的来单 calls by the hour of the day
CREATE TABLE IF NOT EXISTS hourly_load (
  created_hour INTEGER,
  tickets BIGINT,
  outages BIGINT,
  outage_share DOUBLE PRECISION,
  busiest_category TEXT,
  PRIMARY KEY (created_hour));
COMMENT ON TABLE hourly_load IS '一天各小时的来单 calls by the hour of the day';
COMMENT ON COLUMN hourly_load.outages IS '停电报修 outages';

-- 待关注：紧急待派、坐席离职未结、反复来电、空闲坐席 what somebody should look at
CREATE TABLE IF NOT EXISTS attention (
  reason TEXT,
  object_id BIGINT,
  note TEXT,
  PRIMARY KEY (reason, object_id));
COMMENT ON TABLE attention IS '待关注：紧急待派、坐席离职未结、反复来电、空闲坐席 what somebody should look at';
COMMENT ON COLUMN attention.object_id IS '工单号、客户号或坐席号 number of the ticket, customer or agent';
