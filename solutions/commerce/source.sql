-- 源库：电力商城的用户、商品、订单、订单明细。The source database of the grid company's shop: users, products, orders, items.
-- 可重复执行。Can be run again.
CREATE TABLE IF NOT EXISTS users (
  user_id BIGINT PRIMARY KEY,
  user_name TEXT NOT NULL,
  region TEXT NOT NULL,
  city TEXT NOT NULL,
  member_level TEXT NOT NULL,
  user_status TEXT NOT NULL,
  registered_at TIMESTAMP(3) NOT NULL);
COMMENT ON TABLE users IS '用户：注册于商城的个人与企业 registered customers';
COMMENT ON COLUMN users.member_level IS '会员等级：普通、银卡、金卡、黑金';
COMMENT ON COLUMN users.user_status IS 'active：正常 in good standing；frozen：冻结 frozen';

CREATE TABLE IF NOT EXISTS products (
  product_id BIGINT PRIMARY KEY,
  product_name TEXT NOT NULL,
  category TEXT NOT NULL,
  brand TEXT NOT NULL,
  list_price NUMERIC(10, 2) NOT NULL,
  unit_cost NUMERIC(10, 2) NOT NULL,
  on_sale BOOLEAN NOT NULL);
COMMENT ON TABLE products IS '商品：充电桩、光伏、储能、表计、线缆等 what the shop sells';
COMMENT ON COLUMN products.list_price IS '标价，元 list price, CNY';
COMMENT ON COLUMN products.unit_cost IS '成本，元 cost, CNY';

CREATE TABLE IF NOT EXISTS orders (
  order_id BIGINT PRIMARY KEY,
  user_id BIGINT NOT NULL,
  order_status TEXT NOT NULL,
  pay_channel TEXT,
  created_at TIMESTAMP(3) NOT NULL,
  paid_at TIMESTAMP(3),
  updated_at TIMESTAMP(3) NOT NULL);
COMMENT ON TABLE orders IS '订单 orders';
COMMENT ON COLUMN orders.order_status IS 'created 待支付、paid 已支付、shipped 已发货、completed 已完成、cancelled 已取消、refunded 已退款';
COMMENT ON COLUMN orders.pay_channel IS '支付渠道，未支付为空 how it was paid; NULL until then';

CREATE TABLE IF NOT EXISTS order_items (
  order_id BIGINT NOT NULL,
  item_no INTEGER NOT NULL,
  product_id BIGINT NOT NULL,
  quantity INTEGER NOT NULL,
  unit_price NUMERIC(10, 2) NOT NULL,
  discount NUMERIC(4, 2) NOT NULL,
  PRIMARY KEY (order_id, item_no));
COMMENT ON TABLE order_items IS '订单明细 items of an order';
COMMENT ON COLUMN order_items.unit_price IS '成交单价，元 price when ordered, CNY';
COMMENT ON COLUMN order_items.discount IS '折扣，0.15 即减 15 % share taken off';

-- Flink 的 postgres-cdc 需要旧值。Flink's postgres-cdc needs the old values.
ALTER TABLE users REPLICA IDENTITY FULL;
ALTER TABLE products REPLICA IDENTITY FULL;
ALTER TABLE orders REPLICA IDENTITY FULL;
ALTER TABLE order_items REPLICA IDENTITY FULL;

-- ── 数据生成 The living shop ────────────────────────────────────────────────────────────────────────────────────
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

-- 区域与其城市。The regions and their cities.
CREATE OR REPLACE FUNCTION solution_place(draw BIGINT) RETURNS TEXT[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT string_to_array((ARRAY[
    '华东:上海', '华东:南京', '华东:杭州', '华东:合肥', '华东:济南', '华北:北京', '华北:天津', '华北:石家庄', '华中:武汉', '华中:长沙',
    '华中:郑州', '华南:广州', '华南:深圳', '西南:成都', '西南:重庆', '西北:西安', '西北:兰州', '东北:沈阳', '东北:哈尔滨'])[1 + draw % 19], ':')
$$;

-- 一天中下单的时刻：上午与晚间两个高峰，凌晨稀少。The hour of an order: peaks in the late morning and the evening, few at night.
CREATE OR REPLACE FUNCTION solution_hour(draw BIGINT) RETURNS INTEGER LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY[0,1,3,5,6,7,7,8,8,8,9,9,9,9,10,10,10,10,10,11,11,11,11,12,12,12,13,13,14,14,14,15,15,15,16,16,16,17,17,18,18,18,
                19,19,19,19,20,20,20,20,20,20,21,21,21,21,21,22,22,22,23,23])[1 + draw % 62]
$$;

