"""Accounts on the real store: what was promised is still so after a restart, and the store decides who was first."""

from pathlib import Path

import pytest
import trio

from chatd.accounts.accounts import Accounts
from chatd.accounts.errors import AccountError
from chatd.accounts.refresh_tokens import RefreshTokens
from chatd.accounts.tokens import TokenError, Tokens
from protocol.codes import ErrorCode
from storage import Store
from storage.sqlite import open_sqlite
from tests.chatd.accounts.conftest import CHEAP, SECRET
from tests.fakes.hand_clock import HandClock

PASSWORD = "correct horse"


async def test_accounts_outlive_the_process(tmp_path: Path, clock: HandClock) -> None:
    async with open_sqlite(tmp_path / "db") as store:
        tokens, accounts = _parts(store, clock)
        kept = await accounts.register("alice", PASSWORD, "phone")
        gone = await accounts.login("Alice", PASSWORD, "192.0.2.1", "laptop")
        renewed = await accounts.refresh(kept.refresh_token)
        await accounts.revoke(await tokens.verify(kept.access_token), gone.device)
    async with open_sqlite(tmp_path / "db") as store:
        tokens, accounts = _parts(store, clock)
        await accounts.start()
        with pytest.raises(TokenError, match="revoked"):
            await tokens.verify(gone.access_token)
        me = await tokens.verify(renewed.access_token)
        assert [device.title for device in await accounts.devices(me)] == ["phone"]
        assert (await accounts.refresh(renewed.refresh_token)).user == "alice"
        with pytest.raises(AccountError) as caught:
            await accounts.refresh(kept.refresh_token)
        assert caught.value.code is ErrorCode.REVOKED


async def test_of_many_at_once_the_store_lets_one_be_first(tmp_path: Path, clock: HandClock) -> None:
    async with open_sqlite(tmp_path / "db") as store:
        _, accounts = _parts(store, clock)
        grant = await accounts.guest()
        refreshed: list[str] = []
        registered: list[object] = []

        async def refresh() -> None:
            refreshed.append((await accounts.refresh(grant.refresh_token)).refresh_token)

        async def register() -> None:
            try:
                registered.append(await accounts.register("bob", PASSWORD))
            except AccountError as error:
                registered.append(error.code)

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(refresh)
                nursery.start_soon(register)
        assert len(refreshed) == 8
        assert len(set(refreshed)) == 1
        assert registered.count(ErrorCode.NAME_TAKEN) == 7


def _parts(store: Store, clock: HandClock) -> tuple[Tokens, Accounts]:
    tokens = Tokens(SECRET, CHEAP, clock)
    return tokens, Accounts(store, tokens, RefreshTokens(SECRET), CHEAP, clock)
