"""What devices and users say about pushes, over HTTP."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chatd.accounts.principal import Principal
from chatd.api.services import Services
from chatd.config import Config
from chatd.push.devices import PushDevices
from chatd.rights import Denied, Directory
from chatd.settings import Settings
from protocol.codes import ErrorCode
from protocol.names import DeviceId, UserId
from storage.records import DeviceRecord
from tests.chatd.api.conftest import Ask
from tests.fakes.account_records import AccountRecords
from tests.rig.push_servers.webpush import point, to_text

PUSH = "/v1/devices/phone/push"
KEYS = {"p256dh": to_text(point(ec.generate_private_key(ec.SECP256R1()))), "auth": to_text(b"a" * 16)}
BROWSER = {"provider": "webpush", "token": "https://fcm.googleapis.com/fcm/send/x", "details": KEYS}
BAD_TOKENS = [
    {},
    {"provider": "smoke", "token": "x"},
    {"provider": "webhook", "token": "x"},
    {"provider": "fcm", "token": ""},
    {"provider": "fcm", "token": "a b"},
    {"provider": "fcm", "token": "x", "locale": "de_AT!"},
    {"provider": "fcm", "token": "x", "details": {"a": "b" * 600}},
    {"provider": "fcm", "token": "x", "details": {str(number): "" for number in range(20)}},
    {"provider": "apns", "token": "../../x"},
    {**BROWSER, "token": "https://169.254.169.254/"},
    {**BROWSER, "details": {}},
]
BAD_WISHES = [
    {"quiet_from": "22:00"},
    {"quiet_from": "24:00", "quiet_to": "07:00"},
    {"time_zone": "Moon/Base"},
    {"muted_until": -1},
    {"locale": "x" * 40},
    [],
]


def tokens_of(records: AccountRecords) -> list[str]:
    return sorted(record.token for record in records.push_token_records.values())


async def test_a_token_is_registered_replaced_and_removed(ask: Ask, records: AccountRecords) -> None:
    assert await ask("PUT", PUSH, {"provider": "fcm", "token": "one", "locale": "de-AT"}) == (204, None)
    [kept] = records.push_token_records.values()
    assert (kept.user, kept.device, kept.locale) == ("alice", "phone", "de-AT")
    await ask("PUT", PUSH, {"provider": "fcm", "token": "two"})
    assert tokens_of(records) == ["two"]
    assert await ask("PUT", PUSH, BROWSER) == (204, None)
    assert await ask("DELETE", PUSH) == (204, None)
    assert tokens_of(records) == []


async def test_an_app_has_a_token_for_each_kind_up_to_a_bound(ask: Ask, records: AccountRecords) -> None:
    for token, kind in (("aa", "alert"), ("bb", "voip"), ("cc", "liveactivity")):
        await ask("PUT", PUSH, {"provider": "apns", "token": token, "details": {"kind": kind}})
    assert len(tokens_of(records)) == 2  # tokens_per_device of the test
    assert "cc" in tokens_of(records)


async def test_a_token_belongs_to_who_registered_it_last(ask: Ask, services: Services, records: AccountRecords) -> None:
    await ask("PUT", PUSH, {"provider": "fcm", "token": "shared"})
    bobs = services.tokens.issue(UserId("bob"), DeviceId("phone"), is_guest=False, seconds=900)
    await ask("PUT", PUSH, {"provider": "fcm", "token": "shared"}, Authorization=f"Bearer {bobs}")
    assert [record.user for record in records.push_token_records.values()] == ["bob"]


@pytest.mark.parametrize("body", BAD_TOKENS)
async def test_what_is_no_token_is_refused(ask: Ask, records: AccountRecords, body: object) -> None:
    status, problem = await ask("PUT", PUSH, body)
    assert (status, problem["code"]) == (400, ErrorCode.BAD_REQUEST)
    assert tokens_of(records) == []


async def test_devices_of_others_and_guests_are_refused(ask: Ask, services: Services) -> None:
    token = {"provider": "fcm", "token": "x"}
    assert (await ask("PUT", "/v1/devices/other/push", token))[0] == 404
    assert (await ask("DELETE", "/v1/devices/other/push"))[0] == 404
    guest = services.tokens.issue(UserId("guest-1"), DeviceId("phone"), is_guest=True, seconds=900)
    for method, path in (("PUT", PUSH), ("DELETE", PUSH), ("PUT", "/v1/push/preferences")):
        assert (await ask(method, path, token, Authorization=f"Bearer {guest}"))[0] == 403


async def test_another_device_of_the_user_may_be_named(ask: Ask, records: AccountRecords) -> None:
    desk = DeviceRecord(
        device=DeviceId("desk"),
        user=UserId("alice"),
        title="",
        created_at=0,
        seen_at=0,
        generation=0,
        token_hash=b"",
        expires_at=0,
    )
    await records.put_device(desk)
    assert await ask("PUT", "/v1/devices/desk/push", {"provider": "fcm", "token": "x"}) == (204, None)


async def test_a_revoked_device_is_forgotten(ask: Ask, services: Services, records: AccountRecords) -> None:
    await test_another_device_of_the_user_may_be_named(ask, records)
    await services.push_devices.forget(DeviceId("desk"))
    await services.push_devices.forget(DeviceId("unknown"))
    assert tokens_of(records) == []


async def test_wishes_are_kept_for_all_and_for_a_channel(ask: Ask) -> None:
    assert await ask("GET", "/v1/push/preferences") == (200, {})
    wishes = {"quiet_from": "22:00", "quiet_to": "07:00", "time_zone": "Europe/Vienna", "locale": "de"}
    assert await ask("PUT", "/v1/push/preferences", wishes) == (204, None)
    assert await ask("GET", "/v1/push/preferences") == (200, wishes)
    assert await ask("PUT", "/v1/push/preferences/group:a", {"muted_until": 5, "mentions_only": True}) == (204, None)
    assert await ask("GET", "/v1/push/preferences/group:a") == (200, {"muted_until": 5, "mentions_only": True})
    assert await ask("PUT", "/v1/push/preferences/group:a", {}) == (204, None)
    assert await ask("GET", "/v1/push/preferences/group:a") == (200, {})


@pytest.mark.parametrize("body", BAD_WISHES)
async def test_wishes_that_make_no_sense_are_refused(ask: Ask, body: object) -> None:
    status, problem = await ask("PUT", "/v1/push/preferences", body)
    assert (status, problem["code"]) == (400, ErrorCode.BAD_REQUEST)


@pytest.mark.parametrize(("channel", "status"), [("room:a", 403), ("nothing", 404)])
async def test_only_member_channels_have_wishes(ask: Ask, channel: str, status: int) -> None:
    assert (await ask("PUT", f"/v1/push/preferences/{channel}", {}))[0] == status
    assert (await ask("GET", f"/v1/push/preferences/{channel}"))[0] == status


async def test_the_key_of_browsers_is_for_everybody(ask: Ask) -> None:
    assert await ask("GET", "/v1/push/key", Authorization="") == (200, {"key": "the-public-key"})


async def test_without_a_provider_no_token_can_be_registered(records: AccountRecords) -> None:
    devices = PushDevices(records.as_store(), Directory(Settings(Config())), (), (), 2, lambda: 0.0)
    alice = Principal(UserId("alice"), DeviceId("phone"), False, None)
    with pytest.raises(Denied, match="does not push by fcm"):
        await devices.register(alice, DeviceId("phone"), "fcm", "x", {}, "")