-- 一个商品：由编号决定类别、规格与价格。A product: category, model and price follow from its number.
CREATE OR REPLACE FUNCTION solution_product(seed INTEGER, id BIGINT) RETURNS SETOF products LANGUAGE sql STABLE AS $$
  WITH kind AS (
    SELECT (ARRAY['充电桩', '光伏组件', '储能设备', '智能电表', '电力线缆', '节能家电', '电工工具', '绝缘防护'])[1 + id % 8] AS category,
           (ARRAY[2600, 780, 9800, 320, 450, 1900, 130, 85])[1 + id % 8] AS base,
           (ARRAY['7kW 交流', '550W 单晶', '5kWh 户用', '三相费控', 'YJV 4×25', '一级能效', '绝缘组合', '10kV'])[1 + id % 8] AS model)
  SELECT id, brand || model || category || '-' || lpad(id::text, 4, '0'), category, brand, price,
         round(price * (60 + solution_draw(seed, id, 102, 30)) / 100, 2), solution_draw(seed, id, 103, 20) > 0
  FROM kind, LATERAL (
    SELECT (ARRAY['国网商城', '许继', '南瑞', '平高', '正泰', '德力西', '特变电工', '阳光'])[1 + solution_draw(seed, id, 100, 8)] AS brand,
           round(base * (70 + solution_draw(seed, id, 101, 80)) / 100.0, 2) AS price) t
$$;

-- 一张订单的明细：一到三行。The items of orders: one to three each.
CREATE OR REPLACE FUNCTION solution_items(seed INTEGER, first BIGINT, last BIGINT, products BIGINT) RETURNS SETOF order_items
LANGUAGE sql STABLE AS $$
  SELECT o, i::int, product_id, (1 + solution_draw(seed, o * 4 + i, 111, 10) / 3)::int, p.list_price,
         (ARRAY[0, 0, 0, 0.05, 0.10, 0.15, 0.20, 0.30])[1 + solution_draw(seed, o * 4 + i, 112, 8)]
  FROM generate_series(first, last) o, generate_series(1, 1 + solution_draw(seed, o, 113, 3)) i,
       LATERAL (SELECT 1 + solution_draw(seed, o * 4 + i, 110, products) AS product_id) t
  JOIN products p USING (product_id)
$$;

-- 初始数据：size 个用户，每人平均三张订单，分布于三十天。First contents: size users, three orders each on average, over thirty days.
CREATE OR REPLACE FUNCTION solution_fill(size INTEGER, seed INTEGER) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
  start CONSTANT TIMESTAMP(3) := TIMESTAMP '2026-06-01';
  order_count CONSTANT BIGINT := 3 * size::bigint;
  product_count CONSTANT BIGINT := GREATEST(48, LEAST(size / 20, 2000));
  total BIGINT;
  added BIGINT;
BEGIN
  IF EXISTS (SELECT FROM users) THEN
    RETURN 0;
  END IF;
  INSERT INTO users
    SELECT i, solution_name(solution_draw(seed, i, 1, 6400)), place[1], place[2],
           (ARRAY['普通', '普通', '普通', '普通', '普通', '银卡', '银卡', '银卡', '金卡', '黑金'])[1 + solution_draw(seed, i, 3, 10)],
           CASE WHEN solution_draw(seed, i, 4, 200) = 0 THEN 'frozen' ELSE 'active' END,
           start + (solution_draw(seed, i, 5, 730) - 700) * INTERVAL '1 day' + solution_draw(seed, i, 6, 86400) * INTERVAL '1 second'
    FROM generate_series(1::bigint, size) i, LATERAL (SELECT solution_place(solution_draw(seed, i, 2, 19)) AS place) t;
  GET DIAGNOSTICS total = ROW_COUNT;
  INSERT INTO products SELECT p.* FROM generate_series(1, product_count) i, LATERAL solution_product(seed, i) p;
  GET DIAGNOSTICS added = ROW_COUNT;
  total := total + added;
  -- 少数用户下单很多：平方分布。A few users order a lot: drawn by a square.
  INSERT INTO orders
    SELECT o, 1 + (solution_draw(seed, o, 10, 1000000)::float8 ^ 2 / 1e12 * size)::bigint % size, order_status,
           CASE WHEN paid_at IS NOT NULL
                THEN (ARRAY['电e宝', '电e宝', '微信', '微信', '支付宝', '银联', '对公转账'])[1 + solution_draw(seed, o, 15, 7)] END,
           created_at, paid_at, COALESCE(paid_at, created_at)
    FROM generate_series(1, order_count) o,
         LATERAL (SELECT start + (o - 1) * 30 / order_count * INTERVAL '1 day'
                           + solution_hour(solution_draw(seed, o, 11, 62)) * INTERVAL '1 hour'
                           + solution_draw(seed, o, 12, 3600) * INTERVAL '1 second' AS created_at,
                         solution_draw(seed, o, 13, 100) AS fate) t,
         LATERAL (SELECT CASE WHEN fate < 62 THEN 'completed' WHEN fate < 74 THEN 'shipped' WHEN fate < 84 THEN 'paid'
                              WHEN fate < 90 THEN 'created' WHEN fate < 96 THEN 'cancelled' ELSE 'refunded' END AS order_status,
                         CASE WHEN fate < 84 OR fate >= 96
                              THEN created_at + (10 + solution_draw(seed, o, 14, 3600)) * INTERVAL '1 second' END AS paid_at) s;
  GET DIAGNOSTICS added = ROW_COUNT;
  total := total + added;
  INSERT INTO order_items SELECT * FROM solution_items(seed, 1, order_count, product_count);
  GET DIAGNOSTICS added = ROW_COUNT;
  RETURN total + added;
