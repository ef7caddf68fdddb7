"""Every error that echat-sdk raises on purpose.

```
EChatError
├─ ConfigError            a setting is wrong; names the key, its value and what is allowed
├─ ConsentError           nobody agreed to that, or consents cannot change like that
├─ DocumentError          an exported memory cannot be taken in; says where in it, and why
├─ AudioError
│  ├─ AudioDeviceError    cannot open, or lost in use
│  └─ AudioFormatError    not audio, or a rate, width, channel count or length out of bounds
├─ ModelError
│  ├─ ModelMissingError   weights or a package are not here; says how to get them
│  ├─ CheckpointError     weights are corrupt or do not fit
│  ├─ UnsupportedError    this model cannot do that; says which one can
│  └─ GenerationError     the token stream broke its grammar, or a limit was hit
├─ PluginError            a plugin failed; names it and the hook
│  └─ PluginGoneError     its process ended too often, and is not started again
└─ StoreError             SQL memory
   ├─ MigrationError      a schema is newer than this program, or a migration failed
   └─ UnknownUserError    nothing is kept of this user
```

A message says what was got, what was expected and what to do. It never carries what a person said.
"""

from __future__ import annotations


class EChatError(Exception):
    """The root: catching it catches all that this package raises on purpose."""


class ConfigError(EChatError):
    """A setting is unknown or out of its bounds."""


class ConsentError(EChatError):
    """Somebody has not agreed to what was asked for, or their consents cannot change like that."""


class DocumentError(EChatError):
    """An exported memory is none, is damaged, or does not fit where it is to go."""


class AudioError(EChatError):
    """Something about sound."""


class AudioDeviceError(AudioError):
    """A microphone or speaker cannot be opened, or was lost in use."""


class AudioFormatError(AudioError):
    """What was given is not audio, or outside the limits that we accept."""


class ModelError(EChatError):
    """Something about a model."""


class ModelMissingError(ModelError):
    """Weights, or a package that runs them, are not installed."""


class CheckpointError(ModelError):
    """Weights are here but damaged, or do not fit the network."""


class UnsupportedError(ModelError):
    """The model was asked for something that it cannot do."""


class GenerationError(ModelError):
    """A model's output broke its grammar or a limit."""


class PluginError(EChatError):
    """A plugin raised, was late, or is none."""


class PluginGoneError(PluginError):
    """A plugin's process has ended for good: too often, or because it was closed."""


class StoreError(EChatError):
    """The SQL memory cannot be read or written."""


class MigrationError(StoreError):
    """The store's schema does not fit this program."""


class UnknownUserError(StoreError):
    """Nothing is kept of a user who was asked for."""
