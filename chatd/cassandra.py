"""What the configuration says to the Cassandra store."""

from chatd.config import Config, Namespace
from storage.cassandra_rows import MOST_SECONDS
from storage.cassandra_settings import DAY_SECONDS, CassandraSettings, NamespaceRule


class NamespaceRules:
    """Tells the store what it keeps of each namespace, as the configuration in force says."""

    def __init__(self, config: Config) -> None:
        self._rules: dict[str, NamespaceRule] = {}
        self.replace(config)

    def replace(self, config: Config) -> None:
        """Let another configuration be in force. Messages keep the time to live that they were written with."""
        self._rules = {name: _rule(namespace) for name, namespace in config.namespaces.items()}

    def __call__(self, namespace: str) -> NamespaceRule:
        """Return the rule of a namespace; of one that is not configured, everything is kept."""
        return self._rules.get(namespace, _UNKNOWN)


_UNKNOWN = NamespaceRule()


def _rule(namespace: Namespace) -> NamespaceRule:
    return NamespaceRule(
        retention_seconds=namespace.retention_days * DAY_SECONDS,
        data_bytes=namespace.data_bytes,
        is_trimmed=bool(namespace.retention_days or namespace.retention_messages),
    )


def cassandra_settings(config: Config, rules: NamespaceRules) -> CassandraSettings:
    """Return the settings of the store that `[cassandra]` describes."""
    given, auth = config.cassandra, config.auth
    tokens_live = max(auth.access_seconds, auth.guest_seconds) + auth.leeway_seconds
    return CassandraSettings(
        contact_points=given.nodes,
        port=given.port,
        keyspace=given.keyspace,
        datacenter=given.datacenter,
        replication_factor=given.replication_factor,
        consistency=given.consistency,
        user=given.username,
        password=given.password,
        tls=given.tls.enabled,
        tls_authority=given.tls.authority,
        tls_certificate=given.tls.certificate,
        tls_key=given.tls.key,
        tls_check_hostname=given.tls.check_hostname,
        connect_seconds=given.connect_seconds,
        request_seconds=given.request_seconds,
        speculative_seconds=given.speculative_seconds,
        in_flight=given.in_flight,
        reads_waiting=given.reads_waiting,
        queue_rows=config.store.queue_rows,
        batches_in_flight=given.batches_in_flight,
        batch_partitions=given.batch_partitions,
        batch_rows=given.batch_rows,
        batch_bytes=given.batch_bytes,
        # A day more: clocks differ, and whoever asks for what is just too old gets an answer all the same.
        dedupe_seconds=min((config.broker.dedupe_days + 1) * DAY_SECONDS, MOST_SECONDS),
        revocation_seconds=min(tokens_live + DAY_SECONDS, MOST_SECONDS),
        rules=rules,
    )
