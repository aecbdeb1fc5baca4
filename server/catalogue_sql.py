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
_DEFAULT: Final = """
    (SELECT jsonb_object_agg(d.adnum, pg_get_expr(d.adbin, d.adrelid)) FROM pg_attrdef AS d WHERE d.adrelid = c.oid)
    ->> a.attnum::text"""
"""All of a table at once, and only if it has one: where a database has few, Postgres reads all of them for each."""
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

_ATTRIBUTES: Final = """(
    SELECT json_agg((SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = k.{1} AND a.attnum = u.number))
      FROM unnest(k.{0}) AS u(number))"""
_COLUMNS: Final = f"""(
    SELECT json_agg(json_build_object(
               'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull,
               CASE WHEN a.attgenerated = '' THEN 'default' ELSE 'generated' END,
               CASE WHEN a.atthasdef THEN {_DEFAULT} END,
               'values', COALESCE(CASE WHEN a.atttypid >= {_FIRST_OID} THEN
                   (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum AS e
                     WHERE e.enumtypid = a.atttypid) END, '[]'),
               'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
               'comment', o.description) ORDER BY a.attnum) AS told
      FROM pg_attribute AS a
      LEFT JOIN pg_description AS o
        ON o.objoid = a.attrelid AND o.classoid = 'pg_class'::regclass AND o.objsubid = a.attnum
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns"""  # noqa: S608 - as above
_INDEXES: Final = """(
    SELECT json_agg(json_build_object(
               'name', x.relname, 'definition', pg_get_indexdef(i.indexrelid), 'unique', i.indisunique)
               ORDER BY x.relname) AS told, sum(x.relpages) AS pages
      FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid) AS indexes"""
_KEYS: Final = f"""(
    SELECT json_agg(k.told) FILTER (WHERE k.contype = 'p') -> 0 -> 'columns' AS primary_key,
           json_agg(k.told) FILTER (WHERE k.contype = 'f' AND k.own) AS foreign_keys,
           json_agg(k.told) FILTER (WHERE NOT k.own) AS referenced_by,
           json_agg(k.told) FILTER (WHERE k.contype = 'c') AS checks
      FROM (SELECT k.contype, k.conrelid = c.oid AS own,
                   CASE k.contype WHEN 'c' THEN to_json(pg_get_constraintdef(k.oid)) ELSE json_build_object(
                       'columns', {_ATTRIBUTES.format("conkey", "conrelid")}, 'schema', n.nspname, 'table', o.relname,
                       'foreign_columns', {_ATTRIBUTES.format("confkey", "confrelid")},
                       'on_delete', CASE k.confdeltype WHEN 'c' THEN 'cascade' WHEN 'n' THEN 'set null'
                                    WHEN 'd' THEN 'set default' WHEN 'r' THEN 'restrict' END) END AS told
              FROM pg_constraint AS k
              LEFT JOIN pg_class AS o
                ON o.oid = CASE WHEN k.contype <> 'f' THEN NULL
                                WHEN k.conrelid = c.oid THEN k.confrelid ELSE k.conrelid END
              LEFT JOIN pg_namespace AS n ON n.oid = o.relnamespace
             WHERE k.oid = ANY (ARRAY(
                       SELECT k.oid FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'f', 'c')
                        UNION ALL
                       SELECT d.objid FROM pg_depend AS d
                        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                          AND d.classid = 'pg_constraint'::regclass AND d.deptype = 'n'))
               AND (k.conrelid = c.oid OR (k.confrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0))
             ORDER BY k.conname OFFSET 0) AS k
    ) AS keys"""  # noqa: S608 - as above
"""pg_constraint has no index by the table that a key refers to, but such keys depend on it, and pg_depend has one: so
the constraints of all tables need not be read. The table's own are not taken from there: the system's are not in it."""

_DESCRIBE: Final = f"""
WITH found AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind, c.reltuples, c.relpages, c.reltoastrelid, n.nspname
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE {_RELATION} AND {{asked}} AND has_schema_privilege(n.oid, 'USAGE')
       AND ({_SELECTABLE} OR c.relnamespace <> n.oid)
)
SELECT c.nspname, CASE WHEN (SELECT count(*) FROM found) = 1 THEN (
    SELECT json_build_object(
           'schema', c.nspname, 'table', c.relname, 'kind', {_KIND}, 'comment', {_COMMENT.format("c", "pg_class")},
           'estimated_rows', CASE WHEN c.relkind NOT IN ('p', 'v') THEN {_ROWS_OF.format("c")} END,
           'size_bytes', CASE WHEN c.relkind <> 'p' THEN NULLIF(current_setting('block_size')::bigint * (
               c.relpages + COALESCE({_TOAST_PAGES.format("c")}, 0) + COALESCE(indexes.pages, 0)), 0) END,
           'columns', COALESCE(columns.told, '[]'),
           'primary_key', COALESCE(keys.primary_key, '[]'), 'foreign_keys', COALESCE(keys.foreign_keys, '[]'),
           'referenced_by', COALESCE(keys.referenced_by, '[]'), 'checks', COALESCE(keys.checks, '[]'),
           'indexes', COALESCE(indexes.told, '[]'),
           'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END)
      FROM {_INDEXES}, {_COLUMNS}, {_KEYS}) END AS description
  FROM found AS c
"""  # noqa: S608 - as above
"""A row for each table that may be meant, and what there is to tell of it if it is the only one. Each part is looked up
by the table's number: Postgres then knows that it is one table, and that an index has the order that is asked for."""

DESCRIBE: Final = _DESCRIBE.format(
    asked=f"""c.relname = ANY ($2::text[])
       AND ((c.relname = $1::text AND {_OF_USERS}) OR n.nspname || '.' || c.relname = $1)"""
)
DESCRIBE_OF_SCHEMA: Final = _DESCRIBE.format(asked="c.relname = $1::text AND n.nspname = $2::text")

PARTS: Final = f"""
SELECT sum({_ROWS_OF.format("p")})::bigint,
       NULLIF(current_setting('block_size')::bigint * sum({_PAGES_OF.format("p")}), 0)::bigint
  FROM pg_class AS p
 WHERE p.relkind <> 'p' AND p.oid = ANY (ARRAY(
           WITH RECURSIVE parts AS (
               SELECT c.oid AS part FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                WHERE c.relname = $1::text AND n.nspname = $2::text UNION ALL
               SELECT h.inhrelid FROM parts JOIN pg_inherits AS h ON h.inhparent = parts.part
           ) SELECT part FROM parts))
"""  # noqa: S608 - as above
"""Rows and bytes of a partitioned table, which are in its partitions, and theirs. A statement of its own: Postgres sets
up the whole of a statement, even parts that it does not need, and this would be a seventh of what describes a table. An
array has each partition looked up: a join reads all of pg_class."""

NAMES: Final = f"""
SELECT CASE WHEN $1::text IS NULL THEN n.nspname || '.' || c.relname ELSE c.relname::text END COLLATE "C" AS name
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE {_RELATION} AND has_schema_privilege(n.oid, 'USAGE') AND ({_SELECTABLE} OR c.relnamespace <> n.oid)
   AND CASE WHEN $1 IS NULL THEN {_OF_USERS} ELSE n.nspname = $1 END
 ORDER BY name
"""  # noqa: S608 - as above
"""The names there are, to look through for one that is meant."""
