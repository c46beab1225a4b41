-- 目标库：商城大屏读取的表。The target database: the tables that the shop's boards read.
-- 可重复执行。Can be run again.

-- 实时看板：一行关键指标 the live board: one row of key figures
CREATE TABLE IF NOT EXISTS live_board (
  board_id INTEGER,
  users BIGINT,
  buyers BIGINT,
  orders BIGINT,
  sold_orders BIGINT,
  waiting_orders BIGINT,
  products_on_sale BIGINT,
  amount NUMERIC(20, 2),
  refund_amount NUMERIC(20, 2),
  amount_per_order DOUBLE PRECISION,
  conversion DOUBLE PRECISION,
  refund_rate DOUBLE PRECISION,
  latest_day DATE,
  latest_amount NUMERIC(20, 2),
  top_category TEXT,
  PRIMARY KEY (board_id));
COMMENT ON TABLE live_board IS '实时看板：一行关键指标 the live board: one row of key figures';
COMMENT ON COLUMN live_board.buyers IS '有成交订单的用户 users with at least one sold order';
COMMENT ON COLUMN live_board.waiting_orders IS '待支付 not paid yet';
COMMENT ON COLUMN live_board.amount IS '成交额，元 sales, CNY';
COMMENT ON COLUMN live_board.conversion IS 'buyers / users';
COMMENT ON COLUMN live_board.refund_rate IS '退款订单 / 全部订单 refunded orders / orders';

-- 用户价值分层 users by what they have bought
CREATE TABLE IF NOT EXISTS user_tiers (
  tier TEXT,
  users BIGINT,
  sold_orders BIGINT,
  amount NUMERIC(20, 2),
  amount_per_user DOUBLE PRECISION,
  share DOUBLE PRECISION,
  PRIMARY KEY (tier));
COMMENT ON TABLE user_tiers IS '用户价值分层 users by what they have bought';
COMMENT ON COLUMN user_tiers.tier IS '钻石 ≥ 50,000 元，黄金 ≥ 20,000，白银 ≥ 5,000，普通 > 0，沉睡：没有成交';
COMMENT ON COLUMN user_tiers.share IS '占成交额的比例 share of the sales';

-- 小时销售趋势 sales hour by hour
CREATE TABLE IF NOT EXISTS hourly_trend (
  order_day DATE,
  order_hour INTEGER,
  day_part TEXT,
  orders BIGINT,
  sold_orders BIGINT,
  amount NUMERIC(20, 2),
  day_share DOUBLE PRECISION,
  PRIMARY KEY (order_day, order_hour));
COMMENT ON TABLE hourly_trend IS '小时销售趋势 sales hour by hour';
COMMENT ON COLUMN hourly_trend.day_share IS '占当日成交额的比例 share of the sales of its day';

-- 日统计 day by day
CREATE TABLE IF NOT EXISTS day_statistics (
  order_day DATE,
  orders BIGINT,
  sold_orders BIGINT,
  cancelled_orders BIGINT,
  refunded_orders BIGINT,
  amount NUMERIC(20, 2),
  buyers BIGINT,
  new_users BIGINT,
  pay_minutes DOUBLE PRECISION,
  growth DOUBLE PRECISION,
  PRIMARY KEY (order_day));
COMMENT ON TABLE day_statistics IS '日统计 day by day';
COMMENT ON COLUMN day_statistics.pay_minutes IS '下单到支付的平均分钟数 mean minutes from order to payment';
COMMENT ON COLUMN day_statistics.growth IS '成交额较前一日 sales against the day before, 0.1 = +10 %';

-- 商品统计 products
CREATE TABLE IF NOT EXISTS product_statistics (
  product_id BIGINT,
  product_name TEXT,
  category TEXT,
  quantity BIGINT,
  amount NUMERIC(20, 2),
  profit NUMERIC(20, 2),
  margin DOUBLE PRECISION,
  buyer_days BIGINT,
  days_sold BIGINT,
  grade TEXT,
  PRIMARY KEY (product_id));
COMMENT ON TABLE product_statistics IS '商品统计 products';
COMMENT ON COLUMN product_statistics.margin IS 'profit / amount';
COMMENT ON COLUMN product_statistics.buyer_days IS '每日买家数之和 buyers of each day, added up';

-- 各类别成交额前三的商品 the three products of each category that sell best
CREATE TABLE IF NOT EXISTS product_ranking (
  category TEXT,
  place BIGINT,
  product_id BIGINT,
  product_name TEXT,
  quantity BIGINT,
  amount NUMERIC(20, 2),
  PRIMARY KEY (category, place));
COMMENT ON TABLE product_ranking IS '各类别成交额前三的商品 the three products of each category that sell best';

-- 支付渠道 payment channels
CREATE TABLE IF NOT EXISTS pay_channels (
  pay_channel TEXT,
  sold_orders BIGINT,
  amount NUMERIC(20, 2),
  latest_users BIGINT,
  PRIMARY KEY (pay_channel));
COMMENT ON TABLE pay_channels IS '支付渠道 payment channels';
COMMENT ON COLUMN pay_channels.latest_users IS '最近一次支付用此渠道的用户 users whose newest payment went through it';

-- 关注清单：滞销商品、亏本商品、频繁退款用户、冻结用户的待付订单 what somebody should look at
CREATE TABLE IF NOT EXISTS watch_list (
  reason TEXT,
  object_id BIGINT,
  object_name TEXT,
  amount NUMERIC(20, 2),
  PRIMARY KEY (reason, object_id));
COMMENT ON TABLE watch_list IS '关注清单：滞销商品、亏本商品、频繁退款用户、冻结用户的待付订单 what somebody should look at';
COMMENT ON COLUMN watch_list.object_id IS '商品号、用户号或订单号 number of the product, user or order';
