"""Impersonation: the Impersonate-* headers, and the authorization checks they require."""

from collections.abc import Callable, Iterable

from kapi import limits
from kapi.access import rbac
from kapi.access.authorization import Authorizer
from kapi.access.identity_headers import Headers, extra_of, headers_of
from kapi.access.tokens import GROUP as ACCOUNTS
from kapi.access.tokens import PREFIX as ACCOUNT
from kapi.objects import names
from kapi.objects.errors import BadRequest
from kapi.objects.user import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, Attributes, User

_USER, _GROUP, _UID, _EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"
_API = "authentication.k8s.io"


def impersonate(user: User, headers: Headers, authorizer: Authorizer) -> User:
    """The impersonated user; `user` itself without such headers. Raises Forbidden, BadRequest."""
    found = headers_of(headers, b"impersonate-")
    if sum(len(value) for _, value in found) > limits.IMPERSONATION_BYTES:
        raise BadRequest(f"the Impersonate headers are too long: limit is {limits.IMPERSONATION_BYTES}")
    wanted = _wanted(found)
    if wanted is None:
        return user
    for attributes in _questions(user, wanted):
        decision = authorizer.authorize(attributes)
        if not decision.allowed:
            raise rbac.forbidden(attributes, decision.reason)
    return _complete(wanted)


def _wanted(found: list[tuple[str, str]]) -> User | None:
    name = next((value for header, value in found if header == _USER), "")
    groups = tuple(value for header, value in found if header == _GROUP)
    uid = next((value for header, value in found if header == _UID), "")
    extra = extra_of(found, _EXTRA)
    if name:
        return User(name, groups, uid, extra)
    if groups or uid or extra:
        raise BadRequest(f"requested {', '.join(header for header, _ in found)} without impersonating a user")
    return None


def _questions(user: User, wanted: User) -> Iterable[Attributes]:
    ask: Callable[..., Attributes] = lambda **more: Attributes(user, "impersonate", **more)  # noqa: E731
    if account := account_of(wanted.name):
        yield ask(version="v1", resource="serviceaccounts", namespace=account[0], name=account[1])
    else:
        yield ask(version="v1", resource="users", name=wanted.name)
    for group in wanted.groups:
        yield ask(version="v1", resource="groups", name=group)
    for key, values in wanted.extra.items():
        for value in values:
            yield ask(group=_API, version="v1", resource="userextras", subresource=key, name=value)
    if wanted.uid:
        yield ask(group=_API, version="v1", resource="uids", name=wanted.uid)


def account_of(name: str) -> tuple[str, str] | None:
    """(namespace, name) of the service account with this user name, or None."""
    namespace, colon, account = name.removeprefix(ACCOUNT).partition(":") if name.startswith(ACCOUNT) else ("", "", "")
    return (namespace, account) if colon and not names.dns_label(namespace) and not names.dns_subdomain(account) else None


def _complete(wanted: User) -> User:
    """With the groups that stock adds: those of a service account, and system:authenticated or system:unauthenticated."""
    groups = list(wanted.groups)
    if not groups and (account := account_of(wanted.name)):
        groups = [ACCOUNTS, f"{ACCOUNTS}:{account[0]}"]
    common = UNAUTHENTICATED if wanted.name == ANONYMOUS else AUTHENTICATED
    if common not in groups and UNAUTHENTICATED not in groups:
        groups.append(common)
    return User(wanted.name, tuple(groups), wanted.uid, wanted.extra)
