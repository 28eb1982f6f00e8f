"""Registering, logging in, guests, passwords, and who is refused why."""

from collections.abc import Awaitable

import pytest
import trio

from chatd.accounts.accounts import Accounts
from chatd.accounts.devices import Grant
from chatd.accounts.errors import AccountError
from chatd.accounts.tokens import TokenError, Tokens
from protocol.codes import ErrorCode
from storage import StoreUnavailable
from tests.chatd.accounts.conftest import Build
from tests.fakes.account_records import AccountRecords
from tests.fakes.hand_clock import HandClock

HERE = "192.0.2.1"
PASSWORD = "correct horse"
BAD_NAMES = [
    *("", "a", "a" * 65, "guest-alice", "GUEST-alice", "chatd", "Admin", "system", ".alice", "-a", "a b", "a:b"),
    *("a\0b", "алиса", "a\ud800b", "K\u212a", "alice\n", "a/b", "a@b"),
]


async def test_who_registers_can_use_the_token_and_log_in_again(accounts: Accounts, tokens: Tokens) -> None:
    first = await accounts.register("Alice", PASSWORD, "phone")
    assert first.user == "alice"
    principal = await tokens.verify(first.access_token)
    assert (principal.user, principal.device, principal.is_guest) == ("alice", first.device, False)
    second = await accounts.login("ALICE", PASSWORD, HERE, "laptop")
    assert second.device != first.device
    assert {device.title for device in await accounts.devices(principal)} == {"phone", "laptop"}


async def test_no_password_and_no_token_is_kept_readable(accounts: Accounts, records: AccountRecords) -> None:
    grant = await accounts.register("alice", PASSWORD)
    kept = repr(records.users) + repr(records.device_records)
    assert "$argon2id$" in kept
    assert PASSWORD not in kept
    assert grant.refresh_token not in kept


async def test_a_name_is_taken_once_whatever_its_case(accounts: Accounts) -> None:
    await accounts.register("alice", PASSWORD)
    await _refused(ErrorCode.NAME_TAKEN, accounts.register("ALICE", PASSWORD))


async def test_of_two_who_register_a_name_at_once_one_gets_it(accounts: Accounts) -> None:
    outcomes: list[Grant | ErrorCode] = []

    async def register() -> None:
        try:
            outcomes.append(await accounts.register("alice", PASSWORD))
        except AccountError as error:
            outcomes.append(error.code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(register)
        nursery.start_soon(register)
    assert sum(isinstance(outcome, Grant) for outcome in outcomes) == 1
    assert ErrorCode.NAME_TAKEN in outcomes


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_malformed_or_reserved_name_is_refused(accounts: Accounts, name: str) -> None:
    await _refused(ErrorCode.BAD_REQUEST, accounts.register(name, PASSWORD))
    await _refused(ErrorCode.WRONG_CREDENTIALS, accounts.login(name, PASSWORD, HERE))


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1025, "\ud800" * 8])
async def test_a_senseless_password_is_refused(accounts: Accounts, password: str) -> None:
    await _refused(ErrorCode.BAD_REQUEST, accounts.register("alice", password))


async def test_the_same_characters_are_the_same_password_however_they_are_written(accounts: Accounts) -> None:
    await accounts.register("alice", "cafe\u0301 cafe\u0301")
    await accounts.login("alice", "caf\u00e9 caf\u00e9", HERE)


@pytest.mark.parametrize("title", ["x" * 65, "a\0b", "two\nlines"])
async def test_a_title_that_cannot_be_shown_is_refused(accounts: Accounts, title: str) -> None:
    await _refused(ErrorCode.BAD_REQUEST, accounts.register("alice", PASSWORD, title))
    await _refused(ErrorCode.BAD_REQUEST, accounts.guest(title))


async def test_wrong_password_unknown_name_and_guest_are_refused_alike(accounts: Accounts) -> None:
    await accounts.register("alice", PASSWORD)
    guest = await accounts.guest()
    reasons = {
        await _refused(ErrorCode.WRONG_CREDENTIALS, accounts.login(name, "wrong password", HERE))
        for name in ("alice", "nobody", guest.user)
    }
    assert len(reasons) == 1


async def test_registration_and_guests_can_be_forbidden(build: Build) -> None:
    accounts = build(registration=False, guests=False)
    await _refused(ErrorCode.FORBIDDEN, accounts.register("alice", PASSWORD))
    await _refused(ErrorCode.FORBIDDEN, accounts.guest())


@pytest.mark.parametrize("key", ["key_file", "jwks_url"])
async def test_nobody_can_register_the_name_of_an_outside_issuers_user(build: Build, key: str) -> None:
    await _refused(ErrorCode.FORBIDDEN, build(**{key: "somewhere"}).register("alice", PASSWORD))


async def test_a_guest_gets_a_name_of_its_own_and_a_guests_token(accounts: Accounts, tokens: Tokens) -> None:
    one, other = await accounts.guest(), await accounts.guest()
    assert one.user != other.user
    assert one.user.startswith("guest-")
    assert len(one.user) == len("guest-") + 8
    assert one.expires_in == 86400
    assert (await tokens.verify(one.access_token)).is_guest
    assert (await accounts.refresh(one.refresh_token)).user == one.user


async def test_a_suspended_account_gets_no_new_tokens(accounts: Accounts, records: AccountRecords) -> None:
    grant = await accounts.register("alice", PASSWORD)
    record = records.users["alice"]
    records.users["alice"] = type(record)(
        user=record.user, password_hash=record.password_hash, created_at=record.created_at, is_suspended=True
    )
    await _refused(ErrorCode.REVOKED, accounts.login("alice", PASSWORD, HERE))
    await _refused(ErrorCode.REVOKED, accounts.refresh(grant.refresh_token))


