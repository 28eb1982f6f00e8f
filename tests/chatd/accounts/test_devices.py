"""Refresh tokens that change with each use, and devices that are put out."""

from collections.abc import Awaitable

import pytest
import trio

from chatd.accounts.accounts import Accounts
from chatd.accounts.devices import Grant
from chatd.accounts.errors import AccountError
from chatd.accounts.refresh_tokens import RefreshTokens
from chatd.accounts.tokens import TokenError, Tokens
from protocol.codes import ErrorCode
from protocol.names import DeviceId
from tests.chatd.accounts.conftest import CHEAP, SECRET, Build
from tests.fakes.account_records import AccountRecords
from tests.fakes.hand_clock import HandClock

PASSWORD = "correct horse"
LATER = 31.0


async def test_a_refresh_token_is_exchanged_for_new_tokens(
    accounts: Accounts, tokens: Tokens, clock: HandClock
) -> None:
    grant = await accounts.register("alice", PASSWORD)
    clock.advance(600)
    renewed = await accounts.refresh(grant.refresh_token)
    assert (renewed.user, renewed.device) == (grant.user, grant.device)
    assert renewed.refresh_token != grant.refresh_token
    clock.advance(600)
    await tokens.verify(renewed.access_token)
    with pytest.raises(TokenError, match="expired"):
        await tokens.verify(grant.access_token)


async def test_a_refresh_token_that_comes_again_later_puts_the_device_out(
    accounts: Accounts, tokens: Tokens, clock: HandClock
) -> None:
    stolen = await accounts.register("alice", PASSWORD)
    closed: list[DeviceId] = []
    accounts.on_revoked.append(closed.append)
    owner = await accounts.refresh(stolen.refresh_token)
    clock.advance(LATER)
    await _refused(ErrorCode.REVOKED, accounts.refresh(stolen.refresh_token))
    assert closed == [stolen.device]
    await _refused(ErrorCode.REVOKED, accounts.refresh(owner.refresh_token))
    with pytest.raises(TokenError) as caught:
        await tokens.verify(owner.access_token)
    assert caught.value.code is ErrorCode.REVOKED


async def test_a_client_that_got_no_answer_gets_it_again(accounts: Accounts, clock: HandClock) -> None:
    grant = await accounts.register("alice", PASSWORD)
    lost = await accounts.refresh(grant.refresh_token)
    clock.advance(30)
    again = await accounts.refresh(grant.refresh_token)
    assert again.refresh_token == lost.refresh_token
    await accounts.refresh(again.refresh_token)


async def test_a_token_two_generations_old_puts_the_device_out_at_once(accounts: Accounts) -> None:
    grant = await accounts.register("alice", PASSWORD)
    second = await accounts.refresh(grant.refresh_token)
    await accounts.refresh(second.refresh_token)
    await _refused(ErrorCode.REVOKED, accounts.refresh(grant.refresh_token))


async def test_two_refreshes_at_once_get_the_same_answer(accounts: Accounts, records: AccountRecords) -> None:
    grant = await accounts.register("alice", PASSWORD)
    renewed: list[Grant] = []

    async def refresh() -> None:
        renewed.append(await accounts.refresh(grant.refresh_token))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(refresh)
    assert len({one.refresh_token for one in renewed}) == 1
    assert records.device_records[grant.device].generation == 1


async def test_a_refresh_token_expires_when_it_was_not_used_for_long(accounts: Accounts, clock: HandClock) -> None:
    grant = await accounts.register("alice", PASSWORD)
    clock.advance(2_592_000)
    await _refused(ErrorCode.TOKEN_EXPIRED, accounts.refresh(grant.refresh_token))


@pytest.mark.parametrize("token", ["", ".", "..", "a.0.b", "x" * 10_000, "é.0.x", "\ud800", "a.-1.", "a.1e5.x"])
async def test_garbage_is_no_refresh_token(accounts: Accounts, token: str) -> None:
    await _refused(ErrorCode.BAD_TOKEN, accounts.refresh(token))


