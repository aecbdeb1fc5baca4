"""Which functions a read may call, by name: what no catalogue can tell, each with its reason.

Rules: pure data and look-ups. Of Postgres's own functions a volatile one is refused unless it is named here as
harmless, so that one which a later version brings is refused until somebody has looked at it; one that is not volatile
may run unless it is named here as refused. What Postgres does not bring is asked of the tenant's catalogue
(`server/sql_catalogue.py`); what is well known to do harm is refused without asking.
"""

from collections.abc import Mapping
from typing import Final

from server.sql_builtins import STEADY, VOLATILE
from server.sql_facts import Invocation, Name

BUILT_IN_SCHEMAS: Final = frozenset({None, "pg_catalog", "information_schema"})
"""Where Postgres's own functions are; None, because an unqualified name is looked for there first."""

_HARMLESS: Final[Mapping[str, str]] = {
    "chance and the clock": """
        array_sample array_shuffle clock_timestamp gen_random_uuid random random_normal timeofday uuidv4 uuidv7""",
    "what nobody but Postgres can call": "bernoulli system",
    "waits, which end at the statement's limit of time": "pg_sleep pg_sleep_for pg_sleep_until",
    "what the session knows of itself": "current_query currval lastval pg_jit_available",
    "samples of a table": "bernoulli system",
    "sizes on the disk": """
        pg_database_size pg_indexes_size pg_relation_size pg_table_size pg_tablespace_size pg_total_relation_size""",
    "what is in the catalogues": """
        pg_collation_actual_version pg_database_collation_actual_version pg_get_sequence_data pg_partition_ancestors
        pg_partition_tree pg_sequence_last_value""",
    "who waits for whom": "pg_blocking_pids pg_lock_status pg_prepared_xact pg_safe_snapshot_blocking_pids",
    "what became of transactions": """
        pg_get_multixact_members pg_last_committed_xact pg_xact_commit_timestamp pg_xact_commit_timestamp_origin
        pg_xact_status txid_status""",
    "where the write-ahead log and its replicas are": """
        pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system pg_current_wal_flush_lsn
        pg_current_wal_insert_lsn pg_current_wal_lsn pg_get_wal_replay_pause_state pg_get_wal_resource_managers
        pg_is_in_recovery pg_is_wal_replay_paused pg_last_wal_receive_lsn pg_last_wal_replay_lsn
        pg_last_xact_replay_timestamp pg_replication_origin_progress pg_show_replication_origin_status""",
    "the figures of the server": """
        pg_get_aios pg_get_backend_memory_contexts pg_get_shmem_allocations pg_get_shmem_allocations_numa
        pg_get_wait_events pg_notification_queue_usage pg_stat_get_backend_io pg_stat_get_backend_wal pg_stat_get_io
        pg_stat_get_recovery_prefetch pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit
        pg_stat_get_xact_function_calls pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time
        pg_stat_get_xact_numscans pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched
        pg_stat_get_xact_tuples_hot_updated pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_newpage_updated
        pg_stat_get_xact_tuples_returned pg_stat_get_xact_tuples_updated pg_stat_have_stats""",
}
_STEADY_BUT_REFUSED: Final[Mapping[str, str]] = {
    "it takes a transaction id, which is a write": "pg_current_xact_id txid_current",
    "it reads tables that are named in a text": """
        database_to_xml database_to_xml_and_xmlschema database_to_xmlschema schema_to_xml schema_to_xml_and_xmlschema
        schema_to_xmlschema table_to_xml table_to_xml_and_xmlschema table_to_xmlschema""",
    "it loads or compiles another function": "fmgr_c_validator fmgr_internal_validator fmgr_sql_validator",
}

_KNOWN_OF_EXTENSIONS: Final[Mapping[str, str]] = {
    "it reaches another server": """
        aws_commons.create_aws_credentials aws_lambda.invoke aws_s3.query_export_to_s3 aws_s3.table_import_from_s3
        dblink dblink_build_sql_delete dblink_build_sql_insert dblink_build_sql_update dblink_cancel_query dblink_close
        dblink_connect dblink_connect_u dblink_current_query dblink_disconnect dblink_error_message dblink_exec
        dblink_fdw_validator dblink_fetch dblink_get_connections dblink_get_notify dblink_get_pkey dblink_get_result
        dblink_is_busy dblink_open dblink_send_query http http_delete http_get http_head http_patch http_post http_put
        http_reset_curlopt http_set_curlopt net.http_delete net.http_get net.http_post oracle_close_connections
        postgres_fdw_disconnect postgres_fdw_disconnect_all""",
    "it reads or writes files of the server": """
        get_raw_page lo_export lo_import pg_file_read pg_file_rename pg_file_sync pg_file_unlink pg_file_write
        pg_get_wal_records_info pg_logdir_ls""",
    "it runs a text as SQL": """
        connectby cron.alter_job cron.schedule cron.schedule_in_database cron.unschedule plv8_execute
        xpath_table xslt_process""",
    "it changes what others see or use": """
        autoprewarm_dump_now autoprewarm_start_worker pg_buffercache_evict pg_buffercache_evict_all
        pg_buffercache_evict_relation pg_prewarm pg_stat_kcache_reset pg_stat_monitor_reset pg_stat_statements_reset
        pg_truncate_visibility_map pg_wait_sampling_reset_profile heap_force_freeze heap_force_kill""",
    "it changes the session": "isn_weak plv8_reset set_limit",
}
"""What is refused whoever owns it and without a look at the catalogue, so that this holds without that layer, too."""

