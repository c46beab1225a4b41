-- 在源库中由源表重新计算每张大屏表与各层行数，用于核对。
-- Every board and the rows of every layer, computed anew from the source's tables, for the check.

-- board: live_board
WITH item AS (
  SELECT i.order_id, p.category, o.order_status IN ('paid', 'shipped', 'completed') AS is_sold, o.order_status, o.user_id,
         o.created_at::date AS order_day, (i.quantity * i.unit_price * (1 - i.discount))::numeric(14, 2) AS amount
  FROM order_items i JOIN orders o USING (order_id) JOIN products p USING (product_id)
), priced AS (
  SELECT o.order_id, o.user_id, o.order_status, o.created_at::date AS order_day,
         o.order_status IN ('paid', 'shipped', 'completed') AS is_sold, t.amount
  FROM orders o JOIN (
    SELECT order_id, SUM((quantity * unit_price * (1 - discount))::numeric(14, 2)) AS amount FROM order_items
      GROUP BY 1) t USING (order_id)
), total AS (
  SELECT COUNT(*) AS orders, COUNT(*) FILTER (WHERE is_sold) AS sold_orders,
         COUNT(*) FILTER (WHERE order_status = 'created') AS waiting_orders,
         COUNT(*) FILTER (WHERE order_status = 'refunded') AS refunded_orders,
         COALESCE(SUM(amount) FILTER (WHERE is_sold), 0)::numeric(20, 2) AS amount,
         COALESCE(SUM(amount) FILTER (WHERE order_status = 'refunded'), 0)::numeric(20, 2) AS refund_amount,
         COUNT(DISTINCT user_id) FILTER (WHERE is_sold) AS buyers, MAX(order_day) AS latest_day
  FROM priced
), active AS (SELECT COUNT(*) AS users FROM users WHERE user_status = 'active')
SELECT 1 AS board_id, users, buyers, orders, sold_orders, waiting_orders,
       (SELECT COUNT(*) FROM products WHERE on_sale) AS products_on_sale, amount, refund_amount,
       amount::float8 / NULLIF(sold_orders::float8, 0) AS amount_per_order, buyers::float8 / NULLIF(users::float8, 0) AS conversion,
       refunded_orders::float8 / NULLIF(orders::float8, 0) AS refund_rate, latest_day,
       (SELECT COALESCE(SUM(amount) FILTER (WHERE is_sold), 0)::numeric(20, 2) FROM priced
         WHERE order_day = latest_day) AS latest_amount,
       (SELECT category FROM item WHERE is_sold GROUP BY category ORDER BY SUM(amount) DESC,
         category COLLATE "C" LIMIT 1) AS top_category
FROM total, active
WHERE orders > 0;

-- board: user_tiers
WITH bought AS (
  SELECT o.user_id, COUNT(DISTINCT o.order_id) AS sold_orders,
         SUM((i.quantity * i.unit_price * (1 - i.discount))::numeric(14, 2)) AS amount
  FROM orders o JOIN order_items i USING (order_id)
  WHERE o.order_status IN ('paid', 'shipped', 'completed') GROUP BY o.user_id
), valued AS (
  SELECT COALESCE(b.sold_orders, 0) AS sold_orders, COALESCE(b.amount, 0) AS amount,
         CASE WHEN b.user_id IS NULL THEN '沉睡' WHEN b.amount >= 50000 THEN '钻石' WHEN b.amount >= 20000 THEN '黄金'
              WHEN b.amount >= 5000 THEN '白银' ELSE '普通' END AS tier
  FROM users u LEFT JOIN bought b USING (user_id) WHERE u.user_status = 'active'
)
SELECT tier, COUNT(*) AS users, SUM(sold_orders) AS sold_orders, SUM(amount)::numeric(20, 2) AS amount,
       SUM(amount)::float8 / COUNT(*)::float8 AS amount_per_user,
       SUM(amount)::float8 / NULLIF((SELECT SUM(amount)::float8 FROM valued), 0) AS share
FROM valued GROUP BY tier;

