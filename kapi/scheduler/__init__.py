"""The scheduler: assigns pods to nodes through a chain of plugins, which can be extended.

`await run(client, Settings())` schedules through any API server. `default_plugins` is the visible list; pass another to `run`.
"""

from kapi.scheduler.framework import Code, Cycle, Event, SchedulingPlugin, Status
from kapi.scheduler.profile import default_plugins
from kapi.scheduler.scheduler import Scheduler, run
from kapi.scheduler.search import Weighted
from kapi.scheduler.settings import ProfileSettings, Settings

__all__ = [
    "Code",
    "Cycle",
    "Event",
    "ProfileSettings",
    "Scheduler",
    "SchedulingPlugin",
    "Settings",
    "Status",
    "Weighted",
    "default_plugins",
    "run",
]
