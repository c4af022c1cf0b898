"""The verifier: a logistic regression over the model's margin and how alike claim and facts are.

Its file is skops, which holds no code: loading one that somebody else wrote cannot run anything. It starts
from `seed_claims.csv`, a few claims about the capitals and continents of European countries, and so has never
seen a number, a border or a currency; what it does not know yet is what flags and labels teach it.
"""

from __future__ import annotations

import csv
import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from examples.factcheck.features import FEATURES, features, row
from examples.factcheck.lookup import look_up
from examples.factcheck.models import Evidence, Triple
from examples.factcheck.tables import Relation
from streams.errors import ConfigError

PATH_VARIABLE: Final = "FACTCHECK_VERIFIER"
SEED_CLAIMS: Final = Path(__file__).with_name("seed_claims.csv")
CLASSES: Final = ([False, True], ["refuted", "supported"])
"""Of the file that is made from the seed claims, and of versions that were trained on labels."""
# Beyond this the few seed claims, which are separable, would make the regression certain of everything.
INVERSE_REGULARISATION: Final = 1.0


@dataclass(frozen=True, slots=True)
class Example:
    """A claim with its evidence, the model's margin, and whether it is true."""

    evidence: Evidence
    margin: float
    true: bool


@dataclass(frozen=True, slots=True)
class Verifier:
    version: str
    """The first eight hex digits of its file's SHA-256; "v" and the number of one that was promoted."""
    estimator: Any
    """A fitted scikit-learn classifier of CLASSES over FEATURES; the second class says that the claim is true."""

    def probability(self, values: Sequence[float]) -> float:
        """That the claim is true, 0 to 1."""
        return float(self.estimator.predict_proba([list(values)])[0, 1])


def seed_examples(path: Path = SEED_CLAIMS) -> list[Example]:
    """The biased set that the verifier starts from, or another file of the same columns: entity, relation, object,
    truth, margin of the model."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Example(
                look_up(Triple(entity=r["entity"], relation=cast("Relation", r["relation"]), object=r["object"])),
                float(r["margin"]),
                r["true"] == "1",
            )
            for r in csv.DictReader(file)
        ]


def fit(examples: Iterable[Example]) -> Any:
    """A classifier for `Verifier`. Raises ValueError where all examples are of one class, or where one has no facts."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 (1 s: only who judges waits for it)

    rows = [(row(features(e.evidence, e.margin)), e.true) for e in examples]
    estimator = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=1_000)
    return estimator.fit([list(values) for values, _ in rows], [true for _, true in rows])


def save(estimator: Any, path: Path) -> str:
    """Writes the file, whole or not at all, and gives its version."""
    import skops.io  # noqa: PLC0415 (as above)

    content: bytes = skops.io.dumps(estimator)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
    return _version(content)


def load(path: Path) -> Verifier:
    """Raises ConfigError if the file is no verifier over FEATURES, or holds a type that skops does not trust."""
    content = path.read_bytes()
    return read(content, path.name, _version(content))


def read(content: bytes, name: str, version: str) -> Verifier:
    """As `load`, of a file's content."""
    import skops.io  # noqa: PLC0415 (as above)

    try:
        estimator = skops.io.loads(content)
    except Exception as error:
        raise ConfigError(
            f"{name} is not a verifier that can be loaded ({type(error).__name__}). Make one with "
            "`python -m examples.factcheck.train`.",
            code="factcheck.verifier",
        ) from error
    if getattr(estimator, "n_features_in_", None) != len(FEATURES) or list(estimator.classes_) not in CLASSES:
        raise ConfigError(
            f"{name} was made for other features than {', '.join(FEATURES)}. Make it again with "
            "`python -m examples.factcheck.train`.",
            code="factcheck.verifier",
        )
    return Verifier(version, estimator)


def verifier_path() -> Path:
    """`FACTCHECK_VERIFIER`, else a file in the user's cache, named after the seed claims that it is made from."""
    if given := os.environ.get(PATH_VARIABLE):
        return Path(given)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    seed = hashlib.sha256(SEED_CLAIMS.read_bytes() + repr(FEATURES).encode()).hexdigest()[:8]
    return base / "descant" / "factcheck" / f"verifier-{seed}.skops"


@cache
def current() -> Verifier:
    """The verifier of this process; made from the seed claims on first use. Blocks for a second, once."""
    path = verifier_path()
    if not path.exists():
        save(fit(seed_examples()), path)
    return load(path)


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
