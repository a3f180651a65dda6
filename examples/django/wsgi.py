"""The application that uwsgi loads once, in its master, before it forks the workers."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
application = get_wsgi_application()

# Django would import the views, and so create the lock, only at the first request of each worker.
# This creates it now: all workers have the same lock object, from before the fork.
import counting.views  # noqa: E402, F401