END $$;

-- 第 n 次变更：下单、支付、发货、取消、退款、更正、调价、用户变动；一次调用即一个事务，业务时间每步前进二十秒。
-- The n-th change: orders, payments, deliveries, cancellations, refunds, corrections, prices, users; one transaction;
-- business time goes on by twenty seconds with each.
CREATE OR REPLACE FUNCTION solution_step(seed INTEGER, n BIGINT) RETURNS INTEGER LANGUAGE plpgsql AS $$
DECLARE
  moment CONSTANT TIMESTAMP(3) := TIMESTAMP '2026-07-01' + n * INTERVAL '20 seconds';
  what CONSTANT BIGINT := solution_draw(seed, n, 20, 100);
  users_max BIGINT;
  products_max BIGINT;
  newest BIGINT;
  oldest BIGINT;
  picked BIGINT;
  customer BIGINT;
  more INTEGER := 1;
  place TEXT[];
  changed INTEGER := 0;
  part INTEGER;
BEGIN
  -- 独占此锁者（例如核对程序）使源库静止。Whoever holds this lock exclusively, as the check does, makes the source stand still.
  PERFORM pg_advisory_xact_lock_shared(47110001);
  SELECT MAX(user_id) INTO users_max FROM users;
  SELECT MAX(product_id) INTO products_max FROM products;
  IF users_max IS NULL OR products_max IS NULL THEN
    RETURN 0;
  END IF;
  SELECT COALESCE(MAX(order_id), 0), COALESCE(MIN(order_id), 0) INTO newest, oldest FROM orders;
  -- 多数事件发生在较新的订单上。Most things happen to newer orders.
  picked := newest - LEAST(solution_draw(seed, n, 21, newest - oldest + 1), solution_draw(seed, n, 22, newest - oldest + 1));
  customer := 1 + solution_draw(seed, n, 23, users_max);

  IF what < 34 OR n % 100 = 0 THEN
    -- 下单；每百步一次抢购，一个事务六十张订单。Orders come in; every hundredth step is a flash sale of sixty in one transaction.
    IF n % 100 = 0 THEN
      more := 60;
    END IF;
    INSERT INTO orders
      SELECT newest + k, 1 + (customer - 1 + (k - 1) * 31) % users_max, 'created', NULL, moment, NULL, moment
        FROM generate_series(1, more) k;
    INSERT INTO order_items SELECT * FROM solution_items(seed, newest + 1, newest + more, products_max);
    GET DIAGNOSTICS part = ROW_COUNT;
    changed := more + part;
    -- 最旧的订单归档离开，数据量有界。The oldest orders are archived, so that the number of rows stays bounded.
    DELETE FROM order_items WHERE order_id <= newest + more - 3 * users_max - 100;
    GET DIAGNOSTICS part = ROW_COUNT;
    changed := changed + part;
    DELETE FROM orders WHERE order_id <= newest + more - 3 * users_max - 100;
    GET DIAGNOSTICS part = ROW_COUNT;
    changed := changed + part;

  ELSIF what < 54 THEN
    -- 支付：最早的几张待支付订单。Payments of the next orders that wait for one.
    UPDATE orders SET order_status = 'paid', paid_at = GREATEST(moment, created_at), updated_at = moment,
        pay_channel = (ARRAY['电e宝', '微信', '支付宝', '银联'])[1 + solution_draw(seed, n, 24, 4)]
      WHERE order_status = 'created' AND order_id BETWEEN picked AND picked + 40;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF what < 68 THEN
    -- 发货与签收。Orders are shipped, others arrive.
    UPDATE orders SET order_status = CASE order_status WHEN 'paid' THEN 'shipped' ELSE 'completed' END, updated_at = moment
      WHERE order_status IN ('paid', 'shipped') AND order_id BETWEEN picked AND picked + 10;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF what < 76 THEN
    -- 取消与退款。Cancelled before payment, refunded after it.
    UPDATE orders SET order_status = CASE order_status WHEN 'created' THEN 'cancelled' ELSE 'refunded' END, updated_at = moment
      WHERE order_status IN ('created', 'shipped', 'completed') AND order_id BETWEEN picked AND picked + 1;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF what < 84 THEN
    -- 明细更正：数量、改价、换货、删除一行。Items are corrected: quantity, price, another product, a line taken off.
    CASE solution_draw(seed, n, 25, 4)
      WHEN 0 THEN
        UPDATE order_items SET quantity = 1 + solution_draw(seed, n, 26, 6) WHERE order_id = picked AND item_no = 1;
      WHEN 1 THEN
        UPDATE order_items SET discount = 0.40, unit_price = round(unit_price * 0.95, 2) WHERE order_id = picked AND unit_price > 50;
      WHEN 2 THEN
        UPDATE order_items i SET product_id = p.product_id, unit_price = p.list_price FROM products p
          WHERE i.order_id = picked AND i.item_no = 1 AND p.product_id = 1 + solution_draw(seed, n, 26, products_max);
      ELSE
        DELETE FROM order_items WHERE order_id = picked AND item_no = (SELECT MAX(item_no) FROM order_items WHERE order_id = picked);
    END CASE;
    GET DIAGNOSTICS changed = ROW_COUNT;
    UPDATE orders SET updated_at = moment WHERE order_id = picked;
    GET DIAGNOSTICS part = ROW_COUNT;
    changed := changed + part;

  ELSIF what < 89 THEN
    -- 商品：调价、成本变动、上下架、类别更正。Products: price, cost, on and off sale, a category corrected.
    UPDATE products SET
      list_price = CASE WHEN what < 86 THEN round(list_price * (90 + solution_draw(seed, n, 27, 21)) / 100, 2) ELSE list_price END,
      unit_cost = CASE WHEN what = 86 THEN round(list_price * (60 + solution_draw(seed, n, 27, 50)) / 100, 2) ELSE unit_cost END,
      on_sale = CASE WHEN what = 87 THEN NOT on_sale ELSE on_sale END,
      category = CASE WHEN what = 88 THEN CASE category WHEN '电工工具' THEN '绝缘防护' ELSE '电工工具' END ELSE category END
      WHERE product_id = 1 + solution_draw(seed, n, 28, products_max);
    GET DIAGNOSTICS changed = ROW_COUNT;
    -- 商品档案重建，价格回到基准，不会无限漂移。Now and then a product's file is made anew, so that prices do not drift away for ever.
    IF what = 85 THEN
      picked := 1 + solution_draw(seed, n, 29, products_max);
      DELETE FROM products WHERE product_id = picked;
      INSERT INTO products SELECT * FROM solution_product(seed, picked);
      changed := changed + 2;
    END IF;

  ELSIF what < 93 THEN
    -- 用户注册；已有此号则为资料变更（升级、迁居）。A user registers; one that is there already moves or rises a level.
    place := solution_place(solution_draw(seed, n, 30, 19));
    INSERT INTO users VALUES (customer, solution_name(solution_draw(seed, n, 31, 6400)), place[1], place[2], '普通', 'active', moment)
    ON CONFLICT (user_id) DO UPDATE SET region = excluded.region, city = excluded.city, user_status = 'active',
      member_level = CASE users.member_level WHEN '普通' THEN '银卡' WHEN '银卡' THEN '金卡' WHEN '金卡' THEN '黑金' ELSE '普通' END;
    changed := 1;

  ELSIF what < 96 THEN
    -- 冻结与解冻。Frozen and thawed.
    UPDATE users SET user_status = CASE user_status WHEN 'active' THEN 'frozen' ELSE 'active' END WHERE user_id = customer;
    GET DIAGNOSTICS changed = ROW_COUNT;

  ELSIF what < 98 THEN
    -- 账号合并：订单转到另一用户名下，原用户注销。Two accounts become one: the orders move, the old user goes.
    UPDATE orders SET user_id = 1 + customer % users_max, updated_at = moment
      WHERE user_id = customer AND order_id BETWEEN picked - 2000 AND picked;
    GET DIAGNOSTICS changed = ROW_COUNT;
    DELETE FROM users WHERE user_id = customer AND customer < users_max;
    GET DIAGNOSTICS part = ROW_COUNT;
    changed := changed + part;

  ELSE
    -- 测试订单被清除。Test orders are removed with all their items.
    DELETE FROM order_items WHERE order_id BETWEEN picked AND picked + 2;
    GET DIAGNOSTICS changed = ROW_COUNT;
    DELETE FROM orders WHERE order_id BETWEEN picked AND picked + 2;
    GET DIAGNOSTICS part = ROW_COUNT;
    changed := changed + part;
  END IF;
  RETURN changed;
END $$;
