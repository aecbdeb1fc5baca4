"""A Valkey and a Postgres of our own, for `run`, for trying things out and for the tests.

Rules: nothing outlives the process that started it, however that process ends. A data directory has one owner at a
time. Nothing is reachable from another machine. Production names its own Redis and never comes here.
"""