async def test_who_knows_a_device_id_cannot_put_it_out(accounts: Accounts) -> None:
    grant = await accounts.register("alice", PASSWORD)
    second = await accounts.refresh(grant.refresh_token)
    third = await accounts.refresh(second.refresh_token)
    proof = grant.refresh_token.rpartition(".")[2]
    for forged in (f"{grant.device}.0.{'A' * len(proof)}", f"{grant.device}.1.{proof}", f"{grant.device}.0."):
        await _refused(ErrorCode.BAD_TOKEN, accounts.refresh(forged))
    elsewhere = RefreshTokens(b"x" * 32).make(grant.device, 0)
    await _refused(ErrorCode.BAD_TOKEN, accounts.refresh(elsewhere))
    await accounts.refresh(third.refresh_token)


async def test_a_token_from_a_future_that_was_rolled_back_is_refused(accounts: Accounts) -> None:
    grant = await accounts.register("alice", PASSWORD)
    await _refused(ErrorCode.BAD_TOKEN, accounts.refresh(RefreshTokens(SECRET).make(grant.device, 7)))
    await accounts.refresh(grant.refresh_token)


async def test_a_token_whose_hash_the_store_does_not_have_is_refused(
    accounts: Accounts, records: AccountRecords
) -> None:
    grant = await accounts.register("alice", PASSWORD)
    record = records.device_records[grant.device]
    records.device_records[grant.device] = type(record)(
        **{name: getattr(record, name) for name in record.__struct_fields__} | {"token_hash": b"another"}
    )
    await _refused(ErrorCode.BAD_TOKEN, accounts.refresh(grant.refresh_token))


async def test_logging_out_closes_the_device_at_once(accounts: Accounts, tokens: Tokens) -> None:
    grant = await accounts.register("alice", PASSWORD)
    closed: list[DeviceId] = []
    accounts.on_revoked.append(closed.append)
    me = await tokens.verify(grant.access_token)
    await accounts.logout(me)
    assert closed == [grant.device]
    with pytest.raises(TokenError, match="revoked"):
        await tokens.verify(grant.access_token)
    await _refused(ErrorCode.REVOKED, accounts.refresh(grant.refresh_token))
    assert await accounts.devices(me) == []


async def test_only_the_owner_can_revoke_a_device(accounts: Accounts, tokens: Tokens) -> None:
    mine = await accounts.register("alice", PASSWORD)
    other = await accounts.register("mallory", PASSWORD)
    me, mallory = await tokens.verify(mine.access_token), await tokens.verify(other.access_token)
    await _refused(ErrorCode.NOT_FOUND, accounts.revoke(mallory, mine.device))
    await _refused(ErrorCode.NOT_FOUND, accounts.revoke(me, DeviceId("a b\0")))
    await accounts.revoke(me, mine.device)
    await _refused(ErrorCode.NOT_FOUND, accounts.revoke(me, mine.device))


async def test_the_device_unused_for_the_longest_makes_room(build: Build, clock: HandClock) -> None:
    accounts = build(devices_per_user=2)
    oldest = await accounts.register("alice", PASSWORD)
    clock.advance(1)
    kept = await accounts.login("alice", PASSWORD, "192.0.2.1")
    clock.advance(1)
    closed: list[DeviceId] = []
    accounts.on_revoked.append(closed.append)
    newest = await accounts.login("alice", PASSWORD, "192.0.2.1")
    assert closed == [oldest.device]
    await accounts.refresh(kept.refresh_token)
    await accounts.refresh(newest.refresh_token)


async def test_a_restarted_node_still_refuses_the_tokens_of_revoked_devices(
    accounts: Accounts, tokens: Tokens, records: AccountRecords, clock: HandClock
) -> None:
    grant = await accounts.register("alice", PASSWORD)
    await accounts.logout(await tokens.verify(grant.access_token))
    clock.advance(60)
    fresh_tokens = Tokens(SECRET, CHEAP, clock)
    await fresh_tokens.verify(grant.access_token)
    restarted = Accounts(records.as_store(), fresh_tokens, RefreshTokens(SECRET), CHEAP, clock)
    await restarted.start()
    with pytest.raises(TokenError, match="revoked"):
        await fresh_tokens.verify(grant.access_token)


async def _refused(code: ErrorCode, call: Awaitable[object]) -> None:
    with pytest.raises(AccountError) as caught:
        await call
    assert caught.value.code is code
