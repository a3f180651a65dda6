"""What uwsgi loads, once, in its master, before it forks the workers."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
application = get_wsgi_application()

# Django would import the views, and so make the lock, only at each worker's first request. Here
# it is made now: one lock object, from before the fork, in all workers.
import counting.views  # noqa: E402, F401
