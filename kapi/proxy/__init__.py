"""The service proxy: Services become nftables rules on the node.

`await run(client, Settings())` keeps them true; `await cleanup()` leaves nothing behind.
"""

from kapi.proxy.proxy import Proxy, cleanup, run
from kapi.proxy.settings import Settings

__all__ = ["Proxy", "Settings", "cleanup", "run"]
