"""The first version's module of this name, for programs that import it.

See `lockbydir.lockbydir_OS`.
"""

from lockbydir.lockbydir_OS import *  # noqa: F403
from lockbydir.lockbydir_OS import __all__ as __all__
