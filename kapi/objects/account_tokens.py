"""Legacy service account tokens in Secrets: their claims, and the annotations and labels of the Secret.

The controller creates them and the API server verifies them, so the names of both are here.
"""


from kapi.objects.meta import Object

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
"""Annotations of the Secret."""
LAST_USED, INVALID_SINCE = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"
"""Labels of the Secret: the day its token was last used, and the day since which it is invalid."""
ISSUER = "kubernetes/serviceaccount"
USER = "system:serviceaccount:"
_CLAIM = "kubernetes.io/serviceaccount/"
NAMESPACE, SECRET, NAME, UID = (_CLAIM + name for name in ("namespace", "secret.name", "service-account.name", "service-account.uid"))


def claims(account: Object, secret: str) -> Object:
    """The claims of a Secret's token for a service account, without expiration."""
    meta = account["metadata"]
    return {
        "iss": ISSUER,
        NAMESPACE: meta["namespace"],
        SECRET: secret,
        NAME: meta["name"],
        UID: meta["uid"],
        "sub": f"{USER}{meta['namespace']}:{meta['name']}",
    }
