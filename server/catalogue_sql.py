"""The catalogue's SQL: PostgreSQL 13 to 18, one statement a question.

Rules: each statement runs with the search path below, so that no table, function or operator of a tenant's comes in
between (written-out schemas would leave the operators open), and so that types and views are told with their schemas.
The lists take no lock on a table: one that is being rewritten must not hold them up, so sizes are the planner's
(`relpages`), not the disk's. A description waits for its table, for Postgres writes out defaults under a lock.
A login is shown what it may read. Partitions are part of their table: they are not listed, but can be described.
"""

from typing import Final

SEARCH_PATH: Final = "pg_catalog, pg_temp"
"""pg_temp is always searched, and first unless it is named."""

_OF_USERS: Final = "n.nspname <> 'information_schema' AND NOT starts_with(n.nspname::text, 'pg_')"
_NEAR: Final = """
    c.relnamespace <> 'pg_catalog'::regnamespace AND c.relnamespace <> 'pg_toast'::regnamespace
    AND c.relnamespace <> (SELECT COALESCE(to_regnamespace('information_schema')::oid, 0))"""
_RELATION: Final = "c.relkind IN ('r', 'p', 'v', 'm', 'f')"
_SELECTABLE: Final = "(has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'))"
_READABLE: Final = f"has_schema_privilege(n.oid, 'USAGE') AND {_SELECTABLE}"
_KIND: Final = """
    CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                   WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' END"""
# A table without an ANALYZE has -1 rows, or 0 up to version 13; the statistics may know better then.
_ROWS_OF: Final = """
    CASE WHEN {0}.reltuples > 0 THEN {0}.reltuples::bigint
         ELSE COALESCE(NULLIF(pg_stat_get_live_tuples({0}.oid), 0), CASE WHEN {0}.reltuples = 0 THEN 0 END) END"""
_TOAST_PAGES: Final = "(SELECT t.relpages FROM pg_class AS t WHERE t.oid = {0}.reltoastrelid)"
_PAGES_OF: Final = f"""
    {{0}}.relpages + COALESCE({_TOAST_PAGES}, 0)
    + COALESCE((SELECT sum(x.relpages) FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
                 WHERE i.indrelid = {{0}}.oid), 0)"""  # noqa: S608 - constants of this file
# What a partitioned table holds is in its partitions, and theirs.
_SIZE: Final = f"""
    LATERAL (
        SELECT sum({_ROWS_OF.format("p")})::bigint AS rows,
               NULLIF(current_setting('block_size')::bigint * sum({_PAGES_OF.format("p")}), 0)::bigint AS bytes
          FROM pg_class AS p
         WHERE p.relkind NOT IN ('p', 'v') AND p.oid = ANY (CASE WHEN c.relkind <> 'p' THEN ARRAY[c.oid] ELSE ARRAY(
                   WITH RECURSIVE parts AS (
                       SELECT c.oid AS part UNION ALL
                       SELECT h.inhrelid FROM parts JOIN pg_inherits AS h ON h.inhparent = parts.part
                   ) SELECT part FROM parts) END)
    ) AS size"""  # noqa: S608 - constants of this file
# An array has each part looked up: a join reads all of pg_class, where most tables are their only part.

_DEFAULT: Final = """
    (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef AS d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum)"""
_FIRST_OID: Final = 10000
"""Types of Postgres's own with a smaller number are written into its source, and none of those is an enum."""

_COMMENT: Final = """
    (SELECT d.description FROM pg_description AS d
      WHERE d.objoid = {0}.oid AND d.classoid = '{1}'::regclass AND d.objsubid = 0)"""
"""What obj_description says, which Postgres runs as a statement of its own for each row: three times as slow."""
_FIRST_OF_USERS: Final = 16384
"""Objects with a smaller number came with the database, or were made in single-user mode."""
_COMMENTED: Final = f"""
    (SELECT EXISTS (SELECT FROM pg_description AS d
                     WHERE d.objoid >= {_FIRST_OF_USERS} AND d.classoid = 'pg_class'::regclass))"""  # noqa: S608 - as above
"""Whether there is a comment on any table or column of a user's: where not, none has to be looked up."""

_COLUMNS_OF: Final = """(
    SELECT json_agg(a.attname ORDER BY u.place) FROM unnest(k.{0}) WITH ORDINALITY AS u(number, place)
      JOIN pg_attribute AS a ON a.attrelid = k.{1} AND a.attnum = u.number)"""

NAMES: Final = 2000
"""How many names are looked through for one that is meant."""

