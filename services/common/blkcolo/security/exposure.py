"""Which addresses of a configuration would carry plain text beyond this machine.

Every address of every section is looked at, so that a new option cannot be forgotten.
Loopback and Unix sockets are local. A section may turn its TLS off (`tls = "never"`);
peers and gRPC always use the service's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from blkcolo.addresses import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Options that nobody listens on and nobody here connects to.
_ONLY_SHOWN = ("advertise",)
_SET = "set tls.ca, tls.cert and tls.key (`blkcolo certs init` makes them for a lab)"


def exposures(
    settings: BaseModel, *, has_tls: bool, insecure: bool = False
) -> list[str]:
    """What must not start, a line each; names the key and what to do.

    Args:
        settings: of a service.
        has_tls: whether it has a certificate.
        insecure: whether plain text beyond this machine is allowed.
    """
    if not has_tls and (demands := _demands(settings)):
        return [f"{key} = 'always': there is no certificate; {_SET}" for key in demands]
    return [
        f"{key} = {str(address)!r}: not local, and would be plain text; {_SET}, or"
        " insecure = true to allow plain text"
        for key, address, secured in _addresses(settings, "", secured=has_tls)
        if not (secured or insecure or address.is_local)
    ]


def _addresses(
    value: object, key: str, *, secured: bool
) -> Iterator[tuple[str, Address, bool]]:
    if isinstance(value, Address):
        yield key, value, secured
    elif isinstance(value, BaseModel):
        here = secured and getattr(value, "tls", None) != "never"
        for name in type(value).model_fields:
            if name in _ONLY_SHOWN:
                continue
            inner = getattr(value, name)
            yield from _addresses(inner, _join(key, name), secured=here)
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _addresses(inner, _join(key, str(number)), secured=secured)


def _demands(settings: BaseModel) -> list[str]:
    sections = ((name, getattr(settings, name)) for name in type(settings).model_fields)
    return [
        f"{name}.tls"
        for name, section in sections
        if isinstance(section, BaseModel) and getattr(section, "tls", None) == "always"
    ]


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
