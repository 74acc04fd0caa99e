"""The service proxy: implements Services by nftables rules on the node.

`await run(client, Settings())` synchronizes the rules; `await cleanup()` removes them.
"""

from kapi.proxy.proxy import Proxy, cleanup, run
from kapi.proxy.settings import Settings

__all__ = ["Proxy", "Settings", "cleanup", "run"]