async def test_failures_are_slowed_down_and_success_forgets_them(accounts: Accounts, clock: HandClock) -> None:
    await accounts.register("alice", PASSWORD)
    for _ in range(5):
        await _refused(ErrorCode.WRONG_CREDENTIALS, accounts.login("alice", "wrong password", HERE))
    with pytest.raises(AccountError) as caught:
        await accounts.login("alice", PASSWORD, "198.51.100.7")
    assert (caught.value.code, caught.value.retry_after) == (ErrorCode.RATE_LIMITED, 1.0)
    clock.advance(1.0)
    await accounts.login("alice", PASSWORD, "198.51.100.7")
    await _refused(ErrorCode.WRONG_CREDENTIALS, accounts.login("alice", "wrong password", "198.51.100.7"))


async def test_guesses_made_all_at_once_are_counted_too(accounts: Accounts) -> None:
    await accounts.register("alice", PASSWORD)
    codes: list[ErrorCode] = []

    async def guess() -> None:
        try:
            await accounts.login("alice", "wrong password", HERE)
        except AccountError as error:
            codes.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(guess)
    assert codes.count(ErrorCode.WRONG_CREDENTIALS) == 5
    assert codes.count(ErrorCode.RATE_LIMITED) == 15


async def test_a_failing_store_is_no_failure_of_the_user(accounts: Accounts, records: AccountRecords) -> None:
    await accounts.register("alice", PASSWORD)
    records.failure = StoreUnavailable("no disk")
    for _ in range(20):
        with pytest.raises(StoreUnavailable):
            await accounts.login("alice", PASSWORD, HERE)
    records.failure = None
    await accounts.login("alice", PASSWORD, HERE)


async def test_a_new_password_revokes_the_other_devices(accounts: Accounts, tokens: Tokens) -> None:
    here = await accounts.register("alice", PASSWORD)
    there = await accounts.login("alice", PASSWORD, HERE)
    closed: list[str] = []
    accounts.on_revoked.append(closed.append)
    me = await tokens.verify(here.access_token)
    await _refused(ErrorCode.WRONG_CREDENTIALS, accounts.change_password(me, "wrong password", "new password", HERE))
    await _refused(ErrorCode.BAD_REQUEST, accounts.change_password(me, PASSWORD, "short", HERE))
    await accounts.change_password(me, PASSWORD, "new password", HERE)
    assert closed == [there.device]
    await tokens.verify(here.access_token)
    with pytest.raises(TokenError, match="revoked"):
        await tokens.verify(there.access_token)
    await _refused(ErrorCode.WRONG_CREDENTIALS, accounts.login("alice", PASSWORD, HERE))
    await accounts.login("alice", "new password", HERE)


async def test_a_login_with_the_old_password_does_not_outlive_its_change(
    accounts: Accounts, tokens: Tokens, records: AccountRecords
) -> None:
    here = await accounts.register("alice", PASSWORD)
    me = await tokens.verify(here.access_token)
    outcomes: list[ErrorCode | Grant] = []

    async def login() -> None:
        try:
            outcomes.append(await accounts.login("alice", PASSWORD, HERE))
        except AccountError as error:
            outcomes.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(login)
        nursery.start_soon(accounts.change_password, me, PASSWORD, "new password", HERE)
    alive = [record.device for record in records.device_records.values() if record.revoked_at is None]
    assert alive == [here.device]
    assert len(outcomes) == 4


async def test_too_many_logins_at_once_are_told_to_come_later(build: Build) -> None:
    accounts = build(hash_threads=1, hash_waiting=1, login_failures=100)
    await accounts.register("alice", PASSWORD)
    codes: list[object] = []

    async def login() -> None:
        try:
            await accounts.login("alice", PASSWORD, HERE)
            codes.append("in")
        except AccountError as error:
            codes.append((error.code, error.retry_after))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(login)
    assert codes.count("in") >= 2
    assert codes.count((ErrorCode.UNAVAILABLE, 1.0)) == 10 - codes.count("in")
    assert (ErrorCode.UNAVAILABLE, 1.0) in codes


async def test_a_user_is_found_by_name_or_refused(accounts: Accounts) -> None:
    await accounts.register("alice", PASSWORD)
    assert (await accounts.user("Alice")).user == "alice"
    for name in ("bob", "", "a b", "x" * 65):
        await _refused(ErrorCode.UNKNOWN_USER, accounts.user(name))


async def _refused(code: ErrorCode, call: Awaitable[object]) -> str:
    with pytest.raises(AccountError) as caught:
        await call
    assert caught.value.code is code
    return caught.value.reason


async def test_a_hash_of_other_parameters_is_made_anew_at_the_next_login(build: Build, records: AccountRecords) -> None:
    await build().register("alice", PASSWORD)
    stronger = build(hash_passes=2)
    await stronger.login("alice", PASSWORD, HERE)
    [user] = records.users.values()
    assert "t=2" in (user.password_hash or "")
    made_anew = user.password_hash
    await stronger.login("alice", PASSWORD, HERE)
    assert [user.password_hash for user in records.users.values()] == [made_anew]


async def test_a_login_succeeds_where_its_password_cannot_be_hashed_anew(build: Build, records: AccountRecords) -> None:
    await build().register("alice", "short pw")
    await build(hash_passes=2, password_min_length=20).login("alice", "short pw", HERE)
    assert ["t=1" in (user.password_hash or "") for user in records.users.values()] == [True]
