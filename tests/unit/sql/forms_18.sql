-- Likewise, what only PostgreSQL 18 understands.
update clients set tier = 2 where id = 1 returning old.tier, new.email
merge into orders o using clients c on c.id = o.client_id when matched then update set note = 'x' returning o.note, c.email, merge_action()
merge into orders o using clients c on c.id = o.client_id when matched then do nothing returning *
select json_value('{"a": 1}', '$.a'), json_query('{}', '$'), json_exists('{}', '$.a')
select json_scalar(1), json_object('a': 1), json_array(1, 2), json('{}'), json_serialize('{}')
select * from json_table('[{"a": 1}]', '$[*]' columns (a int path '$.a', n for ordinality, nested path '$.b' columns (z text path '$.z'))) t
