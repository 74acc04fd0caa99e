"""The client library: transports (HTTPS, or in-process), informers, work queues, event recorder, leases.

Controllers, scheduler, proxy and kubelet access the API only through it. It has no knowledge of particular kinds.
"""

from kapi.client.client import Client
from kapi.client.controller import Context, Controller
from kapi.client.events import Recorder
from kapi.client.informer import Informer, Informers
from kapi.client.queue import Queue
from kapi.client.transport import Stream, Transport

__all__ = ["Client", "Context", "Controller", "Informer", "Informers", "Queue", "Recorder", "Stream", "Transport"]
