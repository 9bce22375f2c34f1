"""Configuration: TOML file, then environment; typed, checked and printable.

Every option has a default and says what it does. A service's options come from the
file given by `--config` and from variables with its prefix, where `__` separates the
levels and lists are JSON: BLKCOLO_PRIMARY_GRPC__LISTEN=127.0.0.1:7401. The
environment wins.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from blkcolo.addresses import Address
from blkcolo.errors import Invalid, Reason
from blkcolo.security.exposure import exposures

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
_MAX_SIZE = (1 << 63) - 1  # off_t
#: What Kubernetes sets for a Service named like us; no option is called so.
_SERVICE_LINK = re.compile(r"SERVICE_(HOST|PORT.*)|PORT(_\d+_.*)?")


def parse_size(value: object) -> int:
    """Reads a number of bytes: 4096, "64K", "32MiB", "1G" (all powers of 1024)."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("give bytes as a number, with K, M, G or T for powers of 1024")
    size = int(match[1]) * _UNITS[match[2].upper()]
    if size > _MAX_SIZE:
        raise ValueError(f"no file is so large; {_MAX_SIZE} is the most")
    return size


ByteSize = Annotated[int, BeforeValidator(parse_size)]
Name = Annotated[str, Field(pattern=_NAME)]
TlsUse = Literal["auto", "always", "never"]


