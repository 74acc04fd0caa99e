"""Kinds that are questions: TokenReview and the access reviews. POSTed, answered at once, never stored."""

from collections.abc import Callable

from kapi import limits
from kapi.access import rbac
from kapi.access.access import Access
from kapi.api import negotiation, options, responses, writing
from kapi.api.request import Request
from kapi.objects import errors, fields, jwt, time
from kapi.objects.meta import Object
from kapi.objects.user import Attributes, User
from kapi.registry import metadata, table
from kapi.registry.call import Call
from kapi.registry.kind import Kind
from kapi.registry.rest import default
from kapi.schema import managed


async def answer(request: Request, access: Access, kind: Kind) -> None:
    """Answer the review that was POSTed."""
    accepted = negotiation.of_review(request)
    given = options.write_options(request.query, "CreateOptions")
    what = writing.call(request, kind, given)
    form, raw = writing.media(request), await request.body()
    what.weigh(raw)
    obj = await what.run(writing.decoded, raw, form, what)
    metadata.check_namespace(obj["metadata"], kind.resource.namespaced, what.namespace)
    resource = kind.resource
    if resource.kind == "SelfSubjectReview":
        obj["metadata"] = {"creationTimestamp": time.stamp()}
    else:
        await what.run(_completed, what, obj)
        if resource.kind == "TokenReview" and not (obj.get("spec") or {}).get("token"):
            raise errors.BadRequest("token is required for TokenReview in authentication")
        if causes := await what.run(kind.strategy.validate, obj, None):
            raise errors.invalid("", resource.group, "", causes)
    obj["status"] = _ANSWERS[resource.kind](access, request.user, obj)
    await responses.send_object(request, 201, table.partial(obj, accepted.version) if accepted.shape else obj, accepted)


def _completed(what: Call, obj: Object) -> None:
    default(what, obj)
    resource = what.kind.resource
    managed.track(what.kind.schema, None, obj, manager=what.manager, api_version=resource.api_version, stamp=time.stamp())


def _token(access: Access, user: User, obj: Object) -> Object:
    spec = obj["spec"]
    try:
        found = access.authenticator.authenticate_token(spec["token"], tuple(spec.get("audiences") or access.tokens.audiences))
    except jwt.InvalidToken as why:
        return {"user": {}, "error": str(why)}
    return {"authenticated": True, "user": found.user.info(), "audiences": list(found.audiences)}


def _attributes(user: User, spec: Object) -> Attributes:
    if path := spec.get("nonResourceAttributes"):
        return Attributes(user, path.get("verb", ""), path=path.get("path", ""))
    at = spec.get("resourceAttributes") or {}
    return Attributes(
        user, at.get("verb", ""), at.get("group", ""), at.get("version", ""), at.get("resource", ""),
        at.get("subresource", ""), at.get("namespace", ""), at.get("name", ""), selected=_selected(at.get("fieldSelector") or {}),
    )  # fmt: skip


def _selected(selector: Object) -> tuple[tuple[str, str], ...]:
    """What a review's field selector requires to be equal; one that cannot be read selects nothing, which asks for more."""
    if raw := selector.get("rawSelector"):
        if len(raw) > limits.REVIEW_SELECTOR_CHARACTERS:
            return ()
        try:
            return tuple(fields.parse(raw).equals.items())
        except ValueError:
            return ()
    requirements = ((r.get("key", ""), r.get("values") or []) for r in selector.get("requirements") or () if r.get("operator") == "In")
    return tuple((key, values[0]) for key, values in requirements if len(values) == 1)


def _decided(access: Access, attributes: Attributes) -> Object:
    decision = access.authorizer.authorize(attributes)
    out: Object = {"allowed": decision.allowed}
    if decision.reason:
        out["reason"] = decision.reason
    return out


def _own_access(access: Access, user: User, obj: Object) -> Object:
    return _decided(access, _attributes(user, obj["spec"]))


def _access(access: Access, user: User, obj: Object) -> Object:
    spec = obj["spec"]
    subject = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), spec.get("extra") or {})
    return _decided(access, _attributes(subject, spec))


def _rules(access: Access, user: User, obj: Object) -> Object:
    rules, problems = access.authorizer.rules_for(user, (obj.get("spec") or {}).get("namespace", ""))
    resources, urls = rbac.resource_rules(rules)
    out: Object = {"resourceRules": resources, "nonResourceRules": urls, "incomplete": bool(problems)}
    if problems:
        out["evaluationError"] = ", ".join(problems)
    return out


def _self(access: Access, user: User, obj: Object) -> Object:
    return {"userInfo": user.info()}


_ANSWERS: dict[str, Callable[[Access, User, Object], Object]] = {
    "TokenReview": _token,
    "SelfSubjectReview": _self,
    "SubjectAccessReview": _access,
    "LocalSubjectAccessReview": _access,
    "SelfSubjectAccessReview": _own_access,
    "SelfSubjectRulesReview": _rules,
}
