"""Long work: whatever takes more than a second is a job, a folder that a worker process works through.

A backend has `start`, `cancel`, `pause`, `resume` and `place`; pages and the command line know no more of it.
"""

from core.cluster import chosen
from core.jobs.local import LocalBackend
from core.jobs.on_ray import RayBackend

BACKENDS: dict[str, LocalBackend] = {  # to add one: a class with those in its own module, and a line here
    "local": LocalBackend(),
    "ray": RayBackend(),
}


def backend() -> LocalBackend:
    """The one that CROSSMODAL_BACKEND names."""
    return BACKENDS[chosen()]
