"""What the settings of the HTTP side may be; every problem says what to set."""

from server.http_names import problem_of_host, problem_of_origin
from server.settings import Settings, variable_of


def http_problems(settings: Settings) -> list[str]:
    """Return what is wrong with hosts, origins and certificates."""
    return _browser_rules(settings) + _tls_rules(settings)


def _browser_rules(settings: Settings) -> list[str]:
    wrong = [("allowed_hosts", problem_of_host(each)) for each in settings.allowed_hosts]
    wrong += [("allowed_origins", problem_of_origin(each)) for each in settings.allowed_origins]
    return [f"{variable_of(field)}: {problem}." for field, problem in wrong if problem]


def _tls_rules(settings: Settings) -> list[str]:
    cert, key, ca = (variable_of(field) for field in ("tls_cert", "tls_key", "tls_client_ca"))
    if (settings.tls_cert is None) != (settings.tls_key is None):
        missing, there = (cert, key) if settings.tls_cert is None else (key, cert)
        return [f"{missing} is not set, and {there} is: a certificate and its key go together."]
    if settings.tls_client_ca is not None and settings.tls_cert is None:
        return [f"{ca} is set, and {cert} is not: clients show certificates only where TLS is served."]
    return []