-- board: hourly_trend
WITH priced AS (
  SELECT o.created_at::date AS order_day, EXTRACT(HOUR FROM o.created_at)::int AS order_hour,
         o.order_status IN ('paid', 'shipped', 'completed') AS is_sold, t.amount
  FROM orders o JOIN (
    SELECT order_id, SUM((quantity * unit_price * (1 - discount))::numeric(14, 2)) AS amount FROM order_items
      GROUP BY 1) t USING (order_id)
)
SELECT order_day, order_hour,
       CASE WHEN order_hour < 6 THEN '凌晨' WHEN order_hour < 12 THEN '上午' WHEN order_hour < 18 THEN '下午' ELSE '晚间' END AS day_part,
       COUNT(*) AS orders, COUNT(*) FILTER (WHERE is_sold) AS sold_orders,
       COALESCE(SUM(amount) FILTER (WHERE is_sold), 0)::numeric(20, 2) AS amount,
       COALESCE(SUM(amount) FILTER (WHERE is_sold), 0)::float8
         / NULLIF((SUM(COALESCE(SUM(amount) FILTER (WHERE is_sold), 0)) OVER (PARTITION BY order_day))::float8, 0) AS day_share
FROM priced GROUP BY order_day, order_hour;

-- board: day_statistics
WITH priced AS (
  SELECT o.user_id, o.order_status, o.created_at::date AS order_day, o.order_status IN ('paid', 'shipped', 'completed') AS is_sold,
         floor(EXTRACT(EPOCH FROM o.paid_at - o.created_at) / 60) AS pay_minutes, t.amount
  FROM orders o JOIN (
    SELECT order_id, SUM((quantity * unit_price * (1 - discount))::numeric(14, 2)) AS amount FROM order_items
      GROUP BY 1) t USING (order_id)
), ordered AS (
  SELECT order_day, COUNT(*) AS orders, COUNT(*) FILTER (WHERE is_sold) AS sold_orders,
         COUNT(*) FILTER (WHERE order_status = 'cancelled') AS cancelled_orders,
         COUNT(*) FILTER (WHERE order_status = 'refunded') AS refunded_orders,
         COALESCE(SUM(amount) FILTER (WHERE is_sold), 0) AS amount, COUNT(DISTINCT user_id) FILTER (WHERE is_sold) AS buyers,
         COUNT(pay_minutes) AS payments, SUM(pay_minutes) AS pay_minutes
  FROM priced GROUP BY order_day
), registered AS (
  SELECT registered_at::date AS order_day, COUNT(*) AS new_users FROM users
  WHERE user_status = 'active' AND registered_at >= '2026-06-01' GROUP BY 1
), days AS (SELECT * FROM ordered FULL JOIN registered USING (order_day))
SELECT d.order_day, COALESCE(d.orders, 0) AS orders, COALESCE(d.sold_orders, 0) AS sold_orders,
       COALESCE(d.cancelled_orders, 0) AS cancelled_orders, COALESCE(d.refunded_orders, 0) AS refunded_orders,
       COALESCE(d.amount, 0)::numeric(20, 2) AS amount, COALESCE(d.buyers, 0) AS buyers, COALESCE(d.new_users, 0) AS new_users,
       d.pay_minutes::float8 / NULLIF(d.payments::float8, 0) AS pay_minutes,
       d.amount::float8 / NULLIF(b.amount::float8, 0) - 1 AS growth
FROM days d LEFT JOIN days b ON d.order_day = b.order_day + 1;

-- board: product_statistics
WITH sold AS (
  SELECT i.product_id, o.user_id, o.created_at::date AS order_day, i.quantity,
         (i.quantity * i.unit_price * (1 - i.discount))::numeric(14, 2) AS amount, i.quantity * p.unit_cost AS cost
  FROM order_items i JOIN orders o USING (order_id) JOIN products p USING (product_id)
  WHERE o.order_status IN ('paid', 'shipped', 'completed')
), summed AS (
  SELECT product_id, SUM(quantity) AS quantity, SUM(amount) AS amount, SUM(cost) AS cost,
         COUNT(DISTINCT (order_day, user_id)) AS buyer_days, COUNT(DISTINCT order_day) AS days_sold
  FROM sold GROUP BY product_id
)
SELECT p.product_id, p.product_name, p.category, s.quantity, s.amount::numeric(20, 2) AS amount,
       (s.amount - s.cost)::numeric(20, 2) AS profit, (s.amount - s.cost)::float8 / NULLIF(s.amount::float8, 0) AS margin,
       s.buyer_days, s.days_sold,
       CASE WHEN s.amount < s.cost THEN '亏本' WHEN s.amount >= 100000 THEN '畅销' WHEN s.days_sold >= 10 THEN '平稳' ELSE '一般' END AS grade
FROM products p JOIN summed s USING (product_id);

