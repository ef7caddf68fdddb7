"""From what is installed and granted to the plugins of a host."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from echat_sdk.errors import PluginError
from echat_sdk.hooks import manifest as manifests
from echat_sdk.hooks import parts
from echat_sdk.hooks.grants import Grants
from echat_sdk.hooks.isolation.isolated import Isolated
from echat_sdk.hooks.manifest import Manifest
from echat_sdk.hooks.plugins import Plugins, Registered

Options = Mapping[str, Mapping[str, Any]]
"""By the name of a plugin, what it is made with."""


def load(grants: Grants, options: Options) -> tuple[Plugins, list[str]]:
    """The plugins that are enabled; and of those that cannot be used, why.

    Raises:
        ConfigError: two offer a tool of the same name.
    """
    registered, troubles, known = [], [], set()
    for found in manifests.installed():
        if isinstance(found, PluginError):
            troubles.append(str(found))
            continue
        known.add(found.name)
        grant = grants.of(found.name)
        if not grant.enabled:
            continue
        if missing := sorted(grant.missing(found)):
            needs = " ".join(missing)
            troubles.append(
                f"plugin {found.name} {found.version} needs {needs}: it is not used until "
                f"echat plugins grant {found.name} {needs}"
            )
            continue
        try:
            registered.append(registration(found, options.get(found.name, {})))
        except PluginError as error:
            troubles.append(str(error))
    strange = sorted(options.keys() - known - parts.names())
    troubles += [f"no plugin {name!r} for its options" for name in strange]
    return Plugins(registered), troubles


def registration(manifest: Manifest, options: Mapping[str, Any]) -> Registered:
    """A plugin as `Plugins` takes it, with what it needs and no more.

    Raises:
        PluginError: it cannot be made.
    """
    consent = f"share_plugin:{manifest.name}" if manifest.shares else ""
    plugin = isolated(manifest, options) if manifest.isolated else made(manifest, options)
    return Registered(manifest.name, plugin, manifest.needs, consent)


def isolated(manifest: Manifest, options: Mapping[str, Any]) -> Isolated:
    """The plugin in a process of its own.

    Raises:
        PluginError: it cannot be started, or is none.
    """
    return Isolated(
        manifest.name,
        manifest.module,
        manifest.attribute,
        options=options,
        network=any(need.startswith("network:") for need in manifest.needs),
    )


def made(manifest: Manifest, options: Mapping[str, Any]) -> object:
    """The plugin itself, in this process.

    Raises:
        PluginError: its module or its constructor failed, or it does not take the options.
    """
    name = manifest.name
    try:
        found = getattr(importlib.import_module(manifest.module), manifest.attribute)
        if callable(found):
            return found(**options)
    except Exception as error:
        # A stranger's code; what it says is the host's own configuration, and no person's words.
        raise PluginError(f"plugin {name}: {type(error).__name__}: {error}") from error
    if options:
        raise PluginError(f"plugin {name} takes no options")
    return found
