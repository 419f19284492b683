"""Long work: whatever takes more than a second is a job, a folder that a worker process works through.

A backend has `start(job)` and `cancel(job)`; pages and the command line know no more of it.
"""

from core.jobs.local import LocalBackend

BACKENDS = {  # to add one: a class with start and cancel in its own module, and a line here
    "local": LocalBackend(),
}
