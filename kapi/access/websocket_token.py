"""A bearer token among the subprotocols of a WebSocket: browsers let a page set no other header.

`Sec-WebSocket-Protocol: v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.TOKEN`
"""

import base64
import binascii

from kapi.access.identity_headers import Headers
from kapi.objects.errors import Unauthorized

PREFIX = b"base64url.bearer.authorization.k8s.io."
_HEADER = b"sec-websocket-protocol"


def _protocols(value: bytes) -> list[bytes]:
    return [protocol.strip() for protocol in value.split(b",")]


def token(headers: Headers) -> str:
    """The token; '' where there is none. Raises Unauthorized for what cannot be one, and for one without another protocol."""
    if (b"upgrade", b"websocket") not in ((name, value.lower()) for name, value in headers):
        return ""
    offered = [protocol for name, value in headers if name == _HEADER for protocol in _protocols(value)]
    tokens = [protocol.removeprefix(PREFIX) for protocol in offered if protocol.startswith(PREFIX)]
    if not tokens:
        return ""
    if len(tokens) > 1:
        raise Unauthorized from ValueError("multiple base64.bearer.authorization tokens specified")
    try:
        found = base64.b64decode(tokens[0] + b"=" * (-len(tokens[0]) % 4), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as why:
        raise Unauthorized from why
    if found and len(offered) == 1:
        raise Unauthorized from ValueError("missing additional subprotocol")
    return found


def without(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers without tokens, as all that comes after is to see them."""
    return [(name, _kept(value) if name == _HEADER else value) for name, value in headers]


def _kept(value: bytes) -> bytes:
    return b", ".join(protocol for protocol in _protocols(value) if not protocol.startswith(PREFIX))
