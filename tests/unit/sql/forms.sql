-- One statement a line. test_origins.py compares what is predicted of their columns with the server.
select email from clients
select * from clients
table clients
select c.* from clients c
select clients.email from public.clients
select public.clients.email from public.clients
select facts.public.clients.email from clients
select email as name from clients
select email e, email e2, name from clients
select x.b from (select id a, email b from clients) x
select q3 from clients as t(q1, q2, q3)
with w(a, b) as (select id, ssn from clients) select b from w
with a as (select * from clients), b as (select * from a), c as (select * from b) select * from c
select name from (select id, ssn as name from clients) clients
select j.y from (clients c join orders o on o.client_id = c.id) as j(x, n, y)
select upper(email) from clients
select email || '' from clients
select email::text from clients
select email::varchar(20) from clients
select ssn::varchar(11), ssn::varchar, ssn::varchar(5), ssn::text, ssn::text::text, email::pg_catalog.text from clients
select id::int4, id::int, id::bigint, tier::integer, country::country_code, country::text, home::address from clients
select total::numeric(10,2), total::numeric, total::numeric(10,1) from orders
select x.e::text from (select email as e from clients) x
select (c).email::text from clients c
select email::text as e from clients
select tags::text[], tags::text[]::text[] from clients
select profile::jsonb, profile::json from clients
select paid_on::date, paid_on::timestamp from payments
select mail::text from v_clients
select name(c), tier(c) from clients c
select cast(email as text) from clients
select email collate "C" from clients
select coalesce(email, 'x') from clients
select case when true then email end from clients
select case when true then 'a' else email end from clients
select array[email] from clients
select (array[email])[1] from clients
select row(email) from clients
select row(c.*) from clients c
select (select email from clients where id = 1)
select (select email e from clients where id = 1)
select nullif(email, '') from clients
select greatest(email, ''), least(email, 'x') from clients
select c from clients c
select clients from clients
select row_to_json(c) from clients c
select c::text from clients c
select to_jsonb(c)->>'email' from clients c
select (c).email from clients c
select (c.*).email from clients c
select (c).* from clients c
select (clients).name from clients
select min(email) from clients
select string_agg(email, ',') from clients
select count(*) from clients
select count(distinct email) from clients
select lag(email) over (order by id) from clients
select distinct email from clients
select distinct on (id) email, id from clients
select email from clients group by email
select email, count(*) from clients group by 1
select id, email from clients group by id
select name from clients union select email from clients
select name from clients union all select email from clients
select email from clients intersect select email from clients
select email from clients except select ''
values (1, 'a'), (2, 'b')
values ((select email from clients limit 1))
select * from (values (1, 'a')) v
select * from (values (1, 'a')) v(x, y)
select o.id, c.email from orders o join clients c on c.id = o.client_id
select (select c.email from clients c where c.id = o.client_id) from orders o
select * from orders o join clients c using (id)
select id from orders o join clients c using (id)
select id from orders o left join clients c using (id)
select id from orders o right join clients c using (id)
select id from orders o full join clients c using (id)
select * from orders natural join (select id, email from clients) x
select id from big_orders join orders using (id)
select id from orders join big_orders using (id)
select id from orders left join big_orders using (id)
select id from orders right join big_orders using (id)
select client_id from big_orders left join orders using (client_id)
select ssn from clients join big_orders using (ssn)
select note from orders join big_orders using (note)
select note from big_orders join orders using (note)
select note from big_orders left join orders using (note)
select j.id from orders join clients using (id) as j
select x.* from (orders join clients using (id)) x
select * from orders cross join clients
select a.id, b.id from orders a, orders b
select * from (orders a join orders b on a.id = b.id) join clients c on c.id = a.id
select id from (orders join clients using (id)) join big_orders using (id)
select array(select email from clients)
select e.m from orders o cross join lateral (select email m from clients where id = o.client_id) e
select l.z from orders o, lateral (select c.email z from clients c where c.id = o.client_id offset 0) l
select x.* from clients c cross join lateral (select c.*) x
select x.y from clients c cross join lateral (select c.email as y) x
select s.email from clients s tablesample system (100)
select profile->>'a' from clients
select profile from clients
select profile['a'] from clients
select tags[1] from clients
select tags[1:2] from clients
select unnest(tags) from clients
select home from clients
select (home).street from clients
select (c.home).city from clients c
select (home).* from clients
select key, value from clients, jsonb_each(profile)
select * from jsonb_each('{"a": 1}')
select jsonb_each('{"a": 1}')
select email_key from clients
select mail from v_clients
select * from v_clients
select handle, name, mail from v_deep
select * from v_deep
select v from v_clients v
select * from v_union
select * from v_distinct
select * from v_cte
select * from v_star
select * from v_filtered
select address, n from mv_clients
select pan from payments
select pan from payments_2024
select * from payments
select tableoid, nickname from people
select * from only people
select * from people*
select diagnosis, nickname from patients
select ctid, xmin, email from clients
select tableoid::regclass from clients
select "Sécret", "select" from "Odd Table"
select "odd"."Sécret" from "Odd Table" odd
select ssn, salary from clients, hr.staff where false
select s.email from hr.staff s
select staff.salary from hr.staff
select hr.staff.salary from hr.staff
with recursive a as (select email from clients) select * from a
with recursive b as (select * from a), a as (select email from clients) select * from b
with c as materialized (select id, email from clients) select email from c where id = 1
with clients as (select id, ssn as name from public.clients) select name from clients
select a.c from (table clients) as a(a, b, c)
select email from clients order by email
select email as x from clients order by x
select id, email from clients order by 2
select email from clients limit 1 offset 1
select email from clients for update
select email from clients where id = any(array[1, 2])
select email from clients where exists (select 1)
select exists (select email from clients)
select id in (select id from orders) from clients
select not true, true and false, 1 = 1, null
select 1, 1.5, 'a', null, true, 1 as one
select 'a'::text, 1::int8, date '2024-01-01', interval '1 day'
select current_date, current_timestamp, current_user, current_timestamp(2), localtime
select extract(year from current_date), position('a' in 'b'), substring('abc' from 1), trim('a')
select date_trunc('month', current_date), now()
select generate_series(1, 3)
select * from generate_series(1, 3)
select * from generate_series(1, 3) g
select g from generate_series(1, 3) g
select g.g from generate_series(1, 3) g
select x from generate_series(1, 3) g(x)
select * from generate_series(1, 3) with ordinality
select * from generate_series(1, 3) with ordinality as t(a, b)
select * from unnest(array[1, 2])
select * from unnest(array[1, 2], array['a']) as t(a, b)
select t from clients, unnest(tags) t
select * from json_to_record('{"a": 1}') as x(a int, b text)
select x.a from clients, jsonb_to_record(profile) as x(a jsonb)
select * from now()
select * from current_date
select version(), pg_typeof(1), current_schema()
select grouping(name), name from clients group by rollup (name)
select name, count(*) filter (where tier > 1) from clients group by cube (name)
select rank() over w from clients window w as (partition by tier order by id)
select percentile_cont(0.5) within group (order by tier) from clients
select email from (select email from clients order by id) s
select email from (select distinct email from clients) s
select email from (select email, row_number() over (order by id) rn from clients) s where rn = 1
select email from (select email from clients union all select note from orders) s
select s.email from (select * from (select * from clients) a) s
select c.email from clients c where c.id in (select client_id from orders)
select (c.email) from clients c
select ((email)) from clients
select -id, +id, @ -1, id + 1 from clients
select id between 1 and 2, email like 'a%', email is null from clients
select client_email(1)
select full_contact(c) from clients c
select c.full_contact from clients c
select email(c) from clients c
select * from all_clients()
select f.email from all_clients() f
select o.id from orders o join lateral (select 1 as one) x on true
select * from (select 1 as a) x, (select 2 as b) y
select * from (select 1 as a) x natural join (select 1 as a) y
select json_build_object('a', email) from clients
select xmin from clients
select c.ctid from clients c
select
select from clients
select nspname from pg_namespace
select c.relname, n.nspname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
select table_name from information_schema.tables
select * from pg_catalog.pg_tables
insert into events (kind) values ('a') returning id, kind
insert into events (kind) values ('a') returning *
insert into events (kind) select email from clients returning kind, upper(kind)
insert into events as e (kind) values ('a') on conflict (id) do update set kind = excluded.kind returning e.kind
update clients set tier = 2 where id = 1 returning email, tier + 1
update clients c set tier = 2 from orders o where o.client_id = c.id returning c.email, o.note
update clients set tier = 2 where id = 1 returning *
update v_clients set tier = 2 where id = 1 returning mail
delete from events where id = 1 returning *
delete from events e using orders o where o.id = e.id returning e.kind, o.note
with u as (update clients set tier = 1 where id = 1 returning *) select email from u
with d as (delete from events where id = 1 returning kind as k) select k, upper(k) from d
show search_path
show server_version
show timezone
show datestyle
explain select email from clients
with recursive r(n) as (select 1 union all select n + 1 from r where n < 3) select n from r
with recursive r as (select id, name, boss from hr.staff where boss is null union all select s.id, s.name, s.boss from hr.staff s join r on s.boss = r.id) select * from r
with recursive r(n) as (select 1 union all select n + 1 from r where n < 3) search depth first by n set o select * from r
with recursive r(n) as (select 1 union all select n + 1 from r where n < 3) cycle n set c using p select * from r
select * from rows from (generate_series(1, 2), generate_series(1, 3)) as t(a, b)