SCHEMAS: Final = f"""
WITH shown AS MATERIALIZED (
    SELECT n.oid, n.nspname, n.nspowner FROM pg_namespace AS n
     WHERE {_OF_USERS} AND has_schema_privilege(n.oid, 'USAGE')
       AND ($1::text IS NULL OR n.nspname::text COLLATE "C" > $1)
), counted AS (
    SELECT c.relnamespace, count(*) AS tables
      FROM (SELECT c.oid, c.relnamespace FROM shown JOIN (
                SELECT c.oid, c.relnamespace, c.relkind, c.relispartition FROM pg_class AS c WHERE {_NEAR} OFFSET 0
              ) AS c ON c.relnamespace = shown.oid
             WHERE NOT c.relispartition AND {_RELATION} OFFSET 0) AS c
     WHERE {_SELECTABLE} GROUP BY c.relnamespace
)
SELECT n.nspname, pg_get_userbyid(n.nspowner), COALESCE(counted.tables, 0), {_COMMENT.format("n", "pg_namespace")}
  FROM shown AS n LEFT JOIN counted ON counted.relnamespace = n.oid
 ORDER BY n.nspname
"""  # noqa: S608 - constants of this file
"""All schemas' tables are counted in one pass: one schema after the other, a hundred took 40 ms, and take 1."""

_PARTS: Final = f"""
    (WITH RECURSIVE tree AS (
         SELECT c.oid AS root, c.oid AS part FROM pg_class AS c
          WHERE c.relkind = 'p' AND NOT c.relispartition AND {{roots}}
          UNION ALL
         SELECT tree.root, h.inhrelid FROM tree JOIN pg_inherits AS h ON h.inhparent = tree.part
     ) SELECT jsonb_object_agg(p.root, p.sums) FROM (
         SELECT tree.root,
                ARRAY[sum({_ROWS_OF.format("c")}), sum(c.relpages + COALESCE(t.relpages, 0))]::bigint[] AS sums
           FROM tree JOIN pg_class AS c ON c.oid = tree.part AND c.relkind <> 'p'
           LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid GROUP BY tree.root) AS p)"""  # noqa: S608 - as above
"""Rows and pages of each partitioned table, by its number. It depends on no row, so Postgres sums them up once, and not
at all before one is asked for; as a join it was carried out where there are none, too. Looking each one's partitions up
by itself took 110 ms for a thousand."""

_TABLES_OF: Final = f"""
SELECT c.nspname, c.relname, {_KIND},
       CASE c.relkind WHEN 'p' THEN (c.parts ->> 0)::bigint WHEN 'v' THEN NULL ELSE {_ROWS_OF.format("c")} END,
       NULLIF((SELECT current_setting('block_size')::bigint)
              * CASE WHEN c.relkind = 'p' THEN (c.parts ->> 1)::bigint
                     WHEN c.reltoastrelid = 0 THEN c.relpages
                     ELSE c.relpages + COALESCE({_TOAST_PAGES.format("c")}, 0) END,
              0)::bigint,
       CASE WHEN {_COMMENTED} OR c.oid < {_FIRST_OF_USERS} THEN {_COMMENT.format("c", "pg_class")} END
  FROM (
    SELECT n.nspname, c.oid, c.relname, c.relkind, c.reltuples, c.relpages, c.reltoastrelid,
           CASE WHEN c.relkind = 'p' THEN {_PARTS} -> c.oid::text END AS parts
      FROM (SELECT c.oid, c.relname, c.relnamespace, c.relkind, c.relispartition,
                   c.reltuples, c.relpages, c.reltoastrelid
              FROM pg_class AS c WHERE {{near}} OFFSET 0
           ) AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE NOT c.relispartition AND {_RELATION} AND {{of}} AND has_schema_privilege(n.oid, 'USAGE')
       AND ({{after}}::text IS NULL
            OR (n.nspname::text COLLATE "C", c.relname::text COLLATE "C") > ({{after}}, {{then}}::text))
       AND ({_SELECTABLE} OR c.relnamespace <> n.oid)
     ORDER BY n.nspname, c.relname OFFSET 0
  ) AS c
 ORDER BY c.nspname, c.relname
"""  # noqa: S608 - constants of this file
"""One pass over all tables. The innermost scan looks at where a table is and no further: of the system's tables, most
of a small database, no more columns are taken apart. Rights are looked at where the schema is known, so only those of
tables that may be listed: that is what the last condition is for, whose second half is never true. What is looked up
table by table (comments, what is stored out of line) is looked up behind the sort, so for no more tables than are
fetched; joined, it read two catalogues whole, and where nothing was analysed that was taken for a short one."""

_IN_SCHEMA: Final = "c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = $3::text)"

TABLES: Final = _TABLES_OF.format(
    near=_NEAR,
    roots="true",
    of=_OF_USERS,
    after="$1",
    then="$2",
)
TABLES_OF_SCHEMA: Final = _TABLES_OF.format(
    near=_IN_SCHEMA,
    roots=_IN_SCHEMA,
    of="true",
    after="$1",
    then="$2",
)
"""Not one statement with a condition on the schema: Postgres planned that anew each time, which took longer than
to run it."""

