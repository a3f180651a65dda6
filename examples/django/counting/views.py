"""The views and their addresses."""

import os
import signal

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_http_methods

from counting.guard import LOCK_MADE_IN, guarded
from counting.models import Counter


@require_http_methods(["GET", "POST"])
@guarded
def count(request: HttpRequest) -> HttpResponse:
    """GET returns the counter; POST adds one to it and returns the new value.

    No transaction, no `F()`, no `select_for_update()`: only the lock prevents two requests from
    reading the same value and writing the same successor.
    """
    counter, _ = Counter.objects.get_or_create(pk=1)
    if request.method == "POST":
        counter.count()
        counter.save()
    return JsonResponse(
        {
            "value": counter.value,
            "worker": os.getpid(),
            "lock_made_in": LOCK_MADE_IN,
            "lock_got": str(request.held.how) if request.held else None,
        }
    )


@require_http_methods(["POST"])
@guarded
def crash(request: HttpRequest) -> HttpResponse:
    """Die in the middle: after the read, before the write, and without releasing the lock.

    It opens the pipe, which shows the other end that this worker holds the lock, and dies when the
    other end is closed.
    """
    counter, _ = Counter.objects.get_or_create(pk=1)
    counter.count()
    with open(settings.CRASH_PIPE, "rb") as pipe:
        pipe.read()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives SIGKILL")


urlpatterns = [path("count", count)]
if settings.CRASH_PIPE:
    urlpatterns.append(path("crash", crash))