-- board: product_ranking
WITH summed AS (
  SELECT i.product_id, SUM(i.quantity) AS quantity, SUM((i.quantity * i.unit_price * (1 - i.discount))::numeric(14, 2)) AS amount
  FROM order_items i JOIN orders o USING (order_id)
  WHERE o.order_status IN ('paid', 'shipped', 'completed') GROUP BY 1
), placed AS (
  SELECT p.category, ROW_NUMBER() OVER (PARTITION BY p.category ORDER BY s.amount DESC, p.product_id) AS place, p.product_id,
         p.product_name, s.quantity, s.amount
  FROM products p JOIN summed s USING (product_id)
)
SELECT category, place, product_id, product_name, quantity, amount::numeric(20, 2) AS amount FROM placed WHERE place <= 3;

-- board: pay_channels
WITH priced AS (
  SELECT o.*, t.amount FROM orders o JOIN (
    SELECT order_id, SUM((quantity * unit_price * (1 - discount))::numeric(14, 2)) AS amount FROM order_items
      GROUP BY 1) t USING (order_id)
), newest AS (
  SELECT DISTINCT ON (user_id) user_id, pay_channel FROM priced WHERE pay_channel IS NOT NULL
  ORDER BY user_id, created_at::date DESC, order_id DESC
), sold AS (
  SELECT pay_channel, COUNT(*) AS sold_orders, SUM(amount) AS amount FROM priced
  WHERE order_status IN ('paid', 'shipped', 'completed') AND pay_channel IS NOT NULL GROUP BY 1
)
SELECT pay_channel, COALESCE(sold_orders, 0) AS sold_orders, COALESCE(amount, 0)::numeric(20, 2) AS amount,
  COALESCE(users, 0) AS latest_users
FROM sold FULL JOIN (SELECT pay_channel, COUNT(*) AS users FROM newest GROUP BY 1) n USING (pay_channel);

-- board: watch_list
WITH sold AS (
  SELECT i.product_id, SUM((i.quantity * i.unit_price * (1 - i.discount))::numeric(14, 2)) AS amount,
    SUM(i.quantity * p.unit_cost) AS cost
  FROM order_items i JOIN orders o USING (order_id) JOIN products p USING (product_id)
  WHERE o.order_status IN ('paid', 'shipped', 'completed') GROUP BY i.product_id
), priced AS (
  SELECT o.*, t.amount FROM orders o JOIN (
    SELECT order_id, SUM((quantity * unit_price * (1 - discount))::numeric(14, 2)) AS amount FROM order_items
      GROUP BY 1) t USING (order_id)
)
SELECT '滞销商品' AS reason, product_id AS object_id, product_name AS object_name, 0::numeric(20, 2) AS amount
FROM products WHERE on_sale AND product_id NOT IN (SELECT product_id FROM sold)
UNION ALL
SELECT '亏本商品', p.product_id, p.product_name, (s.amount - s.cost)::numeric(20, 2)
FROM products p JOIN sold s USING (product_id) WHERE s.amount < s.cost
UNION ALL
SELECT '频繁退款', u.user_id, u.user_name,
       COALESCE(SUM(o.amount) FILTER (WHERE o.order_status IN ('paid', 'shipped', 'completed')), 0)::numeric(20, 2)
FROM users u JOIN priced o USING (user_id) WHERE u.user_status = 'active'
GROUP BY u.user_id HAVING COUNT(*) FILTER (WHERE o.order_status = 'refunded') >= 2
UNION ALL
SELECT '冻结待付', o.order_id, u.region, o.amount::numeric(20, 2)
FROM priced o JOIN users u USING (user_id) WHERE u.user_status = 'frozen' AND o.order_status = 'created';

-- layer: fluss.commerce.ods_users
SELECT COUNT(*) FROM users;

-- layer: fluss.commerce.ods_products
SELECT COUNT(*) FROM products;

-- layer: fluss.commerce.ods_orders
SELECT COUNT(*) FROM orders;

-- layer: fluss.commerce.ods_order_items
SELECT COUNT(*) FROM order_items;

-- layer: fluss.commerce.dwd_users
SELECT COUNT(*) FROM users WHERE user_status = 'active';

-- layer: fluss.commerce.dwd_order_items
SELECT COUNT(*) FROM order_items JOIN orders USING (order_id) JOIN products USING (product_id);

-- layer: fluss.commerce.dwd_orders
SELECT COUNT(*) FROM orders o WHERE EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id);

-- layer: fluss.commerce.dws_users
SELECT COUNT(DISTINCT user_id) FROM orders o WHERE EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id);

