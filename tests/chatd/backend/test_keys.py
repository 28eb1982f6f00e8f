"""API keys: made, verified, rotated, revoked, and what each allows."""

import pytest

from chatd.accounts.tokens import TokenError
from chatd.backend.actions import EVERYTHING, ROLES, BackendAction, actions_of, known_actions
from chatd.backend.caller import caller_of_person
from chatd.backend.key_text import KeyHash, is_key_text, key_id_of, new_key
from chatd.backend.keyring import Keyring
from chatd.rights import Denied
from protocol.codes import ErrorCode
from protocol.names import UserId
from storage.records import UserRecord
from tests.fakes.hand_clock import HandClock
from tests.rig.node import SECRET, Rig


async def make(rig: Rig, *actions: str) -> str:
    _, text = await rig.node.backend.keyring.create("web", actions or ("*",), ("*",))
    return text


async def code(rig: Rig, text: str) -> int:
    with pytest.raises(TokenError) as caught:
        await rig.node.backend.keys.verify(text)
    return caught.value.code


async def test_a_key_is_good_as_soon_as_it_is_made_and_the_store_never_has_its_secret(rig: Rig) -> None:
    text = await make(rig, "publish", "history")
    caller = await rig.node.backend.keys.verify(text)
    assert caller.actions == {BackendAction.PUBLISH, BackendAction.HISTORY}
    [record] = await rig.store.api_keys()
    assert text.rpartition("_")[2].encode() not in record.secret_hash
    assert rig.node.backend.keys.known_caller(text) is caller


async def test_wrong_keys_are_refused(rig: Rig) -> None:
    text = await make(rig)
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    for one in (wrong, "chatd_key_", "chatd_key_x_y", new_key()[1], text + "x", text.upper()):
        assert await code(rig, one) == ErrorCode.BAD_TOKEN
        assert rig.node.backend.keys.known_caller(one) is None


async def test_a_key_of_another_deployment_is_refused(rig: Rig) -> None:
    other = Keyring(rig.store, KeyHash(b"other" * 8), lambda: 0.0)
    _, text = await other.create("web", ["*"], ["*"])
    assert await code(rig, text) == ErrorCode.BAD_TOKEN


async def test_keys_that_others_make_count_at_once_and_guesses_do_not_reach_the_store_for_long(rig: Rig) -> None:
    others = Keyring(rig.store, KeyHash(SECRET), lambda: 0.0)
    for title in ("web", "mobile"):
        _, text = await others.create(title, ["*"], ["*"])
        assert (await rig.node.backend.keys.verify(text)).actions
    for _ in range(100):
        await code(rig, new_key()[1])
    _, text = await others.create("late", ["*"], ["*"])
    assert await code(rig, text) == ErrorCode.BAD_TOKEN
    await rig.node.backend.keys.refresh()
    assert (await rig.node.backend.keys.verify(text)).actions


async def test_a_revoked_key_is_refused_and_its_end_is_told_once_known(rig: Rig) -> None:
    text = await make(rig)
    await rig.node.backend.keys.verify(text)
    ended: list[str] = []
    rig.node.backend.keys.on_ended.append(ended.append)
    await rig.node.backend.keyring.revoke(key_id_of(text) or "")
    await rig.node.backend.keys.refresh()
    assert ended == [key_id_of(text)]
    assert await code(rig, text) == ErrorCode.REVOKED


async def test_a_rotated_key_and_the_old_one_are_both_good_for_a_while(rig: Rig) -> None:
    clock = HandClock()
    keyring = Keyring(rig.store, KeyHash(SECRET), clock)
    old, _ = await keyring.create("web", ["publish"], ["event"], int(clock() * 1000) + 10_000_000)
    new, text = await keyring.rotate(old.key_id, 60.0)
    assert (new.title, new.actions, new.namespaces, new.expires_at) == (
        old.title,
        old.actions,
        old.namespaces,
        old.expires_at,
    )
    after = await keyring.find(old.key_id)
    assert after.expires_at == int(clock() * 1000) + 60_000
    with pytest.raises(Denied):
        await keyring.rotate("nosuch", 60.0)
    assert is_key_text(text)


async def test_when_a_key_was_used_is_saved_and_a_revocation_is_not_undone_by_it(rig: Rig) -> None:
    text = await make(rig)
    keys, keyring = rig.node.backend.keys, rig.node.backend.keyring
    await keys.verify(text)
    await keyring.revoke(key_id_of(text) or "")
    await keys.refresh()
    [record] = await keyring.all()
    assert record.last_used_at is not None
    assert record.revoked_at is not None


@pytest.mark.parametrize(
    ("title", "actions", "namespaces", "ends"),
    [
        ("", ["*"], ["*"], None),
        ("a", [], ["*"], None),
        ("a", ["fly"], ["*"], None),
        ("a", ["*"], [], None),
        ("a", ["*"], ["*"], 1),
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(
    rig: Rig, title: str, actions: list[str], namespaces: list[str], ends: int | None
) -> None:
    with pytest.raises(Denied):
        await rig.node.backend.keyring.create(title, actions, namespaces, ends)


def test_roles_allow_what_they_say() -> None:
    assert actions_of(["admin"]) == EVERYTHING == known_actions(["*"])
    assert BackendAction.USERS_SUSPEND in ROLES["moderator"]
    assert not {BackendAction.KEYS_CHANGE, BackendAction.USERS_ROLES, BackendAction.PUBLISH} & (
        ROLES["moderator"] | ROLES["support"] | ROLES["auditor"]
    )
    assert not [action for action in ROLES["auditor"] if action.value.endswith((".change", ".erase", ".suspend"))]
    assert actions_of(["nosuch"]) == frozenset()
    alice = UserRecord(user=UserId("alice"), password_hash=None, created_at=0, roles=("admin",), is_suspended=True)
    with pytest.raises(Denied):
        caller_of_person(alice)
