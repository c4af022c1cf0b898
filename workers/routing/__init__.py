"""Which lane a prompt goes to, as pure policies.

`Fleet` holds what workers announced, `Router` one stage instance's decisions, `policy("descant")` the rule.
"""

from workers.routing.blocks import BlockHasher, pack_blocks, unpack_blocks
from workers.routing.fleet import Fleet, Heard
from workers.routing.policy import Choice, NoLaneError, Pick, Policy
from workers.routing.prompt import Fork, PromptInfo, kappa
from workers.routing.registry import policies, policy
from workers.routing.router import Router
from workers.routing.state import WorkerState

__all__ = [
    "BlockHasher",
    "Choice",
    "Fleet",
    "Fork",
    "Heard",
    "NoLaneError",
    "Pick",
    "Policy",
    "PromptInfo",
    "Router",
    "WorkerState",
    "kappa",
    "pack_blocks",
    "policies",
    "policy",
    "unpack_blocks",
]
