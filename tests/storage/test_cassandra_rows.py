"""Tests of what is computed about rows and buckets, without a database."""

import msgspec
import pytest

from protocol.body import Body, Encoding
from storage.cassandra_buckets import PARTITION_BYTES, ROW_BYTES, width_for
from storage.cassandra_migrations import shipped, statements
from storage.cassandra_rows import revise_time, time_left, write_time
from tests.contracts.store import message
from tests.contracts.store_records import revised


@pytest.mark.parametrize("data_bytes", [1, 200, 16_384, 65_536, 1_000_000, 200_000_000])
def test_a_bucket_full_of_the_largest_messages_stays_within_a_partition(data_bytes: int) -> None:
    width = width_for(data_bytes)
    assert width >= 1
    assert width == 1 or width * (data_bytes + ROW_BYTES) <= PARTITION_BYTES


def test_a_bucket_of_the_shipped_namespaces_has_a_page_of_history_many_times() -> None:
    assert width_for(16_384) == 4096


def test_a_revision_comes_after_its_message_though_the_clock_was_set_back() -> None:
    original = message(5, at=1_000_000)
    edited = revised(original, b"\x80", at=10)
    assert revise_time(edited, 10) > write_time(original)


def test_a_later_revision_comes_after_an_earlier_one_whatever_they_say() -> None:
    first, second = (revised(message(5), text, at) for text, at in ((b"\x81\xa1x\x01", 900), (b"\x80", 901)))
    assert revise_time(first, 900) < revise_time(second, 901)


def test_two_revisions_of_one_millisecond_do_not_mix() -> None:
    one, other = revised(message(5), b"\x80", at=900), revised(message(5), b"\x81\xa1x\x01", at=900)
    assert revise_time(one, 900) != revise_time(other, 900)
    deleted = msgspec.structs.replace(one, kind="deleted")
    assert revise_time(one, 900) != revise_time(deleted, 900)


def test_the_time_of_a_revision_is_the_same_on_every_node() -> None:
    edited = msgspec.structs.replace(message(5), body=Body(Encoding.JSON, b"{}"), kind="edit")
    assert revise_time(edited, 900) == 900_918


def test_a_message_that_is_too_old_lives_for_a_second_and_not_for_ever() -> None:
    assert time_left(60, 0) == 1


def test_every_statement_of_a_migration_can_be_repeated() -> None:
    for migration in shipped():
        for statement in statements(migration.text):
            assert " IF NOT EXISTS " in statement, statement


def test_a_file_is_split_at_the_semicolons_that_end_lines() -> None:
    text = "-- a note; no statement\nCREATE TABLE IF NOT EXISTS a (b int) WITH comment = 'x; y'\n  AND c;\n\nTWO;"
    assert statements(text) == ["CREATE TABLE IF NOT EXISTS a (b int) WITH comment = 'x; y'\n  AND c", "TWO"]
