"""Limits of a HorizontalPodAutoscaler's change per evaluation: stabilization windows, scaling policies, bounds. Pure.

Times are seconds of one clock, whichever. Reasons and messages are stock's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kapi.objects.meta import Object

DEFAULT_DOWN_WINDOW_SECONDS = 300
"""Default stabilization window for scaling down."""
DEFAULT_SCALE_UP_FACTOR, DEFAULT_SCALE_UP_MIN = 2, 4
"""Without `behavior`, one evaluation may double the replicas, or set them to four."""


class Condition(NamedTuple):
    type: str
    status: str
    reason: str
    message: str


READY = Condition("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size")
_STABILIZED = "recent recommendations were {} than current one, applying the {} recent recommendation"
STABILIZED_DOWN = Condition("AbleToScale", "True", "ScaleDownStabilized", _STABILIZED.format("higher", "highest"))
STABILIZED_UP = Condition("AbleToScale", "True", "ScaleUpStabilized", _STABILIZED.format("lower", "lowest"))
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
_RATE = "the desired replica count is {} faster than the maximum scale rate"
UP_RATE, DOWN_RATE = ("ScaleUpLimit", _RATE.format("increasing")), ("ScaleDownLimit", _RATE.format("decreasing"))


@dataclass(slots=True)
class ScalingHistory:
    """Previous recommendations as (time, replicas) and changes as (time, difference)."""

    recommendations: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)

    def drop_before(self, now: float, seconds: float) -> None:
        self.recommendations = [r for r in self.recommendations if r[0] > now - seconds]
        self.changes = [c for c in self.changes if c[0] > now - seconds]

    def changed(self, since: float) -> int:
        """The sum of changes since a time."""
        return sum(change for at, change in self.changes if at > since)


class Bounds(NamedTuple):
    least: int
    most: int


def normalized(spec: Object, bounds: Bounds, history: ScalingHistory, current: int, wanted: int, now: float) -> tuple[int, list[Condition]]:
    """(new replicas, conditions) for `wanted` replicas; the recommendation is added to the history."""
    behavior = spec.get("behavior")
    up, down = (behavior or {}).get("scaleUp") or {}, (behavior or {}).get("scaleDown") or {}
    windows = (up.get("stabilizationWindowSeconds") or 0, _window(down))
    steady, stabilized = _stabilized(history, current, wanted, windows, now, has_behavior=behavior is not None)
    if behavior is None:
        limits = (max(current * DEFAULT_SCALE_UP_FACTOR, DEFAULT_SCALE_UP_MIN), 0)
    else:
        limits = (_limit(up, current, history, now, _scale_up_limit), _limit(down, current, history, now, _scale_down_limit))
    desired, why = _limited(current, steady, bounds, limits)
    return desired, [stabilized, Condition("ScalingLimited", "False" if desired == steady else "True", *why)]


def _window(down: Object) -> int:
    seconds = down.get("stabilizationWindowSeconds")
    return DEFAULT_DOWN_WINDOW_SECONDS if seconds is None else int(seconds)


def _stabilized(
    history: ScalingHistory, current: int, desired: int, windows: tuple[int, int], now: float, *, has_behavior: bool
) -> tuple[int, Condition]:
    """The lowest recommendation in the scale-up window, the highest in the scale-down window."""
    up = min([desired, *(n for at, n in history.recommendations if at > now - windows[0])])
    down = max([desired, *(n for at, n in history.recommendations if at > now - windows[1])])
    history.recommendations.append((now, desired))
    steady = min(max(current, up), down) if has_behavior else down
    if steady == desired:
        return steady, READY
    return steady, STABILIZED_UP if has_behavior and desired >= current and steady < desired else STABILIZED_DOWN


def _limited(current: int, steady: int, bounds: Bounds, limits: tuple[int, int]) -> tuple[int, tuple[str, str]]:
    """The replicas within the bounds and the limit of the scaling policies."""
    most, least, over, under = bounds.most, bounds.least, TOO_MANY, TOO_FEW
    if steady > current and max(limits[0], current) < most:
        most, over = max(limits[0], current), UP_RATE
    if steady < current and min(limits[1], current) > least:
        least, under = min(limits[1], current), DOWN_RATE
    if steady > most:
        return most, over
    return (least, under) if steady < least else (steady, WITHIN)


def _limit(rules: Object, current: int, history: ScalingHistory, now: float, reached: Callable[[Object, int], int]) -> int:
    """The limit of the policies of one direction."""
    select = rules.get("selectPolicy") or "Max"
    policies: Sequence[Object] = rules.get("policies") or ()
    if select == "Disabled" or not policies:
        return current
    proposals = [reached(policy, current - history.changed(now - policy["periodSeconds"])) for policy in policies]
    furthest: int = max(proposals) if (reached is _scale_up_limit) == (select == "Max") else min(proposals)
    return furthest


def _scale_up_limit(policy: Object, start: int) -> int:
    if policy["type"] == "Pods":
        return start + int(policy["value"])
    return math.ceil(start * (1 + int(policy["value"]) / 100))


def _scale_down_limit(policy: Object, start: int) -> int:
    if policy["type"] == "Pods":
        return start - int(policy["value"])
    return int(start * (1 - int(policy["value"]) / 100))
