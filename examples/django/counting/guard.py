"""One lock for all workers, and a decorator that runs a view under it."""

import functools
import os
from typing import Any, Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from lockbydir import Lock, PatienceOver

View = Callable[..., HttpResponse]

# `counter.lockdir` lies beside the database, so every process that can reach the database sees the lock.
# timeout: longer than any request works under the lock, in seconds. patience: how long a request
# waits for others, in seconds; less than the harakiri of uwsgi, which would kill a waiter otherwise.
LOCK = Lock(settings.FOLDER / "counter", timeout=10, patience=20, label="count")
LOCK_MADE_IN = os.getpid()


def guarded(view: View) -> View:
    """Run the view while holding `LOCK`: one request at a time, over all workers.

    A request that does not get the lock while its patience lasts is answered with 503, and changes
    nothing. The view finds the `Held` in `request.held`; it is None with `LOCKED=0`.
    """

    @functools.wraps(view)
    def guarded_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        request.held = None
        if not settings.LOCKED:
            return view(request, *args, **kwargs)
        try:
            held = LOCK.acquire()
        except PatienceOver as over:
            return JsonResponse({"error": str(over)}, status=503, headers={"Retry-After": "5"})
        with held:
            request.held = held
            return view(request, *args, **kwargs)

    return guarded_view
