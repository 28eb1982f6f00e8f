"""The descriptions of a cluster name keys of the configuration that exist and go together."""

import re
from argparse import Namespace
from pathlib import Path

from chatd.config import Config, load
from chatd.workers.supervisor import check
from deploy.local.cluster.__main__ import _parser, _settings

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"^ +(CHATD_\w+): (.*)$", re.MULTILINE)


def unquoted(text: str) -> str:
    """Return the value of a line of YAML."""
    return text[1:-1] if text[:1] in {"'", '"'} else text


def is_cluster(config: Config) -> bool:
    """Tell whether several nodes can run with it."""
    check(config, 3)
    return (config.broker.kind, config.store.kind, config.cassandra.replication_factor) == ("redis", "cassandra", 1)


def test_the_cluster_on_this_machine_has_a_configuration_that_can_be_used(tmp_path: Path) -> None:
    arguments: Namespace = _parser().parse_args(["--port", "9000"])
    config = load(None, _settings(arguments, tmp_path, ["127.0.0.1"]))
    assert is_cluster(config)
    assert (config.server.port, config.redis.servers) == (9000, ("127.0.0.1:16379",))


def test_the_cluster_of_docker_compose_has_a_configuration_that_can_be_used() -> None:
    found = _VARIABLE.findall((ROOT / "deploy" / "compose.yaml").read_text())
    assert is_cluster(load(None, {name: unquoted(value) for name, value in found}))


def test_the_image_has_every_package_that_is_installed() -> None:
    copied = re.findall(r"^COPY (\w+) \1$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    packages = re.findall(r'^    "(\w+)[\w.]*",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    listed = {name for name in packages if (ROOT / name / "__init__.py").exists() and name not in {"deploy", "tests"}}
    assert set(copied) == listed


def test_the_cassandra_of_docker_compose_is_set_as_the_documents_ask() -> None:
    changed = re.findall(r"/(batch_size_\w+: \w+|commitlog_sync: \w+)/", (ROOT / "deploy" / "compose.yaml").read_text())
    asked = (ROOT / "docs" / "howto" / "run-with-cassandra.md").read_text()
    assert sorted(changed) == sorted(re.findall(r"^ +(batch_size_\w+: \w+|commitlog_sync: \w+) ?", asked, re.MULTILINE))
    assert len(changed) == 3
