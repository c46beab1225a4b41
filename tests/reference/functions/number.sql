-- Numbers: casts among them, their text forms, the operators and their result types, rounding.
CAST(300 AS TINYINT)
CAST(-129 AS TINYINT)
CAST(70000 AS SMALLINT)
CAST(5000000000 AS INT)
CAST(1e10 AS INT)
CAST(-1e10 AS INT)
CAST(1e20 AS BIGINT)
CAST(-1e20 AS BIGINT)
CAST(1e10 AS TINYINT)
CAST(1e10 AS SMALLINT)
CAST(300.7e0 AS TINYINT)
CAST(CAST('NaN' AS DOUBLE) AS INT)
CAST(CAST('Infinity' AS DOUBLE) AS BIGINT)
CAST(CAST('NaN' AS DOUBLE) AS DECIMAL(5, 2))
CAST(CAST('Infinity' AS DOUBLE) AS DECIMAL(5, 2))
-- differs: NaN stays NaN, or is NULL where the type has none
-- gives: DECIMAL(5, 2) | \N
TRY_CAST(CAST('NaN' AS DOUBLE) AS DECIMAL(5, 2))
CAST(CAST('NaN' AS DOUBLE) AS BOOLEAN)
CAST(CAST('NaN' AS DOUBLE) AS STRING)
-- differs: Flink's planner computes constants as BigDecimal, which has neither; over columns it gives the value
-- gives: STRING NOT NULL | Infinity
CAST(CAST('Infinity' AS FLOAT) AS STRING)
CAST(1e400 AS DOUBLE)
CAST(1e39 AS FLOAT)
CAST(0.1 AS FLOAT)
-- differs: Flink's planner computes with constants in decimal; over columns it gives what is given here
-- gives: DOUBLE NOT NULL | 0.10000000149011612
CAST(CAST(0.1 AS FLOAT) AS DOUBLE)
-- differs: Flink's planner computes with constants in decimal; over columns it gives what is given here
-- gives: DECIMAL(20, 10) NOT NULL | 0.1000000015
CAST(CAST(0.1 AS FLOAT) AS DECIMAL(20, 10))
-- differs: Flink's planner computes with constants in decimal; over columns it gives what is given here
-- gives: INT NOT NULL | 16777216
CAST(CAST(16777217 AS FLOAT) AS INT)
CAST(9007199254740993 AS DOUBLE)
-- differs: Flink's result view refuses the NULL that an overflow makes of a value that is NOT NULL by its type; here it is shown
-- gives: DECIMAL(5, 2) NOT NULL | \N
CAST(123456.789e0 AS DECIMAL(5, 2))
-- differs: Flink's result view refuses the NULL that an overflow makes of a value that is NOT NULL by its type; here it is shown
-- gives: DECIMAL(5, 2) NOT NULL | \N
CAST(123456.789 AS DECIMAL(5, 2))
TRY_CAST(123456.789 AS DECIMAL(5, 2))
-- differs: Flink's result view refuses the NULL that an overflow makes of a value that is NOT NULL by its type; here it is shown
-- gives: DECIMAL(5, 2) NOT NULL | \N
CAST(123456 AS DECIMAL(5, 2))
CAST(1.005 AS DECIMAL(5, 2))
CAST(1.005e0 AS DECIMAL(5, 2))
CAST(-1.005 AS DECIMAL(5, 2))
CAST(2.5 AS INT)
CAST(-2.5 AS INT)
CAST(2.9 AS BIGINT)
CAST(99999999999.9 AS INT)
CAST(99999999999999999999.9 AS BIGINT)
CAST(300.5 AS TINYINT)
CAST(1.5 AS BOOLEAN)
CAST(0.0 AS BOOLEAN)
CAST(0.4 AS BOOLEAN)
CAST(0 AS BOOLEAN)
CAST(0e0 AS BOOLEAN)
CAST(0.4e0 AS BOOLEAN)
CAST(TRUE AS DECIMAL(5, 2))
CAST(FALSE AS DOUBLE)
CAST(TRUE AS STRING)
CAST(FALSE AS CHAR(3))
CAST(TRUE AS CHAR(6))
CAST(12345 AS CHAR(3))
CAST(12345 AS VARCHAR(3))
CAST(12 AS CHAR(5))
CAST(1.50 AS CHAR(3))
CAST(1e7 AS STRING)
CAST(1e6 AS STRING)
CAST(1234567.1e0 AS STRING)
CAST(12345678.1e0 AS STRING)
CAST(1e-3 AS STRING)
CAST(1e-4 AS STRING)
CAST(0.00012345e0 AS STRING)
CAST(1e100 AS STRING)
CAST(1.0E-300 AS STRING)
CAST(-0.0e0 AS STRING)
CAST(2e-323 AS STRING)
CAST(4.35e0 * 100 AS STRING)
CAST(0.1e0 + 0.2e0 AS STRING)
CAST(2.0e-3 AS STRING)
-- differs: Flink's planner computes with constants in decimal; over columns it gives what is given here
-- gives: STRING NOT NULL | 1.0E23
CAST(1.0E23 AS STRING)
CAST(2.2250738585072014E-308 AS STRING)
CAST(9.999999e6 AS STRING)
CAST(CAST(1.1e0 AS FLOAT) AS STRING)
CAST(CAST(1e10 AS FLOAT) AS STRING)
CAST(CAST(33554432 AS FLOAT) AS STRING)
CAST(CAST(8.41E21 AS FLOAT) AS STRING)
CAST(CAST(2.0E-3 AS FLOAT) AS STRING)
-- differs: the shortest digits, as Java writes them from version 19 on
-- gives: STRING NOT NULL | 1.2345679E8
CAST(CAST(123456789 AS FLOAT) AS STRING)
CAST(0.000001 AS STRING)
CAST(0.0000001 AS STRING)
CAST(CAST(1 AS DECIMAL(38, 18)) AS STRING)
CAST(CAST(0 AS DECIMAL(10, 8)) AS STRING)
CAST(-0.5 AS STRING)
CAST(CAST('1e10' AS DECIMAL(20, 0)) AS STRING)
CAST(100 AS DECIMAL(3, 0))
-- differs: Flink's result view refuses the NULL that an overflow makes of a value that is NOT NULL by its type; here it is shown
-- gives: DECIMAL(2, 0) NOT NULL | \N
CAST(100 AS DECIMAL(2, 0))
CAST(NULL AS INT)
CAST(NULL AS ARRAY<INT>)
TRY_CAST(1 AS STRING)
TRY_CAST('1' AS INT)
TRY_CAST(DATE '2024-01-01' AS INT)
-- arithmetic types
1 + 1
1 + CAST(1 AS TINYINT)
CAST(1 AS TINYINT) + CAST(1 AS TINYINT)
CAST(1 AS SMALLINT) * CAST(1 AS TINYINT)
CAST(100 AS TINYINT) + CAST(100 AS TINYINT)
1 + CAST(1 AS BIGINT)
2147483647 + 1
-2147483648 - 1
2147483647 * 2
9223372036854775807 + 1
-9223372036854775808
- -2147483648
-(-2147483648)
7 / 2
-7 / 2
7 / -2
7 % 3
-7 % 3
7 % -3
MOD(7, 3)
MOD(-7, 3)
MOD(7.5, 2)
MOD(7, 2.5)
-- differs: Flink's planner fails over the nullability of %; MOD works there
-- gives: DECIMAL(2, 1) NOT NULL | 1.5
7.5 % 2
7e0 % 2
-7.5e0 % 2
1 / 0
1 % 0
MOD(1, 0)
1.0 / 0
1 / 0.0
1.0 % 0
-- differs: Flink's planner refuses a constant 0 as divisor; over columns it gives what is given here
-- gives: DOUBLE NOT NULL | Infinity
1e0 / 0
-- differs: Flink's planner refuses a constant 0 as divisor; over columns it gives what is given here
-- gives: DOUBLE NOT NULL | -Infinity
-1e0 / 0
-- differs: Flink's planner refuses a constant 0 as divisor; over columns it gives what is given here
-- gives: DOUBLE NOT NULL | NaN
0e0 / 0
1e0 % 0
-- differs: Flink's planner refuses a constant 0 as divisor; over columns it gives what is given here
-- gives: DOUBLE NOT NULL | Infinity
1 / 0e0
-- differs: Flink's planner refuses a constant 0 as divisor; over columns it gives what is given here
-- gives: FLOAT NOT NULL | Infinity
CAST(1 AS FLOAT) / 0
1 / 3.0
1.0 / 3
1.0 / 3.0
10 / 4.0
1.5 + 1.25
1.5 - 1.25
1.5 * 1.25
1.5 / 1.25
1 + 1.5
1 * 1.5
CAST(1 AS BIGINT) * 1.5
CAST(1 AS BIGINT) / 1.5
CAST(1.5 AS FLOAT) + 1
CAST(1.5 AS FLOAT) + CAST(1 AS BIGINT)
CAST(1.5 AS FLOAT) + 1.5
CAST(1.5 AS FLOAT) + 1.5e0
1.5e0 + 1.5
1.5e0 * 2
CAST(1 AS DECIMAL(38, 18)) + CAST(1 AS DECIMAL(38, 18))
CAST(1 AS DECIMAL(38, 18)) * CAST(1 AS DECIMAL(38, 18))
CAST(1 AS DECIMAL(38, 18)) / CAST(3 AS DECIMAL(38, 18))
CAST(1 AS DECIMAL(38, 18)) % CAST(3 AS DECIMAL(38, 18))
CAST(1 AS DECIMAL(38, 0)) + 1
CAST(1 AS DECIMAL(38, 0)) * 2
CAST(1 AS DECIMAL(38, 0)) / 3
CAST(99999999999999999999999999999999999999 AS DECIMAL(38, 0)) + 1
CAST(99999999999999999999999999999999999999 AS DECIMAL(38, 0)) * 10
CAST(1 AS DECIMAL(30, 20)) * CAST(1 AS DECIMAL(30, 20))
CAST(1 AS DECIMAL(20, 10)) * CAST(1 AS DECIMAL(20, 10))
CAST(2 AS DECIMAL(20, 10)) / CAST(3 AS DECIMAL(20, 10))
CAST(2 AS DECIMAL(10, 2)) / CAST(3 AS DECIMAL(10, 2))
CAST(2 AS DECIMAL(10, 2)) / 3
2 / CAST(3 AS DECIMAL(10, 2))
-- differs: Flink's planner fails over the nullability of %; MOD works there
-- gives: DECIMAL(10, 2) NOT NULL | 2.00
CAST(2 AS DECIMAL(10, 2)) % 3
CAST(2 AS DECIMAL(10, 2)) % CAST(0.7 AS DECIMAL(5, 4))
CAST(2 AS DECIMAL(10, 0)) % CAST(3 AS DECIMAL(5, 0))
CAST(2 AS DECIMAL(10, 0)) % 3
2 % CAST(3 AS DECIMAL(5, 0))
CAST(5 AS BIGINT) % CAST(3 AS TINYINT)
CAST(5 AS TINYINT) % CAST(3 AS BIGINT)
CAST(5 AS INT) / CAST(3 AS BIGINT)
CAST(5 AS TINYINT) / CAST(3 AS TINYINT)
-CAST(-128 AS TINYINT)
-CAST(5 AS DECIMAL(10, 2))
-'5'
+'5'
-NULL
1 + NULL
1.5 + CAST(NULL AS INT)
'1' + 1
1 + '1'
'1' + '1'
'1.5' * 2
'a' + 1
'6' / '4'
'7' % 4
1.5 * '2'
1e0 * '2'
CAST('3' AS STRING) + 1
CAST('3' AS STRING) * 1.5
TRUE + 1
DATE '2024-01-01' + 1
1 + DATE '2024-01-01'
ABS(-5)
ABS(-2147483648)
ABS(CAST(-128 AS TINYINT))
ABS(-1.50)
ABS(-1.5e0)
SIGN(-5)
SIGN(-1.50)
SIGN(-1.5e0)
SIGN(0)
SIGN(CAST(-5 AS BIGINT))
CEIL(1.5)
CEIL(-1.5)
CEIL(1.5e0)
CEIL(5)
CEIL(9.9)
FLOOR(1.5)
FLOOR(-1.5)
FLOOR(-1.5e0)
FLOOR(5)
FLOOR(CAST(1.5 AS FLOAT))
ROUND(1.5)
ROUND(2.5)
ROUND(-2.5)
ROUND(1.2345, 2)
ROUND(1.2355, 3)
ROUND(1.5e0)
ROUND(2.5e0)
ROUND(-2.5e0)
ROUND(1.005e0, 2)
ROUND(2.675e0, 2)
ROUND(123.456, -1)
ROUND(123.456, -3)
ROUND(123.456, 5)
ROUND(12345, -2)
ROUND(12355, -1)
ROUND(12345, 2)
ROUND(CAST(125 AS TINYINT), -1)
ROUND(CAST(32767 AS SMALLINT), -1)
ROUND(2147483647, -1)
ROUND(CAST(9223372036854775807 AS BIGINT), -1)
ROUND(CAST(1.25 AS FLOAT), 1)
ROUND(99.99, 1)
ROUND(CAST(999.99 AS DECIMAL(5, 2)), 1)
ROUND(CAST(999.99 AS DECIMAL(5, 2)))
-- differs: NaN stays NaN, or is NULL where the type has none
-- gives: DOUBLE NOT NULL | NaN
ROUND(CAST('NaN' AS DOUBLE), 1)
ROUND(1e300, 2)
ROUND(1.5, NULL)
ROUND(CAST(NULL AS DOUBLE), 1)
ROUND('1.5', 0)
TRUNCATE(1.999, 2)
TRUNCATE(-1.999, 2)
TRUNCATE(1.999)
TRUNCATE(123.456, -1)
TRUNCATE(12345, -2)
TRUNCATE(1.999e0, 2)
TRUNCATE(42.324e0, 2)
TRUNCATE(CAST(1.999 AS FLOAT), 2)
POWER(2, 3)
POWER(2, 0.5)
SQRT(2)
EXP(1)
GREATEST(1, 2.5)
GREATEST(1, 2, 3)
LEAST(1.5, 2e0)
-- differs: NULL without a type is taken
-- gives: INT | \N
GREATEST(1, NULL)
GREATEST('a', 'b')
GREATEST(CAST('NaN' AS DOUBLE), 1e0)
LEAST(CAST('NaN' AS DOUBLE), 1e0)
GREATEST(DATE '2024-01-01', DATE '2024-02-01')
2e0 + CAST(1 AS FLOAT)
ARRAY[CAST(1 AS FLOAT), 2e0]
CAST(1 AS FLOAT) * 2e0
CAST(1 AS FLOAT) / 2e0
CAST(1 AS BIGINT) + CAST(1 AS FLOAT)
-- differs: Flink's planner refuses a constant 0 as divisor; over columns it gives what is given here
-- gives: DOUBLE NOT NULL | Infinity
1e0 / CAST('0' AS DOUBLE)
-- differs: Flink's planner refuses a constant 0 as divisor; over columns it gives what is given here
-- gives: DOUBLE NOT NULL | -Infinity
-1e0 / CAST('0' AS DOUBLE)
-- differs: Flink's planner refuses a constant 0 as divisor; over columns it gives what is given here
-- gives: DOUBLE NOT NULL | Infinity
1e0 / CAST(0 AS BIGINT)
-- differs: Flink's planner refuses a constant 0 as divisor; over columns it gives what is given here
-- gives: DOUBLE NOT NULL | NaN
CAST('0' AS DOUBLE) / CAST('0' AS DOUBLE)
-- differs: Flink's planner refuses a constant 0 as divisor; over columns it gives what is given here
-- gives: FLOAT NOT NULL | Infinity
CAST(1 AS FLOAT) / CAST('0' AS INT)
1.5 / CAST('0' AS INT)
1 / CAST('0' AS INT)
CAST(1 AS BIGINT) % CAST('0' AS INT)
1.5 / CAST('0.0' AS DECIMAL(3, 1))
CAST('9223372036854775807' AS BIGINT) + 1
CAST(CAST(NULLIF(70000, 0) AS INT) AS DECIMAL(5, 2))
CAST(NULLIF(123456.789, 0) AS DECIMAL(5, 2))
CAST(NULLIF(123456.789e0, 0) AS DECIMAL(5, 2))
NULLIF(CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0)), 0) + 1
NULLIF(CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0)), 0) * 10
NULLIF(CAST('9999999999999999999' AS DECIMAL(20, 0)), 0) * CAST('9999999999999999999' AS DECIMAL(20, 0))
CAST(CAST('1' AS DECIMAL(38, 0)) / CAST('0.000001' AS DECIMAL(38, 6)) AS STRING)
-- differs: Flink's planner computes with constants in decimal; over columns it gives what is given here
-- gives: DOUBLE NOT NULL | 0.0
CAST('-0' AS DOUBLE) + 0e0
CAST('NaN' AS DOUBLE) + 1e0
CAST('1e308' AS DOUBLE) * 10
MOD(CAST(7 AS DOUBLE), 2)
MOD(7.5, CAST('0' AS INT))