DESCRIBE: Final = f"""
WITH readable AS NOT MATERIALIZED (
    SELECT c.*, n.nspname, {_OF_USERS} AS of_users
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE {_RELATION} AND {_READABLE} AND ($2::text IS NULL OR n.nspname = $2)
), found AS (
    SELECT * FROM readable AS c
     WHERE c.relname = ANY ($3::text[])
       AND CASE WHEN $2 IS NOT NULL THEN c.relname = $1
                ELSE (c.relname = $1 AND c.of_users) OR c.nspname || '.' || c.relname = $1 END
), columns AS (
    SELECT json_agg(json_strip_nulls(json_build_object(
               'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'not_null', NULLIF(a.attnotnull, false),
               'default', CASE WHEN a.atthasdef AND a.attgenerated = '' THEN {_DEFAULT} END,
               'generated', CASE WHEN a.atthasdef AND a.attgenerated <> '' THEN {_DEFAULT} END,
               'values', CASE WHEN a.atttypid >= {_FIRST_OID} THEN
                   (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum AS e
                     WHERE e.enumtypid = a.atttypid) END,
               'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
               'comment', o.description)) ORDER BY a.attnum) AS told
      FROM found AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_description AS o
        ON o.objoid = a.attrelid AND o.classoid = 'pg_class'::regclass AND o.objsubid = a.attnum
), keys AS (
    SELECT k.oid, k.contype, k.confdeltype, k.conname, k.conrelid, k.confrelid, k.conkey, k.confkey,
           k.conrelid = c.oid AS own
      FROM found AS c JOIN pg_constraint AS k
        ON (k.conrelid = c.oid AND k.contype IN ('p', 'f', 'c')) OR (k.confrelid = c.oid AND k.contype = 'f')
     WHERE k.conparentid = 0 OR k.conrelid = c.oid
), foreign_keys AS (
    SELECT k.own, json_agg(json_strip_nulls(json_build_object(
               'columns', {_COLUMNS_OF.format("conkey", "conrelid")}, 'schema', n.nspname, 'table', o.relname,
               'foreign_columns', {_COLUMNS_OF.format("confkey", "confrelid")},
               'on_delete', CASE k.confdeltype WHEN 'c' THEN 'cascade' WHEN 'n' THEN 'set null'
                            WHEN 'd' THEN 'set default' WHEN 'r' THEN 'restrict' END)) ORDER BY k.conname) AS told
      FROM keys AS k JOIN pg_class AS o ON o.oid = CASE WHEN k.own THEN k.confrelid ELSE k.conrelid END
      JOIN pg_namespace AS n ON n.oid = o.relnamespace
     WHERE k.contype = 'f' GROUP BY k.own
), indexes AS (
    SELECT json_agg(json_strip_nulls(json_build_object(
               'name', x.relname, 'definition', pg_get_indexdef(i.indexrelid),
               'unique', NULLIF(i.indisunique, false))) ORDER BY x.relname) AS told
      FROM found AS c JOIN pg_index AS i ON i.indrelid = c.oid JOIN pg_class AS x ON x.oid = i.indexrelid
)
SELECT (SELECT json_agg(nspname ORDER BY nspname) FROM found) AS schemas,
       CASE WHEN NOT EXISTS (SELECT FROM found) THEN
           (SELECT json_agg(name) FROM (
               SELECT CASE WHEN $2 IS NULL THEN c.nspname || '.' || c.relname ELSE c.relname END AS name
                 FROM readable AS c WHERE c.of_users OR $2 IS NOT NULL ORDER BY name LIMIT {NAMES}) AS names)
       END AS names,
       (SELECT json_strip_nulls(json_build_object(
           'schema', c.nspname, 'table', c.relname, 'kind', {_KIND}, 'comment', {_COMMENT.format("c", "pg_class")},
           'estimated_rows', size.rows, 'size_bytes', size.bytes,
           'columns', COALESCE((SELECT told FROM columns), '[]'),
           'primary_key', (SELECT {_COLUMNS_OF.format("conkey", "conrelid")} FROM keys AS k
                            WHERE k.contype = 'p' AND k.own),
           'foreign_keys', (SELECT told FROM foreign_keys WHERE own),
           'referenced_by', (SELECT told FROM foreign_keys WHERE NOT own),
           'indexes', (SELECT told FROM indexes),
           'checks', (SELECT json_agg(pg_get_constraintdef(k.oid) ORDER BY k.conname) FROM keys AS k
                       WHERE k.contype = 'c' AND k.own),
           'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END))
          FROM found AS c, {_SIZE} WHERE (SELECT count(*) FROM found) = 1) AS description
"""  # noqa: S608 - constants of this file
