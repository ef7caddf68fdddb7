"""Ways in for devices: found by their entry points, made with the options in config.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from echat_sdk.errors import ConfigError

if TYPE_CHECKING:
    from echat_sdk.agent.service import Transport

GROUP = "echat.transports"
"""Entry points of classes that are made with one argument, `options`: a pydantic model."""


def opened(
    names: Sequence[str], options: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, Transport]]:
    """The transports of these names, each with its options.

    Raises:
        ConfigError: there is none of a name, its package is not installed, or an option is wrong.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if unknown := sorted((set(names) | set(options)) - set(points)):
        known = ", ".join(sorted(points)) or "none"
        raise ConfigError(f"no transport {unknown[0][:60]!r}; there are {known}")
    made = []
    for name in dict.fromkeys(names):
        try:
            kind = points[name].load()
        except ImportError as error:
            raise ConfigError(
                f"transport {name} needs the package {error.name}; "
                f'run: pip install "echat-sdk[{name}]"'
            ) from error
        made.append((name, kind(_options(name, kind, options.get(name, {})))))
    return made


def _options(name: str, kind: type, given: Mapping[str, Any]) -> Any:
    options: Any = get_type_hints(kind.__init__)["options"]  # type: ignore[misc]
    try:
        return TypeAdapter(options).validate_python(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"transports.{name}.{where}: {first['msg']}") from error
