"""The counter."""

from hashlib import pbkdf2_hmac

from django.db import models


class Counter(models.Model):
    """A number that is read, changed in Python and written back: the classic race."""

    value = models.IntegerField(default=0)
    seal = models.CharField(max_length=64, default="")

    def count(self) -> None:
        """Add one, and seal the new value by a hash over the old seal: about 1 ms of work.

        The hash needs the value that was just read, so it is computed between the read and the write.
        """
        self.value += 1
        number = str(self.value).encode()
        self.seal = pbkdf2_hmac("sha256", number, self.seal.encode(), 2_000).hex()
