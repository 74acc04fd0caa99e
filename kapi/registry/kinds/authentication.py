"""authentication.k8s.io: TokenReview and SelfSubjectReview. Never stored: kapi.api fills in `status` and returns the object."""

from kapi.registry.validation.part import PlainStrategy


class TokenReviewStrategy(PlainStrategy):
    """TokenReview."""


class SelfSubjectReviewStrategy(PlainStrategy):
    """SelfSubjectReview."""
