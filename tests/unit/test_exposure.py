"""What starts without TLS, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blkcolo.addresses import Address
from blkcolo.errors import Refused
from blkcolo.process.settings import ServiceSettings, SettingsError, load
from blkcolo.rpc.client import Dialer
from blkcolo_coordinator.settings import CoordinatorSettings
from blkcolo_node.settings import PrimarySettings

if TYPE_CHECKING:
    from pathlib import Path

VOLUMES = (
    '[[groups]]\nname = "g"\n[[groups.volumes]]\nname = "d"\npath = "/d"\nsize = 1\n'
)
TLS = 'tls = {ca = "/ca", cert = "/cert", key = "/key"}\n'


def primary(tmp_path: Path, options: str) -> ServiceSettings:
    path = tmp_path / "primary.toml"
    path.write_text(f'data_dir = "/d"\n{options}{VOLUMES}')
    return load(PrimarySettings, path)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"])
def test_loopback_and_unix_sockets_are_local(host: str) -> None:
    assert Address.parse(f"{host}:1").is_local
    assert Address.parse("unix:/s").is_local


@pytest.mark.parametrize(
    "host", ["[::]", "192.0.2.1", "10.0.0.1", "[fe80::1]", "vm-host", "localhost.evil"]
)
def test_everything_else_is_not(host: str) -> None:
    assert not Address.parse(f"{host}:1").is_local


@pytest.mark.parametrize("key", ["grpc.listen", "nbd.listen", "metrics.listen"])
def test_a_listener_without_tls_does_not_start_and_the_line_says_what_to_do(
    tmp_path: Path, key: str
) -> None:
    option = f'{key} = "0.0.0.0:7777"\n'
    with pytest.raises(SettingsError) as caught:
        primary(tmp_path, option)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{key} = '0.0.0.0:7777': not local")
    for words in ("tls.ca", "blkcolo certs init", "insecure = true"):
        assert words in line
    primary(tmp_path, option + TLS)
    assert primary(tmp_path, option + "insecure = true\n").insecure


def test_peers_count_too(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.toml"
    group = '[[groups]]\nname = "g"\nprimary = "p:1"\nsecondary = "unix:/s"\n'
    path.write_text(f'data_dir = "/d"\n{group}')
    with pytest.raises(SettingsError, match=r"groups\.0\.primary = 'p:1'"):
        load(CoordinatorSettings, path)
    path.write_text(f'data_dir = "/d"\n{TLS}{group}')
    load(CoordinatorSettings, path)


def test_turning_tls_off_for_a_section_needs_insecure_all_the_same(
    tmp_path: Path,
) -> None:
    off = 'nbd.listen = "h:1"\nnbd.tls = "never"\n'
    with pytest.raises(SettingsError, match=r"nbd\.listen = 'h:1'"):
        primary(tmp_path, TLS + off)
    primary(tmp_path, TLS + off + "insecure = true\n")
    primary(tmp_path, TLS + 'nbd.tls = "never"\n')  # on loopback


def test_tls_without_a_certificate_is_refused_even_where_plain_text_is_allowed(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError, match=r"nbd\.tls = 'always': there is no cert"):
        primary(tmp_path, 'nbd.tls = "always"\ninsecure = true\n')


def test_half_a_tls_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tls\.key: missing"):
        primary(tmp_path, 'tls = {ca = "/ca", cert = "/cert"}\n')


def test_the_dialer_refuses_another_machine_in_plain_text() -> None:
    with pytest.raises(Refused, match="another machine"):
        Dialer().check(Address("h", 1))
    Dialer().check(Address("127.0.0.1", 1))
    Dialer().check(Address(path="/s"))
    Dialer(insecure=True).check(Address("h", 1))


def test_an_address_that_is_only_shown_is_no_exposure(tmp_path: Path) -> None:
    settings = primary(tmp_path, 'nbd.advertise = "vm-host.example:10809"\n')
    assert "vm-host.example" in settings.model_dump_json()
