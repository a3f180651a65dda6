"""``DLock``: the interface of the first version."""

TIMEOUT = 10
PATIENCE = 30
CHECKEVERYXSECONDS = 0.03
REMOVETIMEDOUT = True
LOCKDIREXTENSION = ".lockdir"


class DLock:
    """To come."""
