"""Policies by name: those that ship here, and any package's under the entry point group
`descant.policies`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Final

from workers.routing.descant import DescantPolicy
from workers.routing.peers import announced, approximate, simple
from workers.routing.policy import Policy, UnknownPolicyError

ENTRY_POINTS: Final = "descant.policies"

BUILT_IN: Final[Mapping[str, Callable[[], Policy]]] = MappingProxyType(
    {
        made.name: made
        for made in (
            DescantPolicy,
            simple.RoundRobin,
            simple.Random,
            simple.LeastRequests,
            simple.LeastPendingTokens,
            simple.PowerOfTwo,
            simple.VllmDataParallel,
            announced.ConsistentHash,
            announced.LlmdScorers,
            announced.LlmdPreciseScorers,
            announced.LlmdSticky,
            announced.DynamoCost,
            announced.DynamoLmetric,
            approximate.SglangCacheAware,
            approximate.RayPrefixAware,
            approximate.AibrixPrefixCache,
            approximate.PrebleE2,
        )
    }
)
"""Each called without arguments makes a fresh policy with its published defaults."""


def policies() -> dict[str, Callable[[], Policy]]:
    """All of them. A built-in name cannot be taken over by another package."""
    found: dict[str, Callable[[], Policy]] = {point.name: point.load for point in entry_points(group=ENTRY_POINTS)}
    return {**{name: _made_by(load) for name, load in found.items()}, **BUILT_IN}


def _made_by(load: Callable[[], object]) -> Callable[[], Policy]:
    def make() -> Policy:
        factory = load()
        if not callable(factory):
            raise UnknownPolicyError(f"an entry point of {ENTRY_POINTS} is not callable: it must make a policy.")
        made = factory()
        if not isinstance(made, Policy):
            raise UnknownPolicyError(f"an entry point of {ENTRY_POINTS} made a {type(made).__name__}, not a Policy.")
        return made

    return make


def policy(name: str) -> Policy:
    """A fresh policy. Raises UnknownPolicyError, which lists the names there are."""
    known = policies()
    if name not in known:
        raise UnknownPolicyError(f"no routing policy is called {name[:60]!r}; there are: {', '.join(sorted(known))}.")
    return known[name]()
