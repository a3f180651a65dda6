"""The algorithm of the first lockbydir (Andreas Krueger, 2015), rewritten from its description.

A lock is the directory NAME.lockdir. It is acquired by mkdir and released by rmdir. Any process that
finds it older than TIMEOUT removes it by rmdir. Waiters look again every CHECKEVERYXSECONDS.
"""

import errno
import os
import time

TIMEOUT = 10
PATIENCE = 30
CHECKEVERYXSECONDS = 0.03
TRY_AGAIN = {errno.EEXIST, errno.EACCES, errno.EPROTO, errno.ENOSPC}


class DLock:
    def __init__(self, name):
        self.directory = name + ".lockdir"
        self.TIMEOUT = TIMEOUT
        self.PATIENCE = PATIENCE
        self.CHECKEVERYXSECONDS = CHECKEVERYXSECONDS
        self.locking_time = None

    def age(self):
        try:
            return time.time() - os.stat(self.directory).st_mtime
        except OSError:
            return -1

    def is_locked(self):
        age = self.age()
        if age > self.TIMEOUT:
            self.break_lock()
            return False
        return age != -1

    def break_lock(self):
        try:
            os.rmdir(self.directory)
        except OSError:
            return False
        return True

    def locking(self):
        try:
            os.mkdir(self.directory)
        except OSError as error:
            if error.errno in TRY_AGAIN:
                return False
            raise
        self.locking_time = time.time()
        return True

    def loop_while_locked_then_locking(self):
        started = time.time()
        while time.time() - started < self.PATIENCE:
            if not self.is_locked() and self.locking():
                return True
            time.sleep(self.CHECKEVERYXSECONDS)
        return False

    def unlocking(self):
        if self.locking_time is None or time.time() - self.locking_time > self.TIMEOUT:
            return False
        self.locking_time = None
        return self.break_lock()
