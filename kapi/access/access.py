"""Who a caller is and what it may do: what an application asks about every request."""

from dataclasses import dataclass

from kapi.access.authentication import Authenticator
from kapi.access.authorization import Authorization
from kapi.access.tokens import Tokens


@dataclass(frozen=True)
class Access:
    """Authentication, authorization, and the tokens of service accounts."""

    authenticator: Authenticator
    authorizer: Authorization
    tokens: Tokens
