-- 电力商城：PostgreSQL → ODS → DWD → DWS → ADS → PostgreSQL
-- The shop: users, products, orders and their items become a live board, user tiers, trends and statistics.
--
-- 同一文本可在 Gridhouse 与真实的 Fluss + Flink 上运行；@…@ 在运行前填写（见 solutions/README.md）。
-- The same text runs on Gridhouse and on a real Fluss + Flink; the @…@ are filled in first (see solutions/README.md).
-- 每层一个作业（语句集）。One job (statement set) for each layer.

-- ── 源表 Sources ─────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TEMPORARY TABLE commerce_users_source (
  user_id BIGINT, user_name STRING, region STRING, city STRING, member_level STRING, user_status STRING,
  registered_at TIMESTAMP(3), PRIMARY KEY (user_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'users', 'slot.name' = 'commerce_users', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE commerce_products_source (
  product_id BIGINT, product_name STRING, category STRING, brand STRING, list_price DECIMAL(10, 2),
  unit_cost DECIMAL(10, 2), on_sale BOOLEAN, PRIMARY KEY (product_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'products', 'slot.name' = 'commerce_products', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE commerce_orders_source (
  order_id BIGINT, user_id BIGINT, order_status STRING, pay_channel STRING, created_at TIMESTAMP(3),
  paid_at TIMESTAMP(3), updated_at TIMESTAMP(3), PRIMARY KEY (order_id) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'orders', 'slot.name' = 'commerce_orders', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

CREATE TEMPORARY TABLE commerce_order_items_source (
  order_id BIGINT, item_no INT, product_id BIGINT, quantity INT, unit_price DECIMAL(10, 2), discount DECIMAL(4, 2),
  PRIMARY KEY (order_id, item_no) NOT ENFORCED
) WITH (
  'connector' = 'postgres-cdc', 'hostname' = '@SOURCE_HOST@', 'port' = '@SOURCE_PORT@', 'username' = '@SOURCE_USER@',
  'password' = '@SOURCE_PASSWORD@', 'database-name' = '@SOURCE_DATABASE@', 'schema-name' = 'public',
  'table-name' = 'order_items', 'slot.name' = 'commerce_order_items', 'decoding.plugin.name' = 'pgoutput',
  'scan.incremental.snapshot.enabled' = 'true');

-- ── 目标表 Sinks ──────────────────────────────────────────────────────────────────────────────────────────────────────
CREATE TEMPORARY TABLE commerce_live_board_sink (
  board_id INT, users BIGINT, buyers BIGINT, orders BIGINT, sold_orders BIGINT, waiting_orders BIGINT,
  products_on_sale BIGINT, amount DECIMAL(20, 2), refund_amount DECIMAL(20, 2), amount_per_order DOUBLE,
  conversion DOUBLE, refund_rate DOUBLE, latest_day DATE, latest_amount DECIMAL(20, 2), top_category STRING,
  PRIMARY KEY (board_id) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'live_board', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE commerce_user_tiers_sink (
  tier STRING, users BIGINT, sold_orders BIGINT, amount DECIMAL(20, 2), amount_per_user DOUBLE, share DOUBLE,
  PRIMARY KEY (tier) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'user_tiers', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE commerce_hourly_trend_sink (
  order_day DATE, order_hour INT, day_part STRING, orders BIGINT, sold_orders BIGINT, amount DECIMAL(20, 2),
  day_share DOUBLE, PRIMARY KEY (order_day, order_hour) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'hourly_trend', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE commerce_day_statistics_sink (
  order_day DATE, orders BIGINT, sold_orders BIGINT, cancelled_orders BIGINT, refunded_orders BIGINT,
  amount DECIMAL(20, 2), buyers BIGINT, new_users BIGINT, pay_minutes DOUBLE, growth DOUBLE,
  PRIMARY KEY (order_day) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'day_statistics', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE commerce_product_statistics_sink (
  product_id BIGINT, product_name STRING, category STRING, quantity BIGINT, amount DECIMAL(20, 2),
  profit DECIMAL(20, 2), margin DOUBLE, buyer_days BIGINT, days_sold BIGINT, grade STRING,
  PRIMARY KEY (product_id) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'product_statistics', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE commerce_product_ranking_sink (
  category STRING, place BIGINT, product_id BIGINT, product_name STRING, quantity BIGINT, amount DECIMAL(20, 2),
  PRIMARY KEY (category, place) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'product_ranking', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE commerce_pay_channels_sink (
  pay_channel STRING, sold_orders BIGINT, amount DECIMAL(20, 2), latest_users BIGINT,
  PRIMARY KEY (pay_channel) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'pay_channels', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE TEMPORARY TABLE commerce_watch_list_sink (
  reason STRING, object_id BIGINT, object_name STRING, amount DECIMAL(20, 2),
  PRIMARY KEY (reason, object_id) NOT ENFORCED
) WITH (
  'connector' = 'jdbc', 'url' = 'jdbc:postgresql://@SINK_HOST@:@SINK_PORT@/@SINK_DATABASE@',
  'table-name' = 'watch_list', 'username' = '@SINK_USER@', 'password' = '@SINK_PASSWORD@');

CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = '@FLUSS@');
CREATE DATABASE IF NOT EXISTS fluss.commerce;

SET 'execution.runtime-mode' = 'streaming';
SET 'execution.checkpointing.interval' = '1s';
SET 'parallelism.default' = '1';

-- ── ODS：原样落地 as it comes ───────────────────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.commerce.ods_users (
  user_id BIGINT, user_name STRING, region STRING, city STRING, member_level STRING, user_status STRING,
  registered_at TIMESTAMP(3), PRIMARY KEY (user_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.ods_products (
  product_id BIGINT, product_name STRING, category STRING, brand STRING, list_price DECIMAL(10, 2),
  unit_cost DECIMAL(10, 2), on_sale BOOLEAN, PRIMARY KEY (product_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.ods_orders (
  order_id BIGINT, user_id BIGINT, order_status STRING, pay_channel STRING, created_at TIMESTAMP(3),
  paid_at TIMESTAMP(3), updated_at TIMESTAMP(3), PRIMARY KEY (order_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.ods_order_items (
  order_id BIGINT, item_no INT, product_id BIGINT, quantity INT, unit_price DECIMAL(10, 2), discount DECIMAL(4, 2),
  PRIMARY KEY (order_id, item_no) NOT ENFORCED
) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'commerce-ods';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.commerce.ods_users SELECT * FROM commerce_users_source;
INSERT INTO fluss.commerce.ods_products SELECT * FROM commerce_products_source;
INSERT INTO fluss.commerce.ods_orders SELECT * FROM commerce_orders_source;
INSERT INTO fluss.commerce.ods_order_items SELECT * FROM commerce_order_items_source;
END;

-- ── DWD：类型、日期、金额，关联用户与商品 typed, dated, priced, joined ──────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.commerce.dwd_users (
  user_id BIGINT, user_name STRING, region STRING, city STRING, member_level STRING, registered_day DATE,
  registered_month STRING, PRIMARY KEY (user_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.dwd_order_items (
  order_id BIGINT, item_no INT, user_id BIGINT, region STRING, product_id BIGINT, category STRING,
  order_status STRING, is_sold BOOLEAN, order_day DATE, quantity INT, amount DECIMAL(14, 2), cost DECIMAL(14, 2),
  PRIMARY KEY (order_id, item_no) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.dwd_orders (
  order_id BIGINT, user_id BIGINT, region STRING, order_status STRING, pay_channel STRING, order_day DATE,
  order_hour INT, pay_minutes INT, is_sold BOOLEAN, items BIGINT, amount DECIMAL(14, 2),
  PRIMARY KEY (order_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'commerce-dwd';
EXECUTE STATEMENT SET BEGIN
-- 冻结的用户不计入。Frozen users do not count.
INSERT INTO fluss.commerce.dwd_users
  SELECT user_id, user_name, region, city, member_level, CAST(registered_at AS DATE), DATE_FORMAT(registered_at, 'yyyy-MM')
  FROM fluss.commerce.ods_users
  WHERE user_status = 'active';

-- 金额 = 数量 × 单价 × (1 - 折扣)，四舍五入到分；用户可能已注销，订单仍保留。
-- The amount is rounded to the cent for each item. The user may be gone, the order stays.
INSERT INTO fluss.commerce.dwd_order_items
  SELECT i.order_id, i.item_no, o.user_id, COALESCE(u.region, '未知'), i.product_id, p.category, o.order_status,
         o.order_status IN ('paid', 'shipped', 'completed'), CAST(o.created_at AS DATE), i.quantity,
         CAST(i.quantity * i.unit_price * (1 - i.discount) AS DECIMAL(14, 2)),
         CAST(i.quantity * p.unit_cost AS DECIMAL(14, 2))
  FROM fluss.commerce.ods_order_items AS i
  JOIN fluss.commerce.ods_orders AS o ON i.order_id = o.order_id
  JOIN fluss.commerce.ods_products AS p ON i.product_id = p.product_id
  LEFT JOIN fluss.commerce.ods_users AS u ON o.user_id = u.user_id;

-- 没有明细的订单是空壳，不计入。An order without items is an empty shell and does not count.
INSERT INTO fluss.commerce.dwd_orders
  WITH priced AS (
    SELECT order_id, COUNT(*) AS items,
           SUM(CAST(quantity * unit_price * (1 - discount) AS DECIMAL(14, 2))) AS amount
    FROM fluss.commerce.ods_order_items GROUP BY order_id)
  SELECT o.order_id, o.user_id, COALESCE(u.region, '未知'), o.order_status, o.pay_channel, CAST(o.created_at AS DATE),
         CAST(HOUR(o.created_at) AS INT), TIMESTAMPDIFF(MINUTE, o.created_at, o.paid_at),
         o.order_status IN ('paid', 'shipped', 'completed'), i.items, CAST(i.amount AS DECIMAL(14, 2))
  FROM fluss.commerce.ods_orders AS o
  JOIN priced AS i ON o.order_id = i.order_id
  LEFT JOIN fluss.commerce.ods_users AS u ON o.user_id = u.user_id;
END;

-- ── DWS：按用户、商品、日、小时汇总 per user, product, day and hour ──────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.commerce.dws_users (
  user_id BIGINT, orders BIGINT, sold_orders BIGINT, refunded_orders BIGINT, amount DECIMAL(20, 2),
  last_order_day DATE, PRIMARY KEY (user_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.dws_user_channels (
  user_id BIGINT, pay_channel STRING, PRIMARY KEY (user_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.dws_product_days (
  product_id BIGINT, order_day DATE, quantity BIGINT, amount DECIMAL(20, 2), cost DECIMAL(20, 2), buyers BIGINT,
  PRIMARY KEY (product_id, order_day) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.dws_days (
  order_day DATE, orders BIGINT, sold_orders BIGINT, waiting_orders BIGINT, cancelled_orders BIGINT,
  refunded_orders BIGINT, amount DECIMAL(20, 2), refund_amount DECIMAL(20, 2), buyers BIGINT, payments BIGINT,
  pay_minutes BIGINT, PRIMARY KEY (order_day) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.dws_registrations (
  registered_day DATE, new_users BIGINT, PRIMARY KEY (registered_day) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.dws_hours (
  order_day DATE, order_hour INT, orders BIGINT, sold_orders BIGINT, amount DECIMAL(20, 2),
  PRIMARY KEY (order_day, order_hour) NOT ENFORCED
) WITH ('bucket.num' = '1');

-- 成交的明细。The items that are sold.
CREATE TEMPORARY VIEW commerce_sold_items AS
  SELECT order_id, item_no, user_id, region, product_id, category, order_day, quantity, amount, cost
  FROM fluss.commerce.dwd_order_items
  WHERE is_sold;

SET 'pipeline.name' = 'commerce-dws';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.commerce.dws_users
  SELECT user_id, COUNT(*), COUNT(*) FILTER (WHERE is_sold), COUNT(*) FILTER (WHERE order_status = 'refunded'),
         CAST(SUM(CASE WHEN is_sold THEN amount ELSE 0 END) AS DECIMAL(20, 2)), MAX(order_day)
  FROM fluss.commerce.dwd_orders GROUP BY user_id;

-- 每个用户最近一次的支付渠道（去重取最新）。The channel of each user's newest paid order.
INSERT INTO fluss.commerce.dws_user_channels
  SELECT user_id, pay_channel
  FROM (
    SELECT user_id, pay_channel, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY order_day DESC, order_id DESC) AS place
    FROM fluss.commerce.dwd_orders
    WHERE pay_channel IS NOT NULL)
  WHERE place = 1;

INSERT INTO fluss.commerce.dws_product_days
  SELECT product_id, order_day, SUM(CAST(quantity AS BIGINT)), CAST(SUM(amount) AS DECIMAL(20, 2)),
         CAST(SUM(cost) AS DECIMAL(20, 2)), COUNT(DISTINCT user_id)
  FROM commerce_sold_items GROUP BY product_id, order_day;

INSERT INTO fluss.commerce.dws_days
  SELECT order_day, COUNT(*), COUNT(*) FILTER (WHERE is_sold), COUNT(*) FILTER (WHERE order_status = 'created'),
         COUNT(*) FILTER (WHERE order_status = 'cancelled'), COUNT(*) FILTER (WHERE order_status = 'refunded'),
         CAST(SUM(CASE WHEN is_sold THEN amount ELSE 0 END) AS DECIMAL(20, 2)),
         CAST(SUM(CASE order_status WHEN 'refunded' THEN amount ELSE 0 END) AS DECIMAL(20, 2)),
         COUNT(DISTINCT CASE WHEN is_sold THEN user_id END), COUNT(pay_minutes),
         COALESCE(SUM(CAST(pay_minutes AS BIGINT)), CAST(0 AS BIGINT))
  FROM fluss.commerce.dwd_orders GROUP BY order_day;

-- 六月以来的注册。Registrations since June.
INSERT INTO fluss.commerce.dws_registrations
  SELECT registered_day, COUNT(*)
  FROM fluss.commerce.dwd_users
  WHERE registered_day >= DATE '2026-06-01' GROUP BY registered_day;

INSERT INTO fluss.commerce.dws_hours
  SELECT order_day, order_hour, COUNT(*), COUNT(*) FILTER (WHERE is_sold),
         CAST(SUM(CASE WHEN is_sold THEN amount ELSE 0 END) AS DECIMAL(20, 2))
  FROM fluss.commerce.dwd_orders GROUP BY order_day, order_hour;
END;

-- ── ADS：大屏指标 the figures of the boards ─────────────────────────────────────────────────────────────────────────────
CREATE TABLE IF NOT EXISTS fluss.commerce.ads_live_board (
  board_id INT, users BIGINT, buyers BIGINT, orders BIGINT, sold_orders BIGINT, waiting_orders BIGINT,
  products_on_sale BIGINT, amount DECIMAL(20, 2), refund_amount DECIMAL(20, 2), amount_per_order DOUBLE,
  conversion DOUBLE, refund_rate DOUBLE, latest_day DATE, latest_amount DECIMAL(20, 2), top_category STRING,
  PRIMARY KEY (board_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.ads_user_tiers (
  tier STRING, users BIGINT, sold_orders BIGINT, amount DECIMAL(20, 2), amount_per_user DOUBLE, share DOUBLE,
  PRIMARY KEY (tier) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.ads_hourly_trend (
  order_day DATE, order_hour INT, day_part STRING, orders BIGINT, sold_orders BIGINT, amount DECIMAL(20, 2),
  day_share DOUBLE, PRIMARY KEY (order_day, order_hour) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.ads_day_statistics (
  order_day DATE, orders BIGINT, sold_orders BIGINT, cancelled_orders BIGINT, refunded_orders BIGINT,
  amount DECIMAL(20, 2), buyers BIGINT, new_users BIGINT, pay_minutes DOUBLE, growth DOUBLE,
  PRIMARY KEY (order_day) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.ads_product_statistics (
  product_id BIGINT, product_name STRING, category STRING, quantity BIGINT, amount DECIMAL(20, 2),
  profit DECIMAL(20, 2), margin DOUBLE, buyer_days BIGINT, days_sold BIGINT, grade STRING,
  PRIMARY KEY (product_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.ads_product_ranking (
  category STRING, place BIGINT, product_id BIGINT, product_name STRING, quantity BIGINT, amount DECIMAL(20, 2),
  PRIMARY KEY (category, place) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.ads_pay_channels (
  pay_channel STRING, sold_orders BIGINT, amount DECIMAL(20, 2), latest_users BIGINT,
  PRIMARY KEY (pay_channel) NOT ENFORCED
) WITH ('bucket.num' = '1');

CREATE TABLE IF NOT EXISTS fluss.commerce.ads_watch_list (
  reason STRING, object_id BIGINT, object_name STRING, amount DECIMAL(20, 2),
  PRIMARY KEY (reason, object_id) NOT ENFORCED
) WITH ('bucket.num' = '1');

SET 'pipeline.name' = 'commerce-ads';
EXECUTE STATEMENT SET BEGIN
INSERT INTO fluss.commerce.ads_live_board
  WITH total AS (
    SELECT SUM(orders) AS orders, SUM(sold_orders) AS sold_orders, SUM(waiting_orders) AS waiting_orders,
           SUM(refunded_orders) AS refunded_orders, SUM(amount) AS amount, SUM(refund_amount) AS refund_amount
    FROM fluss.commerce.dws_days),
  latest AS (
    SELECT order_day, amount FROM fluss.commerce.dws_days
    WHERE order_day = (SELECT MAX(order_day) FROM fluss.commerce.dws_days WHERE orders > 0))
  SELECT 1, (SELECT COUNT(*) FROM fluss.commerce.dwd_users),
         (SELECT COUNT(*) FROM fluss.commerce.dws_users WHERE sold_orders > 0),
         t.orders, t.sold_orders, t.waiting_orders,
         (SELECT COUNT(*) FROM fluss.commerce.ods_products WHERE on_sale),
         CAST(t.amount AS DECIMAL(20, 2)), CAST(t.refund_amount AS DECIMAL(20, 2)),
         CAST(t.amount AS DOUBLE) / NULLIF(CAST(t.sold_orders AS DOUBLE), 0),
         CAST((SELECT COUNT(*) FROM fluss.commerce.dws_users WHERE sold_orders > 0) AS DOUBLE)
           / NULLIF(CAST((SELECT COUNT(*) FROM fluss.commerce.dwd_users) AS DOUBLE), 0),
         CAST(t.refunded_orders AS DOUBLE) / NULLIF(CAST(t.orders AS DOUBLE), 0),
         l.order_day, l.amount, c.category
  FROM total AS t
  JOIN latest AS l ON TRUE
  LEFT JOIN (
    SELECT category
    FROM (SELECT category, SUM(amount) AS amount FROM commerce_sold_items GROUP BY category)
    ORDER BY amount DESC, category LIMIT 1) AS c ON TRUE;

-- 用户价值分层：没有成交的用户为“沉睡”。Users without a sold order sleep.
INSERT INTO fluss.commerce.ads_user_tiers
  WITH valued AS (
    SELECT u.user_id, COALESCE(s.sold_orders, CAST(0 AS BIGINT)) AS sold_orders, COALESCE(s.amount, 0) AS amount,
           CASE WHEN COALESCE(s.sold_orders, CAST(0 AS BIGINT)) = 0 THEN '沉睡'
                WHEN s.amount >= 50000 THEN '钻石'
                WHEN s.amount >= 20000 THEN '黄金'
                WHEN s.amount >= 5000 THEN '白银'
                ELSE '普通' END AS tier
    FROM fluss.commerce.dwd_users AS u
    LEFT JOIN fluss.commerce.dws_users AS s ON u.user_id = s.user_id),
  tiers AS (
    SELECT tier, COUNT(*) AS users, SUM(sold_orders) AS sold_orders, SUM(amount) AS amount FROM valued GROUP BY tier)
  SELECT tier, users, sold_orders, CAST(amount AS DECIMAL(20, 2)), CAST(amount AS DOUBLE) / CAST(users AS DOUBLE),
         CAST(amount AS DOUBLE) / NULLIF((SELECT CAST(SUM(amount) AS DOUBLE) FROM valued), 0)
  FROM tiers;

INSERT INTO fluss.commerce.ads_hourly_trend
  SELECT h.order_day, h.order_hour,
         CASE WHEN h.order_hour < 6 THEN '凌晨'
              WHEN h.order_hour < 12 THEN '上午'
              WHEN h.order_hour < 18 THEN '下午'
              ELSE '晚间' END,
         h.orders, h.sold_orders, h.amount, CAST(h.amount AS DOUBLE) / NULLIF(CAST(d.amount AS DOUBLE), 0)
  FROM fluss.commerce.dws_hours AS h
  JOIN fluss.commerce.dws_days AS d ON h.order_day = d.order_day;

-- 有订单或有注册的日子都在（全外连接），并与前一日相比。
-- Days with orders or with registrations (a full join), against the day before.
INSERT INTO fluss.commerce.ads_day_statistics
  SELECT COALESCE(d.order_day, r.registered_day), COALESCE(d.orders, CAST(0 AS BIGINT)),
         COALESCE(d.sold_orders, CAST(0 AS BIGINT)), COALESCE(d.cancelled_orders, CAST(0 AS BIGINT)),
         COALESCE(d.refunded_orders, CAST(0 AS BIGINT)), CAST(COALESCE(d.amount, 0) AS DECIMAL(20, 2)),
         COALESCE(d.buyers, CAST(0 AS BIGINT)), COALESCE(r.new_users, CAST(0 AS BIGINT)),
         CAST(d.pay_minutes AS DOUBLE) / NULLIF(CAST(d.payments AS DOUBLE), 0),
         CAST(d.amount AS DOUBLE) / NULLIF(CAST(b.amount AS DOUBLE), 0) - 1
  FROM fluss.commerce.dws_days AS d
  FULL JOIN fluss.commerce.dws_registrations AS r ON d.order_day = r.registered_day
  LEFT JOIN fluss.commerce.dws_days AS b ON d.order_day = b.order_day + INTERVAL '1' DAY;

-- 各支付渠道的成交，以及最近一次使用它的用户数。Sales by channel, and the users whose newest payment went through it.
INSERT INTO fluss.commerce.ads_pay_channels
  SELECT pay_channel, COUNT(order_id), CAST(SUM(amount) AS DECIMAL(20, 2)), COUNT(user_id)
  FROM (
    SELECT pay_channel, order_id, amount, CAST(NULL AS BIGINT) AS user_id
    FROM fluss.commerce.dwd_orders WHERE is_sold AND pay_channel IS NOT NULL
    UNION ALL
    SELECT pay_channel, CAST(NULL AS BIGINT), CAST(0 AS DECIMAL(14, 2)), user_id
    FROM fluss.commerce.dws_user_channels)
  GROUP BY pay_channel;

INSERT INTO fluss.commerce.ads_product_statistics
  SELECT p.product_id, p.product_name, p.category, s.quantity, CAST(s.amount AS DECIMAL(20, 2)),
         CAST(s.amount - s.cost AS DECIMAL(20, 2)),
         CAST(s.amount - s.cost AS DOUBLE) / NULLIF(CAST(s.amount AS DOUBLE), 0), s.buyer_days, s.days_sold,
         CASE WHEN s.amount < s.cost THEN '亏本'
              WHEN s.amount >= 100000 THEN '畅销'
              WHEN s.days_sold >= 10 THEN '平稳'
              ELSE '一般' END
  FROM fluss.commerce.ods_products AS p
  JOIN (
    SELECT product_id, SUM(quantity) AS quantity, SUM(amount) AS amount, SUM(cost) AS cost, SUM(buyers) AS buyer_days,
           COUNT(*) AS days_sold
    FROM fluss.commerce.dws_product_days GROUP BY product_id) AS s ON p.product_id = s.product_id;

INSERT INTO fluss.commerce.ads_product_ranking
  SELECT category, place, product_id, product_name, quantity, amount
  FROM (
    SELECT p.category, p.product_id, p.product_name, s.quantity, s.amount,
           ROW_NUMBER() OVER (PARTITION BY p.category ORDER BY s.amount DESC, p.product_id) AS place
    FROM fluss.commerce.ods_products AS p
    JOIN (
      SELECT product_id, SUM(quantity) AS quantity, CAST(SUM(amount) AS DECIMAL(20, 2)) AS amount
      FROM fluss.commerce.dws_product_days GROUP BY product_id) AS s ON p.product_id = s.product_id)
  WHERE place <= 3;

INSERT INTO fluss.commerce.ads_watch_list
  -- 在售却没有成交的商品。On sale, but never sold.
  SELECT '滞销商品', p.product_id, p.product_name, CAST(0 AS DECIMAL(20, 2))
  FROM fluss.commerce.ods_products AS p
  WHERE p.on_sale AND NOT EXISTS (SELECT 1 FROM commerce_sold_items AS i WHERE i.product_id = p.product_id)
  UNION ALL
  -- 成交额低于成本的商品。Sold for less than it cost.
  SELECT '亏本商品', p.product_id, p.product_name, CAST(s.amount - s.cost AS DECIMAL(20, 2))
  FROM fluss.commerce.ods_products AS p
  JOIN (
    SELECT product_id, SUM(amount) AS amount, SUM(cost) AS cost FROM fluss.commerce.dws_product_days
    GROUP BY product_id HAVING SUM(amount) < SUM(cost)) AS s ON p.product_id = s.product_id
  UNION ALL
  -- 退款两次及以上的用户。Users with two refunds or more.
  SELECT '频繁退款', u.user_id, u.user_name, s.amount
  FROM fluss.commerce.dwd_users AS u
  JOIN (SELECT user_id, amount FROM fluss.commerce.dws_users WHERE refunded_orders >= 2) AS s ON u.user_id = s.user_id
  UNION ALL
  -- 冻结用户尚未支付的订单。Orders of frozen users that wait for payment.
  SELECT '冻结待付', o.order_id, o.region, CAST(o.amount AS DECIMAL(20, 2))
  FROM fluss.commerce.dwd_orders AS o
  WHERE o.order_status = 'created'
    AND o.user_id IN (SELECT user_id FROM fluss.commerce.ods_users WHERE user_status = 'frozen');
END;

-- ── 写出 into PostgreSQL ─────────────────────────────────────────────────────────────────────────────────────────────
SET 'pipeline.name' = 'commerce-sink';
EXECUTE STATEMENT SET BEGIN
INSERT INTO commerce_live_board_sink SELECT * FROM fluss.commerce.ads_live_board;
INSERT INTO commerce_user_tiers_sink SELECT * FROM fluss.commerce.ads_user_tiers;
INSERT INTO commerce_hourly_trend_sink SELECT * FROM fluss.commerce.ads_hourly_trend;
INSERT INTO commerce_day_statistics_sink SELECT * FROM fluss.commerce.ads_day_statistics;
INSERT INTO commerce_product_statistics_sink SELECT * FROM fluss.commerce.ads_product_statistics;
INSERT INTO commerce_product_ranking_sink SELECT * FROM fluss.commerce.ads_product_ranking;
INSERT INTO commerce_pay_channels_sink SELECT * FROM fluss.commerce.ads_pay_channels;
INSERT INTO commerce_watch_list_sink SELECT * FROM fluss.commerce.ads_watch_list;
END;
