"""What the administrator wrote: workers.ini, client.conf and pseudoworker.toml, as frozen dataclasses.

`load` makes a `Configuration` of it, or raises a `ConfigurationError` that lists all mistakes.
"""

from pseudoworker.config.load import Overrides, load
from pseudoworker.config.mistakes import ConfigurationError, Mistake
from pseudoworker.config.model import Configuration

__all__ = ["Configuration", "ConfigurationError", "Mistake", "Overrides", "load"]