-- layer: fluss.commerce.dws_user_channels
SELECT COUNT(DISTINCT user_id) FROM orders o
WHERE pay_channel IS NOT NULL AND EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id);

-- layer: fluss.commerce.dws_product_days
SELECT COUNT(DISTINCT (product_id, created_at::date)) FROM order_items JOIN orders USING (order_id) JOIN products USING (product_id)
WHERE order_status IN ('paid', 'shipped', 'completed');

-- layer: fluss.commerce.dws_days
SELECT COUNT(DISTINCT created_at::date) FROM orders o WHERE EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id);

-- layer: fluss.commerce.dws_registrations
SELECT COUNT(DISTINCT registered_at::date) FROM users WHERE user_status = 'active' AND registered_at >= '2026-06-01';

-- layer: fluss.commerce.dws_hours
SELECT COUNT(DISTINCT date_trunc('hour', created_at)) FROM orders o
WHERE EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id);

-- layer: fluss.commerce.ads_live_board
SELECT COUNT(*) FROM (
  SELECT 1 FROM orders o WHERE EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id) LIMIT 1) t;

-- layer: fluss.commerce.ads_user_tiers
WITH bought AS (
  SELECT o.user_id, SUM((i.quantity * i.unit_price * (1 - i.discount))::numeric(14, 2)) AS amount
  FROM orders o JOIN order_items i USING (order_id) WHERE o.order_status IN ('paid', 'shipped', 'completed') GROUP BY o.user_id)
SELECT COUNT(DISTINCT CASE WHEN b.user_id IS NULL THEN 0 WHEN amount >= 50000 THEN 4 WHEN amount >= 20000 THEN 3
                           WHEN amount >= 5000 THEN 2 ELSE 1 END)
FROM users u LEFT JOIN bought b USING (user_id) WHERE u.user_status = 'active';

-- layer: fluss.commerce.ads_hourly_trend
SELECT COUNT(DISTINCT date_trunc('hour', created_at)) FROM orders o
WHERE EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id);

-- layer: fluss.commerce.ads_day_statistics
SELECT COUNT(*) FROM (
  SELECT created_at::date FROM orders o WHERE EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id)
  UNION
  SELECT registered_at::date FROM users WHERE user_status = 'active' AND registered_at >= '2026-06-01') t;

-- layer: fluss.commerce.ads_product_statistics
SELECT COUNT(DISTINCT product_id) FROM order_items JOIN orders USING (order_id) JOIN products USING (product_id)
WHERE order_status IN ('paid', 'shipped', 'completed');

-- layer: fluss.commerce.ads_product_ranking
SELECT COALESCE(SUM(LEAST(products, 3)), 0) FROM (
  SELECT category, COUNT(DISTINCT product_id) AS products FROM order_items JOIN orders USING (order_id)
    JOIN products USING (product_id)
  WHERE order_status IN ('paid', 'shipped', 'completed') GROUP BY category) t;

-- layer: fluss.commerce.ads_pay_channels
SELECT COUNT(DISTINCT pay_channel) FROM orders o WHERE EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id);

-- layer: fluss.commerce.ads_watch_list
WITH sold AS (
  SELECT i.product_id, SUM((i.quantity * i.unit_price * (1 - i.discount))::numeric(14, 2)) AS amount,
    SUM(i.quantity * p.unit_cost) AS cost
  FROM order_items i JOIN orders o USING (order_id) JOIN products p USING (product_id)
  WHERE o.order_status IN ('paid', 'shipped', 'completed') GROUP BY i.product_id
), full_orders AS (SELECT * FROM orders o WHERE EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id))
SELECT (SELECT COUNT(*) FROM products WHERE on_sale AND product_id NOT IN (SELECT product_id FROM sold))
     + (SELECT COUNT(*) FROM sold WHERE amount < cost)
     + (SELECT COUNT(*) FROM (
          SELECT user_id FROM full_orders JOIN users USING (user_id) WHERE user_status = 'active' AND order_status = 'refunded'
          GROUP BY user_id HAVING COUNT(*) >= 2) t)
     + (SELECT COUNT(*) FROM full_orders JOIN users USING (user_id) WHERE user_status = 'frozen' AND order_status = 'created');

-- 原样落地的行。The rows of the layer that is as it comes.

-- rows: fluss.commerce.ods_users
SELECT * FROM users;

-- rows: fluss.commerce.ods_products
SELECT * FROM products;

-- rows: fluss.commerce.ods_orders
SELECT * FROM orders;

-- rows: fluss.commerce.ods_order_items
SELECT * FROM order_items;
