"""Stands for the package lockbydir, and locks nothing: with it the tests of the recipes must fail."""


class LockLost(Exception):
    pass


class PatienceOver(Exception):
    pass


class _Held:
    token = 1
    is_held = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Lock:
    def __init__(self, name, **_):
        pass

    def __enter__(self):
        return _Held()

    def __exit__(self, *_):
        pass

    def try_acquire(self):
        return _Held()


class AsyncLock(Lock):
    async def __aenter__(self):
        return _Held()

    async def __aexit__(self, *_):
        pass
