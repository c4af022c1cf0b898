"""Texts of an exact number of tokens, which are the same tokens for the simulated engine and for the dummy Llama.

Each word is a space and three letters: four bytes and one token, as English has it on average.
"""

from __future__ import annotations

import random
import re
from itertools import product
from string import ascii_lowercase
from typing import Final

WORDS: Final = tuple(" " + "".join(letters) for letters in product(ascii_lowercase, repeat=3))

_PLANNED: Final = re.compile(r" =(\d+)$")


def words(name: str, count: int) -> str:
    """So many words, always the same for the same name."""
    return "".join(random.Random(name).choices(WORDS, k=count))


def planned(prompt: str, tokens: int) -> str:
    """The prompt with the length of its answer as the last word. Stages and routers do not read it: only the engine
    knows how long a text will be, as with a real model that ends by itself."""
    return f"{prompt} ={tokens}"


def planned_tokens(prompt: str) -> int | None:
    """What `planned` wrote; None in any other text."""
    found = _PLANNED.search(prompt)
    return None if found is None else int(found[1])


def first_words(text: str, count: int) -> str:
    """The first words of a text, each with its space."""
    return "".join(f" {word}" for word in text.split()[:count])