class Section(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GrpcSettings(Section):
    """The gRPC server."""

    listen: Address
    """Where gRPC listens: HOST:PORT or unix:/PATH."""


class MetricsSettings(Section):
    """The Prometheus endpoint."""

    listen: Address
    """Where GET /metrics is answered: HOST:PORT."""
    tls: TlsUse = "auto"
    """HTTPS, for clients with a certificate. auto: where `[tls]` is set and other
    machines reach it."""

    @field_validator("listen")
    @classmethod
    def _no_unix(cls, listen: Address) -> Address:
        if listen.is_unix:
            raise ValueError("Prometheus scrapes HOST:PORT only")
        return listen


class TlsSettings(Section):
    """The service's certificate: mutual TLS on gRPC, STARTTLS on NBD."""

    ca: Path
    """PEM file: the CA that signed every peer's certificate."""
    cert: Path
    """PEM file: the own certificate, then intermediates. Its URIs name its role."""
    key: Path
    """PEM file: its private key, without a passphrase. All three are read anew when
    they change."""


class LogSettings(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is written."""
    format: Literal["json", "console"] = "json"
    """One JSON object a line, or lines for people."""


class NbdSettings(Section):
    """The NBD server."""

    listen: Address
    """Where NBD listens: HOST:PORT or unix:/PATH."""
    advertise: Address | None = None
    """HOST:PORT at which clients reach it, for the URIs that are shown; by default
    where it listens, and the machine's host name where that is 0.0.0.0 or [::]."""
    handshake_timeout_seconds: float = Field(10.0, gt=0)
    """A client that has not chosen an export by then is dropped."""
    max_connections: int = Field(100, ge=1)
    """Further clients are dropped; bounds the memory of receive buffers."""
    busy_poll_seconds: float = Field(0.0001, ge=0, le=0.001)
    """How long the next request of a client that sends one at a time, each soon behind
    a reply, is waited for without sleeping; 0: never. Takes CPU, saves a wake-up."""
    tls: TlsUse = "auto"
    """TLS, which is then mandatory. auto: on TCP where `[tls]` is set."""
    verify_client: bool = True
    """With TLS: serve only clients whose certificate has the role nbd or operator."""

    @field_validator("advertise")
    @classmethod
    def _reachable(cls, advertise: Address | None) -> Address | None:
        if advertise is not None and (advertise.is_unix or advertise.is_any):
            raise ValueError("name the HOST:PORT that clients connect to")
        return advertise


class VolumeSettings(Section):
    """One disk."""

    name: Name
    """The NBD export's name; unique on a service, equal on both sides."""
    path: Path
    """The image or block device; a missing image is created if `size` is set."""
    size: ByteSize | None = Field(None, gt=0)
    """Bytes, as 1G; checked if the image exists. Equal on both sides."""
    uuid: UUID | None = None
    """The identity, equal on both sides; by default made of group and volume name."""

    def identity(self, group: str) -> str:
        """The uuid in force."""
        made = uuid5(NAMESPACE_URL, f"blkcolo:{group}/{self.name}")
        return str(self.uuid or made)


class ServiceSettings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(
        env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path
    """The service's own state; one service a folder."""
    log: LogSettings = LogSettings()
    """The log on standard error."""
    tls: TlsSettings | None = None
    """The service's certificate; without it, only local addresses are allowed."""
    insecure: bool = False
    """Allow plain text beyond this machine: whoever is on the network reads and
    writes the disks, and fails groups over."""

    @model_validator(mode="before")
    @classmethod
    def _keep_defaults(cls, given: dict[str, object]) -> dict[str, object]:
        """What a section leaves out keeps the service's default, as nbd.listen does."""
        filled = dict(given)
        for name, field in cls.model_fields.items():
            part, default = given.get(name), field.default
            if isinstance(part, dict) and isinstance(default, Section):
                filled[name] = {**dict(default), **part}
        return filled

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file (which comes as init arguments)."""
        del env_settings, dotenv_settings, file_secret_settings
        return _Environment(settings_cls), init_settings


class _Environment(EnvSettingsSource):
    """Variables are JSON where they can be, else text; the option's type decides."""

    def decode_complex_value(
        self, field_name: str, field: FieldInfo, value: str
    ) -> object:
        del field_name, field
        try:
            return json.loads(value)
        except ValueError:
            return value


class SettingsError(Invalid):
    """The configuration cannot be used; says key, value and what is allowed."""

    def __init__(self, lines: list[str]) -> None:
        """Takes one line an error."""
        super().__init__(Reason.INVALID, "\n".join(lines))


S = TypeVar("S", bound=ServiceSettings)


def load(settings_class: type[S], config: Path | None) -> S:
    """Reads file and environment.

    Raises:
        SettingsError: one line for each key that is wrong.
    """
    try:
        content = tomllib.loads(config.read_text()) if config is not None else {}
    except OSError as error:
        raise SettingsError(
            [f"--config {config}: {error.strerror}; name a readable TOML file"]
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"--config {config}: not TOML: {error}"]) from error
    unknown = _unknown_variables(settings_class)
    if unknown:
        raise SettingsError(unknown)
    try:
        settings = settings_class(**content)
    except ValidationError as error:
        lines = [_line(settings_class, e) for e in error.errors()]
        raise SettingsError(lines) from error
    has_tls = settings.tls is not None
    if lines := exposures(settings, has_tls=has_tls, insecure=settings.insecure):
        raise SettingsError(lines)
    return settings


def show(settings: ServiceSettings) -> str:
    """The effective configuration as JSON."""
    return settings.model_dump_json(indent=2)


def _unknown_variables(settings_class: type[ServiceSettings]) -> list[str]:
    """A line for each variable with our prefix that no option has."""
    prefix = settings_class.model_config.get("env_prefix", "")
    known = [name.upper() for name in settings_class.model_fields]
    return [
        f"{variable}: unknown option; known: {prefix} and {', '.join(known)}"
        for variable in sorted(os.environ)
        if variable.startswith(prefix)
        and (name := variable.removeprefix(prefix).split("__")[0]) not in known
        and not _SERVICE_LINK.fullmatch(name)
    ]


def _line(settings_class: type[BaseModel], error: ErrorDetails) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _keys(settings_class)
        near = difflib.get_close_matches(key.rsplit(".")[-1], known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        return f"{key}: unknown option; {hint}"
    if error["type"] == "missing":
        return f"{key}: missing; set it in the file or in the environment"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key} = {error['input']!r}: {message}"


def _keys(model: type[BaseModel]) -> list[str]:
    """All option names, of sections as well."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(name)
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                names.extend(_keys(part))
    return names


def check_unique(kind: str, names: list[str]) -> None:
    """Raises ValueError if a name comes twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{kind} names must be unique, these are not: {twice}")