RUN_TEXT: Final = frozenset({"crosstab", "crosstab2", "crosstab3", "crosstab4", "crosstabn", "crosstab_hash"})
"""Functions of tablefunc that run a query given as text, which people use for pivots: literal texts are looked into."""

HARMLESS_OF_EXTENSIONS: Final[Mapping[str, str]] = {
    "chance": """
        gen_random_bytes gen_random_uuid gen_salt normal_rand uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4
        uuid_generate_v7 ulid gen_ulid nanoid st_generatepoints""",
    "encryption of what the statement holds, with fresh salt": """
        pgp_pub_encrypt pgp_pub_encrypt_bytea pgp_sym_encrypt pgp_sym_encrypt_bytea""",
    "figures of tables, indexes and statements": """
        approximate_row_count chunks_detailed_size hypertable_approximate_size hypertable_detailed_size
        hypertable_index_size hypertable_size pg_buffercache_pages pg_buffercache_summary pg_buffercache_usage_counts
        pg_freespace pg_stat_statements pg_stat_statements_info pg_relpages pg_visibility pg_visibility_map
        pg_visibility_map_summary pgrowlocks pgstatginindex pgstathashindex pgstatindex pgstattuple
        pgstattuple_approx show_chunks""",
    "series": "interpolate locf time_bucket_gapfill",
    "what is known of the session's own connections": """
        postgres_fdw_get_connections ssl_cipher ssl_client_cert_present ssl_client_dn ssl_client_dn_field
        ssl_client_serial ssl_extension_info ssl_is_used ssl_issuer_dn ssl_issuer_field ssl_version""",
}
"""Functions of extensions that are volatile and may run all the same."""

_Reasons = dict[str, str]


def _by_name(reasons: Mapping[str, str]) -> _Reasons:
    return {name: reason for reason, names in reasons.items() for name in names.split()}


HARMLESS: Final = frozenset(_by_name(_HARMLESS))
HARMLESS_EXTENSIONS: Final = frozenset(_by_name(HARMLESS_OF_EXTENSIONS))
_KNOWN: Final = _by_name(_KNOWN_OF_EXTENSIONS)
_REFUSED: Final = {
    **dict.fromkeys(VOLATILE - HARMLESS, "it is volatile, and not known to be harmless"),
    **_by_name(_STEADY_BUT_REFUSED),
    **{name: reason for name, reason in _KNOWN.items() if "." not in name},
}
KNOWN_BAD: Final = frozenset(_REFUSED) | {name.rpartition(".")[2] for name in _KNOWN if "." in name}
"""Names, without schemas, that are refused in a text that cannot be parsed, whatever they stand for there."""
_REWRITE_BY_VALUES: Final = 3
"""ts_rewrite runs a text as SQL when it has two arguments, and no text when it has three."""


def rewrites_by_values(call: Invocation) -> bool:
    """Whether it is the form of ts_rewrite that runs no text, of which the catalogue knows no more than its name."""
    name = call.name
    return name.schema in BUILT_IN_SCHEMAS and name.name == "ts_rewrite" and len(call.texts) == _REWRITE_BY_VALUES


def refusal_of(call: Invocation) -> str | None:
    """Return why a call is refused by its function's name alone; None if it is not, or not by that."""
    name = call.name.name
    if rewrites_by_values(call):
        return None
    if call.name.schema in BUILT_IN_SCHEMAS and name in _REFUSED:
        return _REFUSED[name]
    return _KNOWN.get(name) or _KNOWN.get(str(call.name))


def is_built_in(name: Name) -> bool:
    """Whether a function is known to be Postgres's own, so that nobody has to be asked about it."""
    return name.schema in BUILT_IN_SCHEMAS and (name.name in STEADY or name.name in VOLATILE)
