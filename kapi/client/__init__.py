"""The client: HTTPS or the same face without a socket, informers, work queues, events, leases.

Controllers, scheduler, proxy and kubelet see the cluster only through this room. It knows no kind in particular.
"""

from kapi.client.client import Client
from kapi.client.controller import Context, Controller
from kapi.client.events import Recorder
from kapi.client.informer import Informer, Informers
from kapi.client.queue import Queue
from kapi.client.transport import Stream, Transport

__all__ = ["Client", "Context", "Controller", "Informer", "Informers", "Queue", "Recorder", "Stream", "Transport"]
