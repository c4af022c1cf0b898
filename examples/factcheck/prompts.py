"""The few-shot prompts of the three model stages.

Each starts with a prefix that never changes, so that a worker prefills it once and finds it in its prefix
cache ever after; what differs comes last and is short. Written for a base model of 270M parameters, which
copies patterns and follows no instructions. All end without a space: Gemma's tokens carry the space before a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_DRAFT: Final = """\
Question: Tell me about France.
Answer: France is a country in Europe. Its capital is Paris. Its currency is the euro. \
Its people speak French. It borders Spain. Its population is about 66 million.

Question: Tell me about Kenya.
Answer: Kenya is a country in Africa. Its capital is Nairobi. Its currency is the Kenyan shilling. \
Its people speak Swahili. It borders Uganda. Its population is about 51 million.

Question: """

# The relation most often missed comes last: with "borders" in the middle the model answered "continent" for two
# of ten border claims.
_TRIPLE: Final = """\
France's capital is Paris. => France | capital | Paris
Jamaica's currency is the Jamaican dollar. => Jamaica | currency | Jamaican dollar
Brazil's people speak Portuguese. => Brazil | language | Portuguese
China's population is about 1.4 billion. => China | population | 1.4 billion
Kenya is a country in Africa. => Kenya | continent | Africa
Japan is a country in East Asia. => Japan | continent | East Asia
Spain borders France. => Spain | border | France
Kenya borders Uganda. => Kenya | border | Uganda
"""

# Of five wordings on 160 claims this one separated true from false best (area under the ROC curve 0.70, and
# 0.61 on 400 others; with entity, relation and "Claim:" spelled out 0.54 to 0.64), and it is the shortest.
_VERIFY: Final = """\
Nairobi = Nairobi? yes
Portuguese = Spanish? no
Peru, Bolivia = Bolivia? yes
1.4 billion = 14 million? no
"""

STOP: Final = ("\n",)
DRAFT_TOKENS: Final = 80
TRIPLE_TOKENS: Final = 20
VERIFY_TOKENS: Final = 1
VERIFY_FACTS: Final = 2
"""The facts closest to the claim: more of them only make the prompt longer."""
VERIFY_ALTERNATIVES: Final = 20
"""How many alternatives to ask for: "yes" and "no" are both among the first 20 in all but odd prompts."""


def draft_prompt(question: str) -> str:
    """About 110 tokens, of which all but the question are shared."""
    return f"{_DRAFT}{one_line(question)}\nAnswer:"


def triple_prompt(claim: str) -> str:
    """About 130 tokens, of which all but the claim are shared."""
    return f"{_TRIPLE}{one_line(claim)} =>"


def verify_prompt(facts: Sequence[str], said: str) -> str:
    """About 45 tokens. The answer is one token, " yes" or " no"."""
    return f"{_VERIFY}{one_line(', '.join(facts))} = {one_line(said)}?"


def one_line(text: str) -> str:
    """Nothing from outside may start a line of a few-shot prompt of its own."""
    return " ".join(text.split())
