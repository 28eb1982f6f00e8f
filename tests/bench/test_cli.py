"""The command line: every scenario has help, remote targets are refused, figures land in files."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from bench.cli import bench
from bench.scenarios import SCENARIOS
from bench.servers import CONFIG
from chatd.config import Config, load
from tests.rig import installed, redis
from tests.rig.cassandra import Keyspace

COMMANDS = [*SCENARIOS, "kill", "compare", "aims", "micro", "sweep", "cassandra", "scale", "redis"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    answer = CliRunner().invoke(bench, [command, "--help"])
    assert answer.exit_code == 0
    assert "Usage" in answer.output


def test_a_remote_target_is_refused() -> None:
    answer = CliRunner().invoke(bench, ["fanout", "--address", "192.0.2.1:80"])
    assert answer.exit_code == 1
    assert "--allow-remote" in answer.output


def test_an_unknown_peer_is_refused() -> None:
    answer = CliRunner().invoke(bench, ["fanout", "--peer", "other=/bin/true"])
    assert answer.exit_code == 1
    assert "centrifugo=" in answer.output


def test_every_command_is_tried_here() -> None:
    assert set(COMMANDS) == set(bench.commands)


def test_what_only_chatd_has_is_not_asked_of_a_peer() -> None:
    assert CliRunner().invoke(bench, ["dm", "--peer", "centrifugo=x"]).exit_code == 2


def test_groups_are_not_asked_of_a_server_that_has_none() -> None:
    answer = CliRunner().invoke(bench, ["rooms", "--address", "127.0.0.1:1"])
    assert answer.exit_code == 2
    assert "groups" in answer.output


def changed(config: msgspec.Struct, shipped: msgspec.Struct) -> set[str]:
    """Name the keys of a table that differ."""
    return {name for name in config.__struct_fields__ if getattr(config, name) != getattr(shipped, name)}


def test_the_configuration_is_as_shipped_but_for_how_much_one_client_or_backend_may_do() -> None:
    config, shipped = load(CONFIG, {}), Config()
    assert changed(config, shipped) == {"limits", "backend"}
    assert changed(config.limits, shipped.limits) == {
        *("connections_per_address", "connects_per_second", "connects_burst"),
        *("commands_per_second", "commands_burst", "messages_per_second", "messages_burst"),
    }
    assert changed(config.backend, shipped.backend) == {
        *("requests_per_second", "requests_burst", "messages_per_second", "messages_burst"),
    }


@pytest.mark.system
@pytest.mark.parametrize(
    "arguments",
    [
        ["fanout", "--clients", "20", "--rate", "50", "--seconds", "0.5"],
        ["fanout", "--clients", "20", "--in-flight", "4", "--seconds", "0.5"],
        ["fanout", "--clients", "20", "--channels", "4", "--compress", "--seconds", "0.5", "--peer", "chatd"],
        ["echo", "--clients", "5", "--encoding", "msgpack", "--compress", "--seconds", "0.5"],
        ["dm", "--clients", "5", "--seconds", "0.5"],
        ["rooms", "--clients", "20", "--rate", "50", "--seconds", "0.5"],
        ["connect", "--clients", "20", "--storm"],
        ["half", "--clients", "20", "--seconds", "0.5"],
        ["api", "--connections", "2", "--clients", "10", "--seconds", "0.5"],
        ["catchup", "--clients", "10", "--missed", "30"],
        ["mixed", "--seconds", "0.5"],
    ],
    ids=" ".join,
)
def test_a_short_run_finds_every_delivery_right(arguments: list[str], tmp_path: Path) -> None:
    answer = CliRunner().invoke(bench, [*arguments, "--results", str(tmp_path), "--no-page"])
    assert answer.exit_code == 0, answer.output
    [path] = tmp_path.glob("*.json")
    for found in json.loads(path.read_text())["rounds"]:
        assert not any(found["checks"].values())
        assert found["figures"]


@pytest.mark.system
@pytest.mark.parametrize(
    "arguments",
    [
        ["across", "--clients", "10", "--writers", "3", "--in-flight", "4", "--seconds", "0.5"],
        ["echo", "--clients", "6", "--seconds", "0.5"],
        ["conversations", "--clients", "20", "--conversations", "6", "--members", "10", "--seconds", "0.5"],
    ],
    ids=" ".join,
)
def test_two_nodes_deliver_what_is_right_and_their_cpu_is_told_apart(arguments: list[str], tmp_path: Path) -> None:
    installed.require(redis.PACKAGES, "The bench of nodes")
    figures = figures_of([*arguments, "--nodes", "2"], tmp_path)
    assert figures["server_cpu"] == pytest.approx(sum(figures[f"{part}_cpu"] for part in ("first", "node1", "redis")))


def figures_of(arguments: list[str], directory: Path) -> dict[str, float]:
    """Run a scenario and return the figures of its only round."""
    answer = CliRunner().invoke(bench, [*arguments, "--results", str(directory), "--no-page"])
    assert answer.exit_code == 0, answer.output
    [path] = directory.glob("*.json")
    [found] = json.loads(path.read_text())["rounds"]
    figures: dict[str, float] = found["figures"]
    return figures


@pytest.mark.system
def test_after_a_storm_everybody_knows_what_is_true(tmp_path: Path) -> None:
    config = tmp_path / "short.toml"
    config.write_text(CONFIG.read_text() + "[presence]\ngrace_seconds = 1.0\ntick_seconds = 0.2\n")
    arguments = ["--clients", "20", "--watched", "4", "--percent", "10", "--grace-seconds", "1"]
    figures = figures_of(["presence", *arguments, "--config", str(config)], tmp_path)
    assert figures["flickers"] == 0
    assert figures["told_offline"] > 0


@pytest.mark.system
def test_readers_who_stop_for_long_are_cut_off_with_the_code_for_slow(tmp_path: Path) -> None:
    config = tmp_path / "small.toml"
    text = CONFIG.read_text().replace("[limits]\n", "[limits]\noutbox_bytes = 20000\n")
    config.write_text(text + "[websocket]\nclose_seconds = 30.0\n")  # the goodbye waits until they read again
    assert load(config, {}).limits.outbox_bytes == 20000
    # 32 MB for each reader: the kernel takes less for one connection, on both sides together.
    arguments = ["--clients", "4", "--percent", "50", "--rate", "1000", "--body-bytes", "16000", "--seconds", "2"]
    figures = figures_of(["slow", *arguments, "--config", str(config)], tmp_path)
    assert figures["cut_off_with_4001"] == figures["cut_off"] == 2


@pytest.mark.system
def test_readers_who_stop_for_short_get_what_they_missed(tmp_path: Path) -> None:
    figures = figures_of(["slow", "--clients", "10", "--percent", "20", "--seconds", "0.5"], tmp_path)
    assert (figures["cut_off"], figures["caught_up"]) == (0, 2)


@pytest.mark.system
def test_a_short_soak_measures_memory_over_several_cycles(tmp_path: Path) -> None:
    profile = tmp_path / "p.toml"
    profile.write_text("[idle]\nusers = 5\n[lurking]\nusers = 20\nmessages_per_second = 100.0\n")
    times = ["--seconds", "2", "--warm-seconds", "0", "--cycle-seconds", "0.3", "--mib-per-hour", "1000000"]
    assert figures_of(["soak", "--profile", str(profile), *times], tmp_path)["cycles"] >= 3


@pytest.mark.system
def test_a_sweep_draws_a_plot_and_keeps_its_figures(tmp_path: Path) -> None:
    arguments = ["sweep", "readers", "--values", "5,50", "--seconds", "0.5", "--rounds", "1", "--to", str(tmp_path)]
    answer = CliRunner().invoke(bench, arguments)
    assert answer.exit_code == 0, answer.output
    assert "<svg" in (tmp_path / "cost-readers.svg").read_text()
    [curve] = json.loads((tmp_path / "cost.json").read_text())["curves"]
    assert [point["value"] for point in curve["points"]] == [5, 50]


@pytest.mark.system
def test_a_short_kill_test_loses_nothing() -> None:
    answer = CliRunner().invoke(bench, ["kill", "--rounds", "2", "--clients", "5", "--longest-seconds", "0.2"])
    assert answer.exit_code == 0, answer.output
    assert "None lost" in answer.output


@pytest.mark.system
def test_the_store_on_cassandra_is_measured_beside_the_bare_driver(cassandra: Keyspace) -> None:
    address = f"{cassandra.host}:{cassandra.port}"
    arguments = ["--senders", "4", "--channels", "2", "--seconds", "0.5", "--cassandra", address]
    answer = CliRunner().invoke(bench, ["cassandra", *arguments])
    assert answer.exit_code == 0, answer.output
    assert "chatd's store" in answer.output
