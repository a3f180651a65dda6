"""The settings: one app, one SQLite file, and three switches from the environment.

* `LOCKED=0` disables the lock, to show lost increments.
* `COUNTING_FOLDER` is the folder of the database and the lock; by default the folder `state` here.
* `CRASH_PIPE` adds the view `/crash`, which waits for the end of this named pipe and then kills
  its own worker. It is for the load test. Never set it in production.
"""

import os
from pathlib import Path

LOCKED = os.environ.get("LOCKED", "1") != "0"
FOLDER = Path(os.environ.get("COUNTING_FOLDER", Path(__file__).resolve().parent / "state"))
FOLDER.mkdir(parents=True, exist_ok=True)
CRASH_PIPE = os.environ.get("CRASH_PIPE")

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "counter.sqlite3",
        # How long SQLite waits, in seconds, while another process uses the file. Under our lock no
        # process ever needs to wait, so SQLite does not: if the lock admitted two, one would fail
        # with "database is locked". Without our lock SQLite waits, every request succeeds, and
        # increments are lost without an error.
        "OPTIONS": {"timeout": 0 if LOCKED else 30},
    }
}
ATOMIC_REQUESTS = False

INSTALLED_APPS = ["counting"]
ROOT_URLCONF = "counting.views"
# No sessions, no users: only the guarded views use the database.
MIDDLEWARE: "list[str]" = []
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
SECRET_KEY = "for an example on the loopback only; it signs nothing here"
