-- What a tenant's database may hold besides the shop: extensions, a foreign server with a password, functions of its own.
DO $$
DECLARE wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['dblink', 'tablefunc', 'pgcrypto', 'uuid-ossp', 'postgres_fdw', 'pg_trgm', 'pageinspect',
                                  'pgstattuple', 'hstore', 'citext', 'unaccent', 'xml2', 'isn', 'pg_prewarm', 'amcheck',
                                  'adminpack', 'lo', 'intarray', 'ltree', 'cube', 'pg_buffercache', 'sslinfo'] LOOP
        IF EXISTS (SELECT FROM pg_available_extensions WHERE name = wanted) THEN
            EXECUTE format('CREATE EXTENSION %I', wanted);
        END IF;
    END LOOP;
END $$;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '9', dbname 'x');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'u', password 'mapped-hunter2');
CREATE FUNCTION shop.notifies() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN PERFORM pg_notify('pwn', 'x'); RETURN 1; END $f$;
CREATE FUNCTION shop.lifts() RETURNS text LANGUAGE sql AS $f$ SELECT set_config('statement_timeout', '0', true) $f$;
CREATE FUNCTION shop.claims(text) RETURNS text LANGUAGE plpgsql AS
    $f$ BEGIN PERFORM set_config('app.tenant_id', $1, false); RETURN $1; END $f$;
CREATE FUNCTION shop.becomes(text) RETURNS int LANGUAGE plpgsql AS
    $f$ BEGIN EXECUTE format('SET ROLE %I', $1); RETURN 1; END $f$;
CREATE FUNCTION shop.locks(bigint) RETURNS void LANGUAGE internal STRICT AS 'pg_advisory_lock_int8';
CREATE FUNCTION shop.total_of(int) RETURNS numeric LANGUAGE sql STABLE AS
    'SELECT sum(total) FROM shop.orders WHERE customer_id = $1';
CREATE FUNCTION shop.full_label(shop.customer) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1.full_name || $1.email';
CREATE FUNCTION shop.evil_of(shop.customer) RETURNS int LANGUAGE plpgsql AS
    $f$ BEGIN INSERT INTO shop.canary(v) VALUES ('via attribute'); RETURN 1; END $f$;
CREATE FUNCTION shop.plus_and_write(int, int) RETURNS int LANGUAGE plpgsql AS
    $f$ BEGIN INSERT INTO shop.canary(v) VALUES ('via operator'); RETURN 1; END $f$;
CREATE OPERATOR shop.@#@ (LEFTARG = int, RIGHTARG = int, FUNCTION = shop.plus_and_write);
CREATE VIEW shop.v_recent AS SELECT * FROM shop.orders WHERE placed > now() - interval '1 day';
CREATE TABLE shop.copy (id int PRIMARY KEY, "lock" text, "set" text, notify bool, pg_settings text);
INSERT INTO shop.copy VALUES (1, 'a', 'b', true, 'c');
CREATE TABLE shop.pg_shadow (id int);
CREATE TABLE shop.doc (id int PRIMARY KEY, body text, tsv tsvector, data jsonb, span tsrange, tags text[]);
INSERT INTO shop.doc VALUES (1, 'the quick fox', to_tsvector('english', 'the quick fox'), '{"a": {"b": [1, 2]}}',
                             '[2024-01-01,2024-02-01)', '{x,y}');
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO mcp_ro;
