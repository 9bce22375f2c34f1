"""All options of the three services, as the README's table must show them."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel

from blkcolo_coordinator.settings import CoordinatorSettings
from blkcolo_node.settings import PrimarySettings, SecondarySettings

MODELS: dict[str, type[BaseModel]] = {
    "coordinator": CoordinatorSettings,
    "primary": PrimarySettings,
    "secondary": SecondarySettings,
}
#: Sections that repeat the options of the other role.
_REPEATED = ("as_primary", "as_secondary")


def rows() -> list[tuple[str, str, str]]:
    """Key, services and default of each option, in the order of the models."""
    found: dict[str, dict[str, str]] = {}
    for service, model in MODELS.items():
        for key, default in _options(model, None, ""):
            found.setdefault(key, {})[service] = default
    return [
        (
            f"`{key}`",
            "all" if len(defaults) == len(MODELS) else ", ".join(defaults),
            ", ".join(dict.fromkeys(defaults.values())),
        )
        for key, defaults in found.items()
    ]


def _options(
    model: type[BaseModel], instance: BaseModel | None, prefix: str
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, field in model.model_fields.items():
        depends = field.default_factory_takes_validated_data  # its text says on what
        default = None if depends else field.get_default(call_default_factory=True)
        if instance is not None and not depends:
            default = getattr(instance, name)
        section, many = _section(field.annotation)
        key = prefix + name
        if name in _REPEATED:
            found.append((key, ""))
        elif section is not None:
            held = default if isinstance(default, BaseModel) else None
            found += _options(section, held, f"{key}{'[]' if many else ''}.")
        else:
            required = field.is_required() and instance is None
            found.append((key, "" if required else shown(default)))
    return found


def _section(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model behind an option, and whether it is a list of them."""
    many = get_origin(annotation) is list
    for kind in get_args(annotation) or (annotation,):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind, many
    return None, False


def shown(default: object) -> str:
    """A default as people write it in TOML, without quotes."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int):
        for unit in ("", "K", "M", "G"):
            if default % 1024 or not default:
                return f"{default}{unit}"
            default //= 1024
    return f"{default:g}" if isinstance(default, float) else str(default)
