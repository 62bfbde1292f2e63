-- One statement a line, without tables, the same whenever it runs. test_deparse_server.py runs each
-- as it stands and as it is printed.
select 1, -1, - 1, -(-1), 1.5, -.5, 1e3, 2147483648, -2147483648, -9223372036854775808
select 'a''b', 'a\b', E'\ta\\b', U&'\0041', $$x$$, '', null, true, false, b'101', x'1f'
select 1 + 2 * 3 - 4 / 2 % 3, (1 + 2) * 3, -2 ^ 2, (-2) ^ 2, 2 ^ 3 ^ 2, 10 - 4 - 3, 10 - (4 - 3)
select 1 < 2 and 2 < 3 or not true, not (true and false), true or true and false, not true or true
select 'abc' like 'a%', 'a%c' like 'a!%c' escape '!', 'ABC' ilike 'a_c', 'abc' not like 'b%'
select 'abc' similar to '(a|b)%', 'a%' similar to 'a!%' escape '!', 'abc' not similar to 'b'
select 2 between 1 and 3, 2 not between 1 and 3, 2 between symmetric 3 and 1, 5 in (1, 5), 5 not in (1, 5)
select null is null, (1, null) is not null, 1 is distinct from null, null is not distinct from null, nullif(1, 1), nullif(1, 2)
select true is true, null::bool is unknown, false is not true, (1 = 1) is not false
select 1 = any (array[1, 2]), 3 <> all ('{1,2}'::int[]), 1 = any (select 1), 'a' like any (array['a%', 'b'])
select '7'::int, cast('7' as numeric(5, 2)), '1.255'::numeric(3, 2), 'abc'::varchar(2), 'abc'::char(5), 'abc'::"char", 5::bit(4), '101'::bit(5), 1::text || 'x'
select interval '1' day, interval '1-2' year to month, '1 day 02:03:04.567'::interval second(1), '1 day 2 hours'::interval day, interval(0) '1.7 seconds', '1 2:03'::interval day to minute
select '2020-01-02 03:04:05.678'::timestamp(1), time '10:11:12', date '2020-02-29' + 1, timestamp '2020-01-01' - interval '1' month
select extract(year from date '2020-03-04'), extract(epoch from interval '1' hour), date_part('dow', date '2020-03-04')
select substring('abcdef' from 2 for 3), substring('abcdef' from 3), substring('abcdef' for 2), substring('foobar' from 'o(.)b'), substring('foobar' similar '%#"o_b#"%' escape '#')
select overlay('abcdef' placing 'XX' from 2 for 3), overlay('abc' placing 'Y' from 1), position('c' in 'abcd'), strpos('abc', 'b')
select trim('  a '), trim(both 'x' from 'xxaxx'), trim(leading 'x' from 'xxa'), trim(trailing from 'a  '), trim('xay', 'xy'), btrim(' a ')
select normalize(U&'a\0308', nfc), U&'\00e4' is normalized, U&'a\0308' is not nfc normalized, collation for ('a'::text), collation for ('a' collate "C")
select timestamp '2020-01-01 00:00' at time zone 'utc' at time zone 'Asia/Tokyo', (date '2020-01-01', date '2020-02-01') overlaps (date '2020-01-15', interval '1' month)
select coalesce(null, 1), greatest(1, 3, 2), least('b', 'a'), case 2 when 1 then 'a' when 2 then 'b' else 'c' end, case when false then 1 end
select row(1, 'a'), (1, 2) < (1, 3), row(1, null) is null, (row(1, 2)).f1, array[1, 2] || 3, (array[[1, 2], [3, 4]])[2][1], (array[1, 2, 3, 4])[2:3], (array[1, 2, 3])[:2], ('{5,6}'::int[])[2]
select count(*), sum(a), array_agg(a order by a desc), array_agg(distinct b), string_agg(b, ',' order by a using >), count(*) filter (where a > 1) from (values (1, 'x'), (2, 'y'), (3, 'x')) v(a, b)
select percentile_cont(0.5) within group (order by a), mode() within group (order by a desc), rank(2) within group (order by a) from generate_series(1, 4) a
select a, sum(a) over w, sum(a) over (w rows 1 preceding), sum(a) over (order by a rows between 1 preceding and 1 following exclude current row), count(*) over (order by a desc groups between current row and 1 following), lag(a, 1, 0) over w from generate_series(1, 5) a window w as (order by a)
select a, b, grouping(a, b), count(*) from (values (1, 2), (1, 3), (2, 2)) v(a, b) group by grouping sets ((), rollup (a, b), cube (b)) order by a nulls first, b nulls last, 3
select distinct on (a) a, b from (values (1, 2), (1, 1), (2, 5)) v(a, b) order by a, b desc
select a from generate_series(1, 10) a order by a % 3, a desc offset 1 limit 4
select a from (values (1), (1), (2)) v(a) order by a fetch first 1 row with ties
select 1 union all select 2 except select 1 intersect select 1 order by 1
(select 3 order by 1 limit 1) union all (select 2 union select 1) order by 1 desc
values (1, 'a'), (2, null) order by 1 desc
with recursive t(n) as (select 1 union all select n + 1 from t where n < 5), u as materialized (select n * 2 as m from t) select n, m from t left join u on m = n order by n
with recursive t(n) as (select 1 union all select n % 3 + 1 from t) cycle n set c to 'Y' default 'N' using p select n, c, p from t
with recursive t(n) as (select 1 union all select n + 1 from t where n < 3) search depth first by n set o select n, o from t order by o
select * from (values (1, 'a')) a(x, y) natural full join (values (1, 'b')) b(x, z) cross join lateral (select a.x + 1) c(w) left join (values (2)) d(w) using (w)
select * from (values (1), (2)) a(x) join (values (2), (3)) b(x) using (x) right join ((values (2)) c(x) cross join (values (9)) d(v)) on c.x = a.x
select j.* from ((values (1, 2)) a(x, y) join (values (1, 3)) b(x, z) using (x)) as j(p, q, r)
select * from rows from (generate_series(1, 2), unnest(array['a', 'b', 'c'])) with ordinality as f(a, b, n)
select * from json_to_recordset('[{"a": 1, "b": "x"}]') as r(a int, b text)
select * from unnest(array[3, 1], array['a']) with ordinality u(x, y, n)
select * from current_schema(), coalesce(1, 2) c, cast('5' as int) as d
select exists (select 1 where false), array(select a from generate_series(1, 3) a order by 1 desc), (select 7), 1 in (select 1), (1, 2) in (select 1, 2), not 1 in (select 2)
select make_interval(days => 3, hours => 2), format('%s-%s', variadic array['a', 'b']), concat_ws(',', 'a', null, 'b')
select ('{"a": {"b": [1, 2]}}'::jsonb)['a']['b'][1], '{"a": 1}'::json ->> 'a', '{"a": 1}'::jsonb @> '{}', '[1]'::jsonb #> '{0}', '{"a":1}'::jsonb ? 'a'
select * from xmltable('/r/i' passing '<r><i a="1">x</i><i>y</i></r>' columns n for ordinality, a int path '@a' default 7, t text path '.')
select xmlelement(name "A b", xmlattributes(1 as x, 'q' as "Y"), 'c', xmlforest(2 as z)), xmlconcat('<a/>', '<b/>'), xmlpi(name php, 'x'), xmlroot(xml '<a/>', version '1.1', standalone yes), xmlserialize(content xml '<a/>' as text), xmlparse(content 'a'), xml '<a/>' is document, xmlexists('/a' passing xml '<a/>')
select 1 operator(pg_catalog.+) 2 operator(pg_catalog.*) 3, operator(pg_catalog.-) 5, @ -5, |/ 16, ~ 1, 5 # 3, !! 'a'::tsquery
select 'B' < 'a' collate "C", 'a' || 'b' collate "C", 'a'::text collate pg_catalog."default"
