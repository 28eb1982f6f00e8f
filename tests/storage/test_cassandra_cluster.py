"""What the driver raises when it is let in nowhere, in the store's terms: what to set, or that it is waited for."""

import logging

import pytest
from cassandra import AuthenticationFailed
from cassandra.cluster import NoHostAvailable

from storage import StoreError, StoreUnavailable
from storage.cassandra_cluster import OneLine, open_cluster, refusal
from storage.cassandra_settings import CassandraSettings

BAD = 'Failed to authenticate to 10.0.0.1:9042: Error from server: code=0100 [Bad credentials] message="{}"'
TLS = "Tried connecting to [('10.0.0.1', 9042)]. Last error: [SSL: {}] {} (_ssl.c:1006)"


@pytest.mark.parametrize(
    ("cause", "kind", "said"),
    [
        (AuthenticationFailed(BAD.format("Provided username and/or password are incorrect")), StoreError, "refuses"),
        (AuthenticationFailed("Remote end requires authentication"), StoreError, "set cassandra.username"),
        # The node that was asked does not reach those that have the passwords: nothing is wrong with this one.
        (AuthenticationFailed(BAD.format("Unable to perform authentication: …")), StoreUnavailable, "no node"),
        (
            OSError(1, TLS.format("CERTIFICATE_VERIFY_FAILED", "certificate verify failed: certificate has expired")),
            StoreError,
            "not trusted: certificate has expired: see",
        ),
        (
            OSError(
                1,
                TLS.format(
                    "CERTIFICATE_VERIFY_FAILED",
                    "certificate verify failed: IP address mismatch, certificate is not valid for '10.0.0.1'.",
                ),
            ),
            StoreError,
            "not trusted: IP address mismatch, certificate is not valid for '10.0.0.1': see",
        ),
        (OSError(1, TLS.format("WRONG_VERSION_NUMBER", "wrong version number")), StoreUnavailable, "no node"),
        (ConnectionRefusedError(111, "Connection refused"), StoreUnavailable, "Connection refused"),
    ],
)
def test_what_keeps_chatd_out_is_said_and_only_what_may_pass_is_waited_for(
    cause: Exception, kind: type[StoreError], said: str
) -> None:
    refused = refusal(NoHostAvailable("nobody", {"10.0.0.1": cause}))
    assert type(refused) is kind
    assert said in str(refused)


def test_a_name_that_nobody_knows_yet_is_waited_for() -> None:
    with pytest.raises(StoreUnavailable, match=r"where nowhere\.invalid is"):
        open_cluster(CassandraSettings(contact_points=("nowhere.invalid",)))


def test_a_node_that_stays_down_is_said_from_time_to_time() -> None:
    now = 0.0
    one_line = OneLine(lambda: now)

    def is_said(node: str) -> bool:
        text = "Error attempting to reconnect to %s, scheduling retry in %s seconds: %s"
        record = logging.LogRecord("cassandra.pool", logging.WARNING, "", 0, text, (node, 1.0, "refused"), None)
        return one_line.filter(record)

    assert [is_said("10.0.0.1:9042"), is_said("10.0.0.1:9042"), is_said("10.0.0.2:9042")] == [True, False, True]
    now = 29.0
    assert not is_said("10.0.0.1:9042")
    now = 31.0
    assert [is_said("10.0.0.1:9042"), is_said("10.0.0.1:9042")] == [True, False]
