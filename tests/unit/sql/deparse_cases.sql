-- One statement a line. test_deparse.py prints each from its tree and compares the trees.
-- Constants
select
select 1
select 0, -0, -1, - 1, 2147483647, -2147483647, -2147483648, 2147483648, 99999999999999999999
select 1.5, -1.5, .5, 5., -.5, 1e10, 1e-10, -1.5E+3, 1e400, -0.0
select 0x1F, 0o17, 0b101, 1_000_000, 0xFFFFFFFFFFFFFFFF, 1_0.5_0, -0x7FFFFFFFFFFFFFFF
select - - 1, - (- 1), + 1, + (-1), -(1), 1 - -1, 1 - (-1), 2 * -3, -2 ^ 2, (-2) ^ 2, -(-(1))
select '', 'a', 'a''b', 'a\b', '\', '''', 'a"b', 'é€😀', ' -- no comment', '/* nor this */'
select E'a\nb', E'\\', E'\'', E'\x41\u00e9', U&'\0041\+01F600', U&'d!0061t' uescape '!'
select $$dollar$$, $x$with $$ inside$x$, 'adjacent' /* nothing */
select b'101', B'', x'1fA', X'', n'national'
select null, true, false, not true
select 'x'::text, 'x' :: "char", text 'x', date '2020-01-01', float8 '1.5', pg_catalog.int4 '7'
-- Types
select x::int, x::integer, x::int4, x::smallint, x::bigint, x::real, x::float, x::float(24), x::float(25), x::double precision
select x::decimal, x::decimal(10), x::numeric(10, 2), x::numeric(3, -2), x::dec, x::boolean, x::bool, x::pg_catalog.bool
select x::char, x::character, x::char(3), x::character varying, x::varchar(7), x::national character(3), x::nchar varying(4), x::bpchar, x::"char", x::text
select x::bit, x::bit(3), x::bit varying, x::bit varying(5), x::varbit
select x::time, x::time(3), x::time with time zone, x::time(2) with time zone, x::timetz, x::timestamp, x::timestamp(0), x::timestamp without time zone, x::timestamp(6) with time zone, x::timestamptz
select x::interval, x::interval year, x::interval month, x::interval day, x::interval hour, x::interval minute, x::interval second, x::interval second(3)
select x::interval year to month, x::interval day to hour, x::interval day to minute, x::interval day to second, x::interval day to second(2), x::interval hour to minute, x::interval hour to second, x::interval minute to second(1), x::interval(5)
select interval '1' day, interval '1-2' year to month, interval(3) '1 second', interval '1' second(2), interval '1 day'
select timestamp '2020-01-01', timestamp(3) '2020-01-01', time with time zone '10:00', numeric(5,2) '1.5', bit '101', char(3) 'abc', foo.bar 'x', foo(1) 'x', foo(1, 'a') 'x'
select x::int[], x::int[3], x::int[][], x::int[2][3], x::int array, x::int array[4], x::text[0], x::my.type, x::my.type[], x::my."Type"(3)[]
select x::setof int, x::a.b.c, x::"weird ""type""", x::geometry(point, 4326), x::json, x::jsonb, x::xml, x::regclass
select cast(x as int), cast(cast(x as text) as int), x::text::int, (x || y)::text, -1::int, (-1)::int, - (1::int), cast(null as text)
select 't'::boolean, 'f'::bool, true::boolean, 1::boolean, cast(0 as bool)
-- Names
select a, "A", "select", "a b", "a""b", "é", a.b, a.b.c, a.b.c.d, "user", "current_date", t.*, s.t.*, d.s.t.*
select "1", "$", 'x' as " " from t
select a as b, a as "B", a as select, a "from", a as "as", a b from t
select * from "T", s.t, d.s.t, only t, only (t), t *, t as x, t x, t as x(a, b), "select", pg_catalog."pg_class"
table t
table only s.t
-- Operators
select a + b - c * d / e % f ^ g, a || b || c, a + (b - c), (a + b) * c, a - (b - c)
select a < b, a > b, a = b, a <= b, a >= b, a <> b, a != b
select a @> b, a -> 'x' ->> 'y', a #> '{x}', a ?| b, a ? 'x', a @@ b, a <-> b, a && b, a ~ b, a !~* b, a << 2, a | b, a & b, a # b, ~ a, @ a, |/ a, ||/ a, !! a
select - a, + a, - - a, - (a + b), @ - a, a + - b, a * (- b), operator(-) a, operator(-) 1, operator(pg_catalog.-) 5, operator(+) 1
select a operator(pg_catalog.=) b, a operator(s.+) b operator(pg_catalog.*) c, operator(pg_catalog.@) a, a operator(=) b, a operator("S".||) b, a operator(d.s.<) b
select a and b, a or b, not a, not not a, a and b and c, a and (b and c), (a and b) and c, a or b or c, a or (b or c), (a or b) or c, a and b or c and d, (a or b) and (c or d), not (a and b), not a and b, ((a and b) and c) and d, (a and (b and c)) and d
select a like b, a not like b, a like b escape c, a not like b escape '', a ilike b, a not ilike b escape '!', a ~~ b, a !~~ b, a ~~* b, a operator(pg_catalog.~~) b
select a similar to b, a not similar to b, a similar to b escape c, a not similar to b escape null
select a between b and c, a not between b and c, a between symmetric b and c, a not between symmetric b and c, a between b + 1 and (c and d), a between asymmetric 1 and 2
select a in (1), a in (1, 2), a not in (1, 2), a in (b, (select 1)), (a, b) in ((1, 2), (3, 4)), a in ('x', null), a in (1 + 1, f(2))
select a is distinct from b, a is not distinct from b, (a, b) is distinct from (c, d), nullif(a, b), a is distinct from null
select a is null, a is not null, a isnull, a notnull, (a, b) is null, a + b is null, (a is null) is null, a is null = b is null
select a is true, a is not true, a is false, a is not false, a is unknown, a is not unknown, (a = b) is true
select a = any (b), a <> all (b), a = some (b), a operator(pg_catalog.=) any (b), a like any (b), a not like all (b), a ilike some (b), a = any (array[1, 2]), a = any ('{1,2}'), a = any ('{1,2}'::int[]), a > all (f(x)), (a + b) = any (c || d), a operator(s.<) all (b)
select a collate "C", a collate pg_catalog."default", (a || b) collate "de_DE", a collate "C" < b, a < b collate "C"
select a at time zone 'utc', a at time zone b at time zone c, a at local, (a + b) at time zone 'x'
-- Calls
select f(), f(a), f(a, b), s.f(a), d.s.f(a), "F"(a), pg_catalog.now(), f(f(f(a))), f((a, b)), f((a)), f(a + b, c and d)
select f(a => 1), f(1, b => 2), f(a := 1, b := 2), f("A" => 1), f(variadic a), f(a, variadic b), f(a, variadic b => c), f(variadic array[1, 2])
select count(*), count(a), count(distinct a), count(all a), array_agg(a order by b), array_agg(distinct a order by a desc nulls last), string_agg(a, ',' order by b, c using <), f(distinct a, b)
select count(*) filter (where a > 1), sum(a) filter (where b), s.agg(*), percentile_cont(0.5) within group (order by a), mode() within group (order by a desc), rank(1, 2) within group (order by a, b) filter (where c)
select sum(a) over (), sum(a) over w, row_number() over (order by a), sum(a) over (partition by b, c), sum(a) over (partition by b order by c desc nulls first), sum(a) filter (where b) over (order by c) from t window w as ()
select sum(a) over (w), sum(a) over (w order by b), sum(a) over (w rows unbounded preceding) from t window w as (partition by x), w2 as (w order by y), "W3" as (order by z)
select sum(a) over (rows unbounded preceding), sum(a) over (rows 1 preceding), sum(a) over (rows current row), sum(a) over (range '1 day' preceding), sum(a) over (groups 2 preceding), sum(a) over (range unbounded preceding)
select sum(a) over (rows between unbounded preceding and unbounded following), sum(a) over (rows between 1 preceding and 2 following), sum(a) over (range between current row and unbounded following), sum(a) over (groups between 1 following and 2 following), sum(a) over (rows between 3 preceding and 1 preceding), sum(a) over (range between unbounded preceding and current row)
select sum(a) over (rows between a + 1 preceding and current row exclude current row), sum(a) over (rows 1 preceding exclude group), sum(a) over (range unbounded preceding exclude ties), sum(a) over (order by b groups between current row and current row exclude no others)
select lag(a, 1) over (order by b), lead(a) over w, ntile(4) over w, first_value(a) over (w rows between 1 preceding and current row) from t window w as (order by b)
-- Calls in special syntax
select extract(year from a), extract('month' from a), extract(epoch from a - b), extract("dow" from a), date_part('year', a)
select substring(a from 1 for 2), substring(a from 1), substring(a for 2), substring(a for 2 from 1), substring(a, 1, 2), substring(a similar b escape c), substring(a from b for c), substr(a, 1)
select overlay(a placing b from 1), overlay(a placing b from 1 for 2), overlay(a, b, 1), position(a in b), position('x' in a || b), strpos(a, b)
select trim(a), trim(both from a), trim(leading from a), trim(trailing from a), trim(b from a), trim(both b from a), trim(leading 'x' from a), trim(trailing b from a), trim(a, b), btrim(a)
select normalize(a), normalize(a, nfd), a is normalized, a is nfkc normalized, a is not normalized, a is not nfkd normalized
select collation for (a), collation for (a || b), treat(a as int), (a, b) overlaps (c, d), row(a, b) overlaps row(c, d)
select xmlexists('/a' passing b), xmlexists('/a' passing by ref b), xmlexists('/a' passing b by ref), xmlexists(a passing by value b by value)
select current_date, current_time, current_time(2), current_timestamp, current_timestamp(0), localtime, localtime(1), localtimestamp, localtimestamp(6)
select current_user, current_role, user, session_user, system_user, current_catalog, current_schema, current_schema(), "current_user"
select coalesce(a), coalesce(a, b, 1), greatest(a, b), least(a), least(a, b + 1), grouping(a), grouping(a, b), nullif(a + 1, b or c)
-- Values of several parts
select row(), row(a), row(a, b), (a, b), (a, (b, c)), ((a, b), c), row(row()), row(a.*), (a.*, b), row((select 1)), (1, 2) = (3, 4), (a, b) < (c, d), row(a) = row(b)
select array[1, 2], array[]::int[], array[[1, 2], [3, 4]], array[array[1], array[2]], array[a, b + c, f(d)], array[(select 1)], array['x', null]
select a[1], a[1][2], a[b + 1], a[1:2], a[:2], a[1:], a[:], a[1:2][3:4], (a)[1], (f(x))[1], (array[1, 2])[1], a.b[1], (a.b)[1].c, a[-1], a[$1], a[(select 1)], (a[1])[2], a[b[1]]
select (a).b, (a).*, (a.b).c, ((a).b).c, (a).b.c, (f(x)).y, (f(x)).*, (row(1, 2)).f1, ((1, 2)).f1, ((select r)).x, (a).b[1].c[2:3].d, ($1).x, $1.x, $1[1], ('{"a":1}'::jsonb)['a'], (a)."B"."C"
select $1, $2, $10, $1 + $2, -$1, $1::int, f($1), $1 || 'x'
select case when a then b end, case when a then b else c end, case a when 1 then 2 when 3 then 4 else 5 end, case when a > 1 then 'x' when b is null then null end, case a + b when c then d end, case when case when a then b end then c end, (case when a then b end).c
-- Subqueries in expressions
select (select 1), (select a from t where b = c), exists (select 1), not exists (select from t), array(select a from t order by b), ((select 1)), (select 1) + (select 2), ((select array[1]))[1], -(select 1)
select a in (select b from t), a not in (select b), a = any (select b), a <> all (select b), a > some (select b), a like any (select b), a not ilike all (select b), (a, b) in (select c, d), row(a, b) = (select c, d), a operator(pg_catalog.=) any (select b), (a, b) = any (select 1, 2), a in (values (1), (2)), a in ((select 1)), a = any ((select b)::int[]), a in (table t)
select (select 1 union select 2 limit 1), (values (1)), (with x as (select 1) select * from x), exists (select 1 from a where exists (select 1 from b where b.x = a.x)), (select (select (select 1)))
-- FROM
select * from a, b, c
select * from a join b on a.x = b.x
select * from a inner join b on true left join c on c.y = b.y right outer join d using (z) full join e using (p, q)
select * from a cross join b cross join c
select * from a natural join b natural left join c natural full outer join d
select * from a join (b join c on b.x = c.x) on a.y = b.y
select * from a left join b join c on b.x = c.x on a.y = b.y
select * from (a join b on true) join (c join d on true) on true
select * from (a join b using (x)) as j, (a cross join b) as k(p, q), ((a join b on true)) x
select * from a join b using (x) as j, a left join b using (x, y) as "J"
select * from a join b on (a.x = b.x and a.y = b.y) or a.z, c
select * from (select 1) x, (select 1, 2) as y(a, b), lateral (select x.a) z, (values (1, 2), (3, 4)) v(p, q), (table t) u, (select 1)
select * from (select 1 union all select 2) x, (with y as (select 1) select * from y) z, ((select 1)) w
select * from f(), f(1) as x, f(1) x(a, b), s.f(1, 2), lateral f(a), f() with ordinality, f() with ordinality as x(a, n), unnest(a, b) as u(x, y)
select * from f() as (a int, b text), f() as x(a int, b text collate "C"), f() x(a s.t[], b numeric(3, 1)), lateral f(1) as (a int)
select * from rows from (f(1), g(2)), rows from (f(1), g(2) as (a int, b text)) with ordinality as x(p, q, r, n), lateral rows from (f(x))
select * from current_date, current_user as u, cast(1 as int) c, coalesce(1, 2), nullif(1, 2) n, greatest(1, 2), current_timestamp(3), f(a => 1), f(variadic array[1])
select * from a tablesample system (10), a as x tablesample bernoulli (5.5) repeatable (42), s.a tablesample s.m(1, 2), only a tablesample system (1)
select * from a left join lateral (select * from b where b.x = a.x) c on true, (a join b on true) as d
select * from a cross join lateral f(a.x) as g(y) join h on h.y = g.y
select * from information_schema.tables t join pg_catalog.pg_class c on c.relname = t.table_name::name
-- SELECT
select distinct a from t
select distinct on (a) a, b from t order by a, c
select distinct on (a, b + 1) * from t
select all a from t
select a from t where a > 1 and b like 'x%' or c is null
select a, count(*) from t group by a having count(*) > 1
select from t group by a, b + 1, (c, d), (e)
select 1 from t group by ()
select 1 from t group by rollup (a, b), cube (c, (d, e)), grouping sets ((), (a), (a, b), rollup (c), cube (d), grouping sets (e, f))
select 1 from t group by distinct a, rollup (b)
select 1 from t group by all a
select 1 from t group by grouping sets (())
select a from t order by a, b asc, c desc, d nulls first, e asc nulls last, f desc nulls first, g using <, h using operator(pg_catalog.>) nulls last, 1, i collate "C", a + b desc
select a from t limit 1
select a from t limit all offset 2
select a from t limit null
select a from t offset 2 limit 1 + 1
select a from t offset 2 rows fetch next 3 rows only
select a from t fetch first row only
select a from t order by a fetch first 3 rows with ties
select a from t order by a offset 1 row fetch first (1 + 2) rows with ties
select a from t limit (select 1) offset $1
select a from t for update
select a from t for no key update of t, u nowait for share of s skip locked for key share
select a from t order by b limit 1 for update skip locked
select a from t for read only
select a into b from t
select a into temp b from t
select a into temporary table s.b from t where c
select a into unlogged b from t
select a into unlogged table b from t group by a
select a into table b from t union select 1
-- Set operations and VALUES
select 1 union select 2
select 1 union all select 2 union select 3 except select 4 intersect all select 5
select 1 union distinct select 2
select 1 except all (select 2 union select 3)
(select 1) union (select 2)
(select 1 order by 1 limit 1) union all (select 2 offset 1) order by 1 desc limit 5 offset 6
(select 1 for update) union all select 2
(with a as (select 1) select * from a) union (with b as (select 2) select * from b)
with a as (select 1) select * from a union select 2 order by 1
((select 1 union select 2) intersect select 3) except (select 4)
values (1), (2) union select 3
table a union all table b
(((select 1)))
values (1)
values (1, 'a'), (2, null), ((select 3), f(4)) order by 1 desc limit 1 offset 1
values ((1, 2), row(3)), (array[1], default)
(values (1) limit 1) union all values (2)
-- WITH
with a as (select 1) select * from a
with a(x, y) as (select 1, 2), b as materialized (select 3), "C" as not materialized (select 4) select * from a, b, "C"
with recursive a(n) as (select 1 union all select n + 1 from a where n < 10) select * from a
with recursive a(n) as (values (1) union select n + 1 from a) search depth first by n set o select * from a
with recursive a(n, m) as (select 1, 2 union all select 3, 4 from a) search breadth first by n, m set o select * from a
with recursive a(n) as (select 1 union all select n from a) cycle n set c using p select * from a
with recursive a(n) as (select 1 union all select n from a) cycle n set c to 'Y' default 'N' using p select * from a
with recursive a(n, m) as (select 1, 2 union all select n, m from a) search depth first by n set o cycle n, m set c to true default false using p select * from a
with recursive a(n) as (select 1 union all select n from a) cycle n set c to date '2020-01-01' default date '2020-01-02' using p select * from a
with recursive a(n) as (select 1 union all select n from a) cycle n set c to numeric(3,1) '1' default char(3) 'x' using p select * from a
with recursive a(n) as (select 1 union all select n from a) cycle n set c to interval '1' day default 7 using p select * from a
with a as (insert into t values (1) returning *), b as (update t set x = 1 returning x), c as (delete from t returning y) select * from a, b, c
with a as (with b as (select 1) select * from b) select * from a
with a as (merge into t using u on true when matched then delete returning t.x) select * from a
with a as (values (1)) insert into t select * from a
with a as (select 1) update t set x = a.x from a
with a as (select 1) delete from t using a where t.x = a.x
with a as (select 1) merge into t using a on true when matched then delete
-- INSERT
insert into t values (1, 'a')
insert into t default values
insert into s.t as x (a, "B") values (1, default), (2, null)
insert into t (a[1], b.c, d[1:2].e) values (1, 2, 3)
insert into t select * from u
insert into t (select 1) union (select 2)
insert into t (a) (select 1)
insert into t (a) with x as (select 1) select * from x
insert into t table u
insert into t overriding user value values (1)
insert into t (a) overriding system value select 1
insert into t values (1) on conflict do nothing
insert into t values (1) on conflict (a) do nothing
insert into t values (1) on conflict (a, lower(b), (c || d)) where e > 1 do update set a = excluded.a, b = t.b + 1 where t.c
insert into t values (1) on conflict (a collate "C" text_ops, b s.op) do nothing
insert into t values (1) on conflict (a asc nulls last, b desc) do nothing
insert into t values (1) on conflict on constraint "K" do update set (a, b) = (select 1, 2), c = default
insert into t values (1) on conflict on constraint k do update set (a, b) = row(excluded.a, default)
insert into t values (1) returning *
insert into t values (1) returning a, b + 1 as c, t.*, (select 1)
insert into t values (1) returning with (old as o, new as n) o.a, n.*
insert into t values (1) returning with (new as n) n.a
insert into t values (1) returning old.a, new.b
-- UPDATE and DELETE
update t set a = 1
update only t set a = default
update s.t as x set a = x.a + 1, b = null where c returning *
update t x set (a, b) = (1, 2), c = 3, (d, e) = row(4, default), (f) = (5), (g) = row(6), (h, i) = (select 1, 2)
update t set (a, b) = (select x, y from u where u.z = t.z), (c, d) = f(1)
update t set a[1] = 1, a[2:3] = '{1,2}', b.c = 2, b.d[1].e = 3, (a[4], b.f) = (5, 6)
update t set a = u.a from u join v using (x), lateral (select 1) w where t.y = u.y
update t set a = 1 where current of c
update t set a = (select max(b) from u) where exists (select 1 from v where v.x = t.x) returning a as "Old", b
update t set a = 1 returning with (old as before) before.a, t.a
delete from t
delete from only s.t as x where x.a = 1
delete from t using u, v join w on true where t.a = u.a returning t.*, u.b
delete from t where current of "C"
delete from t where (a, b) in (select c, d from u) returning 1
-- MERGE
merge into t using u on t.a = u.a when matched then update set b = u.b when not matched then insert (a, b) values (u.a, u.b)
merge into only s.t as x using (select 1 as a) as y on x.a = y.a when matched and x.b > 1 then delete when matched then do nothing
merge into t using u on true when not matched by source then delete when not matched by target and u.x then insert default values when not matched by source and t.y then update set a = default
merge into t using (u join v on u.x = v.x) on t.a = u.a when not matched then insert values (1, default)
merge into t using (u join v using (x)) as j on t.a = j.a when not matched then insert (a, b[1]) overriding user value values (1, 2)
merge into t using f(1) as y on t.a = y.a when matched then update set (a, b) = (1, 2), c = 3
merge into t using u on t.a = u.a when not matched then insert overriding system value values (1)
merge into t using u on t.a = u.a when matched then do nothing when not matched then do nothing
merge into t using u on t.a = u.a when matched then delete returning merge_action(), t.*, u.b as c
merge into t using u on t.a = u.a when matched then update set a = 1 returning with (old as o) o.a
with x as (select 1 a) merge into t using x on t.a = x.a when matched then delete
-- EXPLAIN
explain select 1
explain analyze select 1
explain verbose select 1
explain analyze verbose update t set a = 1
explain (analyze, verbose, costs off, settings on, buffers true, wal false, timing, summary, format json) select 1
explain (format yaml, analyze 1, "X" 'y', serialize text) delete from t
explain insert into t values (1)
explain merge into t using u on true when matched then delete
explain declare c cursor for select 1
explain create table t as select 1
explain execute p(1)
-- PREPARE, EXECUTE, DECLARE
prepare p as select 1
prepare "P" (int, text[], s.t, numeric(3, 1), timestamp with time zone) as select $1, $2
prepare p (int) as insert into t values ($1) returning *
prepare p as update t set a = $1
prepare p as delete from t
prepare p as merge into t using u on true when matched then delete
execute p
execute p (1, 'a', $1, a + 1)
declare c cursor for select 1
declare "C" binary cursor for table t
declare c scroll cursor for select 1
declare c no scroll cursor without hold for values (1)
declare c insensitive cursor with hold for select 1 order by 1
declare c asensitive no scroll cursor for with a as (select 1) select * from a
declare c binary insensitive scroll cursor with hold for select 1 for update
-- COPY
copy t to stdout
copy s.t (a, "B") to stdout
copy t from stdin
copy t (a) from stdin where a > 1 and b
copy (select 1) to stdout
copy (values (1)) to stdout with (format csv)
copy (with a as (select 1) select * from a) to stdout
copy (insert into t values (1) returning *) to stdout
copy (update t set a = 1 returning a) to stdout
copy (delete from t returning a) to stdout
copy t to stdout with (format csv, header, delimiter ',', quote '"', escape '\', null '', force_quote *, encoding 'utf8')
copy t to stdout (format csv, header true, force_quote (a, "B"))
copy t from stdin with (format csv, header match, force_not_null (a, b), force_null (c), freeze off, on_error ignore, reject_limit 5, default 'x', log_verbosity verbose)
copy t to stdout csv header
copy t to stdout with csv header quote as '"' escape '\' force quote a, b
copy t to stdout csv force quote *
copy t from stdin delimiter as ',' null as 'x'
copy t from stdin with csv force not null a force null b freeze encoding 'latin1'
copy t from stdin binary
copy binary t to stdout
copy t to stdout using delimiters '|'
copy t to stdout with (x 1.5, y -3, z 'w')
-- CREATE TABLE AS
create table t as select 1
create table s.t (a, "B") as select 1, 2
create temp table t as table u
create local temporary table t on commit drop as select 1
create temp table t on commit delete rows as select 1
create temporary table t on commit preserve rows as values (1)
create unlogged table t as select 1 with no data
create table if not exists t as select 1 with data
create table t using heap with (fillfactor = 70, autovacuum_enabled = off, toast.autovacuum_enabled = false, user_catalog_table) tablespace ts as select 1
create table t with (a = 'x', b = 1.5, c = -2, d = none, e = on) as select 1
create table t without oids as select 1
create table t as execute p
create table t as execute p(1, 'a') with no data
create table t as (select 1) union (select 2)
create table t as with a as (select 1) select * from a with no data
-- XML
select xmlelement(name a), xmlelement(name "A b", xmlattributes(a, b as c, d || e as "F")), xmlelement(name a, b, 'c'), xmlelement(name a, xmlattributes(b), c, xmlelement(name d))
select xmlforest(a, b as c, d + 1 as e), xmlconcat(a), xmlconcat(a, b, c), xmlpi(name a), xmlpi(name "php", 'echo'), xmlagg(a order by b)
select xmlparse(document a), xmlparse(content a || b), xmlparse(document a preserve whitespace), xmlparse(content a strip whitespace)
select xmlroot(a, version '1.0'), xmlroot(a, version no value), xmlroot(a, version b, standalone yes), xmlroot(a, version b, standalone no), xmlroot(a, version no value, standalone no value)
select xmlserialize(content a as text), xmlserialize(document a as varchar(10)), xmlserialize(content a as s.t indent), xmlserialize(document a as text no indent)
select a is document, a is not document, xmlparse(document a) is document
select * from xmltable('/r' passing a columns b int)
select * from xmltable(xmlnamespaces('x' as y, 'z' as "Z"), ('/r/' || x) passing by ref a columns b int path '@b', c text default 'd' not null, e for ordinality, f numeric(3, 1) path 'g' default 1 + 1 null) as t(p, q)
select * from xmltable(xmlnamespaces(default 'x'), f(a) passing by value b by ref columns c xml path d) x, lateral xmltable('a' passing x.c columns e text)
select * from xmlforest(1 as a), xmlelement(name b) as c
-- SQL/JSON
select json_object(), json_object(returning jsonb), json_object('a': 1), json_object('a' value 1, b: c, (d + e) value f), json_object('a' value 1)
select json_object('a': b absent on null), json_object('a': b null on null), json_object('a': b with unique keys), json_object('a': b absent on null with unique returning text format json encoding utf8), json_object('a': b format json), json_object('a': b without unique keys)
select json_object(a, b), json_object('{a,b}'), json_array(), json_array(returning text), json_array(1, 2, 'x'), json_array(a format json, b null on null returning jsonb), json_array(a absent on null)
select json_array(select 1), json_array(select a from t order by b returning jsonb), json_array(values (1), (2) format json), json_array(with x as (select 1) select * from x)
select json_objectagg(a: b), json_objectagg(a value b absent on null with unique returning jsonb), json_objectagg(a: b) filter (where c), json_objectagg(a: b) over (partition by c), json_objectagg(a: b null on null without unique)
select json_arrayagg(a), json_arrayagg(a order by b desc), json_arrayagg(a null on null returning jsonb), json_arrayagg(a format json order by b, c absent on null) filter (where d) over w from t window w as ()
select a is json, a is json value, a is json scalar, a is json array, a is json object, a is not json, a is json with unique keys, a is json object with unique, a is not json array without unique keys, (a || b) is json
select json('x'), json(a format json encoding utf8), json(a with unique keys), json(a without unique), json_scalar(1), json_scalar(a + b), json_serialize(a), json_serialize(a returning bytea), json_serialize(a format json returning text)
select json_value(a, '$'), json_value(a, '$.x' returning int), json_value(a, b || c), json_value(a format json, '$' passing 1 as x, b + 1 as "Y"), json_value(a, '$' default 1 on empty), json_value(a, '$' null on empty error on error), json_value(a, '$' returning numeric(3, 1) default b + 1 on empty default -1 on error)
select json_query(a, '$'), json_query(a, '$' returning jsonb format json), json_query(a, '$' with wrapper), json_query(a, '$' without wrapper), json_query(a, '$' without array wrapper keep quotes), json_query(a, '$' with conditional wrapper), json_query(a, '$' with unconditional array wrapper), json_query(a, '$' omit quotes on scalar string)
select json_query(a, '$' empty on empty), json_query(a, '$' empty array on empty empty object on error), json_query(a, '$' default '[]' on error), json_query(a, '$' error on empty null on error)
select json_exists(a, '$.x'), json_exists(a, '$' true on error), json_exists(a, '$' false on error), json_exists(a, '$' unknown on error), json_exists(a, '$' passing b as c error on error)
select * from json_table(a, '$' columns (b int))
select * from json_table(a, '$[*]' as p passing b as c, 1 as "D" columns (n for ordinality, x int path '$.x', y text path '$.y' default 'z' on empty error on error, "Z" jsonb format json path '$' with wrapper, q text omit quotes)) as t(i, j)
select * from t, lateral json_table(t.a, '$' columns (e int exists, f bool exists path '$.f' true on error, g json format json encoding utf8 keep quotes, nested path '$.h' as h columns (i int, nested '$.j' columns (k text))) empty array on error) x
select * from json_table(a, '$' columns (b int exists path '$' unknown on error, c text without wrapper null on empty null on error) error on error) x
select * from json_array(1) a, json_value('1', '$') b, json('1') c, json_scalar(1) d, json_object('a': 1) with ordinality
-- Real questions
select n.nspname as "Schema", c.relname as "Name", case c.relkind when 'r' then 'table' when 'v' then 'view' end as "Type", pg_catalog.pg_get_userbyid(c.relowner) as "Owner" from pg_catalog.pg_class c left join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', '') and n.nspname <> 'pg_catalog' and n.nspname !~ '^pg_toast' and pg_catalog.pg_table_is_visible(c.oid) order by 1, 2
select c.oid::pg_catalog.regclass from pg_catalog.pg_class c, pg_catalog.pg_inherits i where c.oid = i.inhparent and i.inhrelid = '16385' order by inhseqno
select date_trunc('month', o.paid_on) as month, sum(o.total) as total, sum(sum(o.total)) over (order by date_trunc('month', o.paid_on)) as running from orders o where o.paid_on >= current_date - interval '1 year' group by 1 having sum(o.total) > 0 order by month desc nulls last limit 12
with ranked as (select c.*, row_number() over (partition by c.country order by c.created_at desc) as place from customers c), top as (select * from ranked where place <= 3) select country, json_agg(json_build_object('id', id, 'name', name) order by place) from top group by country
select percentile_disc(array[0.25, 0.5, 0.75]) within group (order by total) from orders where status = any (array['paid', 'open']::text[]) and (note ->> 'kind') is not null
select distinct on (c.id) c.id, o.total from customers c cross join lateral (select total from orders where orders.customer_id = c.id order by total desc limit 3) o order by c.id, o.total desc
select coalesce(nullif(trim(both ' ' from name), ''), 'nobody') || ' <' || lower(email) || '>' from customers where email ilike '%@example.org' escape '\' and created_at between symmetric '2020-01-01' and '2021-01-01'
update accounts a set balance = a.balance + d.amount from (select account_id, sum(amount) as amount from deposits group by account_id) d where d.account_id = a.id returning a.id, a.balance
insert into counters (name, n) select name, count(*) from events group by name on conflict (name) do update set n = counters.n + excluded.n where counters.n < 1000 returning name, n, xmax = 0 as fresh
delete from sessions s using users u where u.id = s.user_id and u.disabled and s.seen < now() - interval '30' day returning s.id
-- Odds and ends
select 1;
select 'a' from t where false
select all 1, 2 where true
select a from t where (((a)))
select (a), ((a)), (((1))), (((a + b))), (((select 1)))
select a.*, count(*) over () from a where a is not null
select not a = b, not (a, b) = (c, d), not a is null, not exists (select 1), not a in (1)
select (a = b) = c from (select true, true, true) as x(a, b, c) where (a = b) = c
select a or b and not c or not (d and e) where a and (b or c and (d or e))
select -a ^ 2, (-a) ^ 2, -(a ^ 2), 2 ^ 3 ^ 4, 2 ^ (3 ^ 4), 1 - 2 - 3, 1 - (2 - 3), 8 / 4 / 2, 8 / (4 / 2)
select a || b like c || d, (a like b) like c, a < b is true, a || b collate "C"
select a + interval '1 day' - date '2020-01-01', a at time zone 'x' + b, (a at time zone 'x')::date
select a between b and c and d, a between (b and c) and d, not a between b and c, a between b and c is true
select a in (1, 2) = b in (3, 4), (a in (1)) is not true, a not in (select b from c where d not in (select e))
select x::int + y::int, -x::int, (-x)::int, x::int::text, (x)::int, (x::int[])[1], x::int[] || y
select 'a'::text || 'b', 'a' || 'b'::text, ('a' || 'b')::text, cast('a' as text) collate "C"
select count(*) filter (where not a), max(distinct a) filter (where b in (1, 2)), sum(case when a then 1 else 0 end)
select row_number() over w1, rank() over w2 from t window w1 as (partition by a), w2 as (w1 order by b rows between 2 preceding and 2 following)
select first_value(a) over (partition by b order by c desc, d asc nulls first range between '1 month'::interval preceding and interval '1 day' following exclude current row) from t
select f(variadic "Array" => array[1]), f(a, "B" => 2, c => (select 1)), f(distinct a, b), f(a, b order by c, d desc)
select exists (select from t), array(select array(select 1)), (select array[a, b] from t)[1], (select row(1, 2)).f1
select case a when b then c end || 'x', case when a in (1, 2) then 'y' else (select 'z') end::text, case a::int when $1 then $2 end
select * from a as "A" (x, "Y"), (select 1) as "S" ("q"), f() as "F" ("g"), (a join b on true) as "J"
select * from a join b on a.x = b.x and a.y = b.y left join (c join d using (z) cross join e) on c.w = a.w where a.x is not null
select * from a natural right join (b natural join c)
select * from a full join b on false, c right join d on true join e on false
select * from ((a join b on true) join c on true) join d on true
select * from (((a cross join b) cross join c) cross join d) as x
select * from (select * from (select * from (select 1 as a) x) y) z where z.a = 1
select * from a, lateral f(a.x) with ordinality as g(y, n), lateral (select g.y + n) h(s) where h.s > 1
select * from generate_series(1, 10) i, generate_series(i, 10, 2) as j(k) where i = any (array[1, 2])
select * from pg_catalog.pg_settings where name = 'search_path'
select * from s.f(1) where exists (table t)
select 1 from a group by a.x, (a.y), (a.z, a.w), rollup (a.x), () having a.x > 1 and count(*) > 2 order by count(*) desc
select a, b, grouping(a, b), sum(c) from t group by cube (a, b) order by grouping(a, b), a nulls first
select 1 union select 2 union select 3 order by 1
select 1 union (select 2 union select 3) order by 1
(select 1 union select 2) except (select 3 limit 1) intersect select 4
select a from t union all select b from u where c group by b having true window w as () order by 1 limit 1
values (1, 2) except values (3, 4) order by 1
with a as (select 1), b as (select * from a union all select * from a) select (with c as (select * from b) select count(*) from c)
with recursive t(a, b) as (select 1, array[1] union all select a + 1, b || a from t where a < 5) select a, b[1] from t where not a = any (b[2:])
insert into t (a, b) select a, b from u on conflict do nothing returning a
insert into t (a) values ((select max(a) from t)), (default), (1 + 2), ((array[1])[1])
insert into t with a as (select 1) select * from a union all select 2 order by 1 limit 1
update t set a = b, b = a where a is distinct from b returning t
update t as x set a = (x).b.c, d = x.d || 'e', f = array_append(f, 1) from only u as y (p, q) where y.p = x.a
delete from t as x using (select 1 as a) as y where x.a = y.a and not exists (select 1 from z where z.a = x.a)
explain (analyze) with a as (delete from t returning *) select * from a
prepare p (json, "char", bit(3), interval day to second(3)) as values ($1, $2, $3, $4)
declare c cursor for (select 1) union (select 2) for update
copy (select a, 'it''s \ "x"' from t where b like '%\_%') to stdout (delimiter '|', null 'NULL')
create table t as values (1, 'a'), (2, 'b')
create temporary table if not exists "T" as select * from u where v = $1
