"""What can go wrong with a local Cassandra; the text says what to do."""


class LocalCassandraError(Exception):
    """Cassandra cannot be fetched or started here."""


class Missing(LocalCassandraError):
    """A program that it needs is not installed."""
