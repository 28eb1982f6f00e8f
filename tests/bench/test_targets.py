"""Which servers take part, and what they are called."""

import pytest

from bench.loopback import TargetRefused
from bench.targets import Target, UnknownPeer


def test_a_server_is_called_by_how_its_clients_speak() -> None:
    assert Target().name == "chatd"
    assert Target(encoding="msgpack", compress=True).name == "chatd msgpack compressed"


def test_chatd_in_plain_json_can_be_the_peer_of_chatd_otherwise() -> None:
    target = Target(encoding="msgpack", peer="chatd")
    assert len(target.launches()) == 2
    assert target.is_only_chatd


def test_chatd_is_not_compared_with_itself() -> None:
    with pytest.raises(UnknownPeer, match="plain JSON"):
        Target(peer="chatd").launches()


def test_a_peer_is_not_asked_for_messagepack() -> None:
    with pytest.raises(UnknownPeer, match="MessagePack"):
        Target(peer="centrifugo=x", encoding="msgpack").launches()


def test_a_peer_whose_program_is_not_there_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(UnknownPeer, match="no program"):
        Target(peer="centrifugo=/nowhere/centrifugo").launches()


def test_a_server_that_runs_already_is_loaded_with_tokens_of_its_own() -> None:
    with pytest.raises(TargetRefused, match="--secret-file"):
        Target(address="127.0.0.1:8000").launches()
    assert len(Target(address="127.0.0.1:8000", speaks="centrifugo").launches()) == 1
