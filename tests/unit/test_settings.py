"""Options: file, environment, and one clear line for everything that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blkcolo.errors import Invalid
from blkcolo.process.settings import ServiceSettings, SettingsError, load, show
from blkcolo.storage.posix_files import open_image
from blkcolo_coordinator.settings import CoordinatorSettings
from blkcolo_node.settings import PrimarySettings, SecondarySettings
from blkcolo_primary.settings import ForwardSettings

MODELS: list[type[ServiceSettings]] = [
    CoordinatorSettings,
    PrimarySettings,
    SecondarySettings,
]
GROUP = '{"name": "g", "volumes": [{"name": "d", "path": "/d", "size": "1G"}]}'


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What the smallest primary needs."""
    monkeypatch.setenv("BLKCOLO_PRIMARY_DATA_DIR", "/data")
    monkeypatch.setenv("BLKCOLO_PRIMARY_GROUPS", f"[{GROUP}]")
    return monkeypatch


def set_everything(
    monkeypatch: pytest.MonkeyPatch, prefix: str, shown: dict[str, object]
) -> None:
    """Puts each shown option into a variable of its own, lists as JSON."""
    for name, value in shown.items():
        if isinstance(value, dict):
            set_everything(monkeypatch, f"{prefix}{name.upper()}__", value)
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            monkeypatch.setenv(prefix + name.upper(), text)


@pytest.mark.parametrize("model", MODELS)
def test_everything_shown_can_be_given_by_the_environment(
    model: type[ServiceSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    sides = 'primary = "127.0.0.1:1"\nsecondary = "unix:/s"\n'
    volume = '[[groups.volumes]]\nname = "d"\npath = "/d"\nsize = "1G"\n'
    config.write_text(
        'data_dir = "/d"\ngrpc.listen = "unix:/g"\nlog.level = "debug"\n'
        '[[groups]]\nname = "g"\n' + (sides if model is CoordinatorSettings else volume)
    )
    shown = show(load(model, config))
    prefix = str(model.model_config.get("env_prefix"))
    set_everything(monkeypatch, prefix, json.loads(shown))
    assert show(load(model, None)) == shown


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GRPC__LISTEN", "here", ["grpc.listen", "'here'", "HOST:PORT", "unix:/PATH"]),
        ("GRPC__LISTEN", "a:70000", ["grpc.listen", "0 to 65535"]),
        ("NBD__LISTEN", "unix:relative", ["nbd.listen", "absolute"]),
        ("NBD__ADVERTISE", "0.0.0.0:1", ["nbd.advertise", "clients connect to"]),
        ("METRICS__LISTEN", "unix:/m", ["metrics.listen", "HOST:PORT"]),
        ("LOG", "debug", ["log = 'debug'", "dictionary"]),
        ("LOG__LEVEL", "loud", ["log.level", "'loud'", "'debug'"]),
        ("LOG__LEVLE", "debug", ["log.levle", "did you mean level?"]),
        ("NBD__MAX_CONNECTIONS", "0", ["nbd.max_connections", "greater than"]),
        ("NBD__HANDSHAKE_TIMEOUT_SECONDS", "soon", ["handshake_timeout", "number"]),
        ("GROUPS", "[{", ["groups = '[{'", "list"]),
        ("GROUPS", "[]", ["groups = []", "at least 1"]),
        ("GROUPS", f"[{GROUP}, {GROUP}]", ["groups", "unique", "'g'"]),
        ("GROUPS", f"[{GROUP}]".replace("1G", "1X"), ["size = '1X'", "K, M, G or T"]),
        ("GROUPS", f"[{GROUP}]".replace("1G", "9999999T"), ["size", "the most"]),
        ("GROUPS", f"[{GROUP}]".replace('"d"', '"d@1"'), ["name = 'd@1'", "pattern"]),
        ("GRPC_LISTEN", "a:1", ["BLKCOLO_PRIMARY_GRPC_LISTEN", "unknown", "GROUPS"]),
    ],
)
def test_bad_variable_names_key_value_and_what_is_allowed(
    variables: pytest.MonkeyPatch, name: str, value: str, words: list[str]
) -> None:
    variables.setenv(f"BLKCOLO_PRIMARY_{name}", value)
    with pytest.raises(SettingsError) as refusal:
        load(PrimarySettings, None)
    for word in words:
        assert word in str(refusal.value), str(refusal.value)


def test_variables_of_kubernetes_for_a_service_of_our_name_are_no_options(
    variables: pytest.MonkeyPatch,
) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT_GRPC", "PORT", "PORT_7401_TCP_ADDR"):
        variables.setenv(f"BLKCOLO_PRIMARY_{name}", "tcp://10.0.0.1:7401")
    assert load(PrimarySettings, None).data_dir == Path("/data")


@pytest.mark.parametrize("content", [b"x = ", b"\xff\xfe", None])
def test_configuration_that_is_no_toml_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    config = tmp_path / "config.toml"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(SettingsError, match=r"--config .*config.toml"):
        load(PrimarySettings, config)


def test_image_that_cannot_be_created_leaves_nothing_behind(tmp_path: Path) -> None:
    for path, size in (
        (tmp_path / "image", (1 << 63) - 1),
        (tmp_path / "file" / "image", 1 << 20),
    ):
        (tmp_path / "file").touch()
        with pytest.raises(Invalid, match=str(path)):
            open_image(path, "disk0", size)
        assert not path.exists()


def window_writes(**options: object) -> object:
    """As `--show-config` shows it."""
    volume = {"name": "d", "path": "/d", "size": 1}
    groups: Any = [{"name": "g", "volumes": [volume], **options}]
    shown = json.loads(show(PrimarySettings(data_dir=Path("/d"), groups=groups)))
    return shown["groups"][0]["window_writes"]


def test_a_default_that_depends_on_another_option_is_shown_as_it_is_in_force() -> None:
    assert window_writes() == 512
    assert window_writes(on_congestion="detach") == 0
    assert window_writes(on_congestion="detach", window_writes=4096) == 4096
    with pytest.raises(ValueError, match="64 or more, or 0 for no bound"):
        window_writes(window_writes=63)


@pytest.mark.parametrize(
    ("options", "warns"),
    [
        ({}, False),
        ({"window_writes": 64}, False),
        ({"on_congestion": "detach"}, False),
        ({"on_congestion": "detach", "window_writes": 512}, False),
        ({"on_congestion": "detach", "window_writes": 64}, True),
    ],
)
def test_a_window_that_a_burst_fills_is_warned_of_where_that_ends_the_protection(
    options: dict[str, Any], warns: bool
) -> None:
    assert ("leave window_writes out" in ForwardSettings(**options).warning) is warns
