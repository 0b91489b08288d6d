"""The package's exceptions: all of them are a WingbeatError, with the engine's one-line message.

They are raised by the native module. An argument of a wrong Python type is a plain TypeError, as everywhere.
"""


class WingbeatError(Exception):
    """What can go wrong in Wingbeat."""


class ModelFileError(WingbeatError):
    """A model or vocabulary file cannot be read, is damaged, or is no model that can be run."""


class MissingFileError(WingbeatError, FileNotFoundError):
    """There is no such file."""


class DeviceError(WingbeatError, RuntimeError):
    """A device is not there, has no room, or failed."""


class StateError(WingbeatError):
    """A state file is damaged or cannot be written, or a state is another model's."""


class InputError(WingbeatError, ValueError):
    """An argument that cannot be what it is: an empty text, a layer that is not there, a cache's folder that cannot be used."""


for _error in (WingbeatError, ModelFileError, MissingFileError, DeviceError, StateError, InputError):
    _error.__module__ = "wingbeat"
del _error
