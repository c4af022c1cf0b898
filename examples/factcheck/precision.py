"""How often the assertions are right on the demo model's output: `python -m examples.factcheck.precision FILE`.

FILE is what `python -m examples.factcheck.traffic FILE` wrote. A flag is right if, by `examples.factcheck.truth`:

    contradiction, contradiction_of_claims        the flagged sentence, or one that it is said to contradict, is false
    wrong_and_sure, unsupported_numbers,
    confidence_without_agreement                  the flagged sentence is false
    model_disagrees                               the verifier's verdict on the sentence is wrong
    length_anomaly, repetition, refusal,
    language_switch                               at least half of the draft's sentences that can be judged are false,
                                                  or none can be judged

Flags on sentences that cannot be judged are counted apart. No setting of an assertion was chosen on this output.
Then the paper's figure 3: errors of the verifier that assertions find and that sampling by least confidence, taking
the most uncertain fifth, would leave out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from assertions import Assertion, Flag, Observation, Registry, evaluate, library, read_observations
from examples.factcheck.assertions import contradiction, loops, model_disagrees, refuses, wrong_and_sure
from examples.factcheck.subjects import subject_of_question
from examples.factcheck.tables import Country, find_country
from examples.factcheck.truth import judged
from examples.precision import interval

CERTAIN_SHARE: Final = 0.8
"""Verdicts that sampling by least confidence does not reach when it takes the most uncertain fifth."""

VERDICT: Final = "factcheck.verdict"
DRAFT: Final = "factcheck.draft"


def of_the_library() -> list[Assertion]:
    """Those of `assertions.library` that fit this pipeline, as a user would write them."""
    registry = Registry()
    triple = "triple"
    library.unsupported_numbers(
        on=("factcheck.evidence", VERDICT),
        source=lambda evidence: " ".join(evidence["facts"]),
        text=lambda verdict: verdict["sentence"],
        registry=registry,
    )
    library.confidence_without_agreement(
        on=VERDICT,
        question=lambda v: [v["evidence"]["entity"], (v["evidence"][triple] or {}).get("relation")],
        answer=lambda v: (v["evidence"][triple] or {}).get("object"),
        confidence=lambda v: 1 / (1 + math.exp(-v["margin"])),  # the model's own yes
        registry=registry,
    )
    library.length_anomaly(on=DRAFT, registry=registry)
    library.language_switch(on=DRAFT, registry=registry)
    return list(registry)


class Traffic:
    """The observations, and what is true of them."""

    def __init__(self, observations: Iterable[Observation]) -> None:
        self.observations: Final = list(observations)
        self._countries: Final = {
            o.serial: self._country(o.values[0]["text"]) for o in self.observations if o.stages == ("accepted", "draft")
        }
        self.verdicts: Final = {o.id: o for o in self.observations if o.stages == ("verdict",)}
        self.truth: Final = {key: self._true(o) for key, o in self.verdicts.items()}

    def _country(self, question: str) -> Country | None:
        return find_country(subject_of_question(question) or "")

    def _true(self, verdict: Observation) -> bool | None:
        country = self._countries.get(verdict.serial)
        return judged(verdict.values[0]["sentence"], country) if country is not None else None

    def with_evidence(self) -> list[Observation]:
        """And each verdict joined with its evidence, as `on=(evidence, verdict)` sees it."""
        joined = [
            Observation(
                o.pipeline, ("evidence", "verdict"), (o.values[0]["evidence"], *o.values), o.serial, o.path, o.time
            )
            for o in self.verdicts.values()
        ]
        return [*self.observations, *joined]

    def of_draft(self, serial: str) -> list[bool]:
        return [true for key, true in self.truth.items() if self.verdicts[key].serial == serial and true is not None]

    def verdict_is_wrong(self, key: str) -> bool | None:
        label, true = self.verdicts[key].values[0]["label"], self.truth[key]
        return None if true is None or label == "unknown" else (label == "supported") != true


def is_right(flag: Flag, traffic: Traffic) -> bool | None:
    """None: it cannot be judged."""
    place = flag.data.lineage
    if place.stages == ("draft",):
        found = traffic.of_draft(place.serial)
        return not found or sum(found) <= len(found) / 2
    key = "/".join(("factcheck", "verdict", place.serial, place.path, ""))
    if flag.assertion == "model_disagrees":
        return traffic.verdict_is_wrong(key)
    sides = [traffic.truth.get(each) for each in (key, *(flag.data.window if flag.data.assertion.rule else ()))]
    if False in sides:
        return True
    return None if None in sides else False


def row(flags: Iterable[Flag], traffic: Traffic) -> dict[str, Any]:
    verdicts = [is_right(flag, traffic) for flag in flags]
    known = [verdict for verdict in verdicts if verdict is not None]
    low, high = interval(sum(known), len(known))
    share = round(sum(known) / len(known), 3) if known else None
    return {
        "flags": len(verdicts),
        "judged": len(known),
        "right": sum(known),
        "precision": share,
        "low": round(low, 3),
        "high": round(high, 3),
    }


def certain_errors(flags: Mapping[str, list[Flag]], traffic: Traffic) -> dict[str, Any]:
    """The paper's figure 3, of the verifier's verdicts."""
    known = [key for key in traffic.verdicts if traffic.verdict_is_wrong(key) is not None]
    ranked = sorted(known, key=lambda key: traffic.verdicts[key].values[0]["confidence"])
    certain = set(ranked[round((1 - CERTAIN_SHARE) * len(ranked)) :])
    errors = {key for key in known if traffic.verdict_is_wrong(key)}
    found: dict[str, Any] = {
        "verdicts": len(known),
        "errors": len(errors),
        "errors_below_the_most_uncertain_fifth": len(errors & certain),
        "of_these_found": {},
    }
    for name, raised in flags.items():
        here = {flag.observation for flag in raised} & errors & certain
        if here:
            best = max(traffic.verdicts[key].values[0]["confidence"] for key in here)
            found["of_these_found"][name] = {"errors": len(here), "highest_confidence": best}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="only the JSON object, which is the last line otherwise")
    given = parser.parse_args()
    traffic = Traffic(read_observations(given.file))
    own = [contradiction, wrong_and_sure, model_disagrees, refuses, loops]
    chosen = own + of_the_library()
    result = evaluate(chosen, traffic.with_evidence())
    flags = {made.name: [f for f in result.flags if f.assertion == made.name] for made in chosen}
    rows = {name: row(raised, traffic) for name, raised in flags.items()}
    certain = certain_errors(flags, traffic)
    if not given.json:
        print(f"{'assertion':32}{'flags':>7}{'judged':>8}{'right':>7}{'precision':>11}{'95 %':>14}")
        for name, of in rows.items():
            share = "–" if of["precision"] is None else f"{of['precision']:.0%}"
            bounds = f"{of['low']:.0%} to {of['high']:.0%}" if of["judged"] else ""
            print(f"{name:32}{of['flags']:7}{of['judged']:8}{of['right']:7}{share:>11}{bounds:>14}")
        print(
            f"\n{certain['errors']} of {certain['verdicts']} verdicts are wrong; "
            f"{certain['errors_below_the_most_uncertain_fifth']} of those are not among the most uncertain fifth"
        )
    sizes = {"questions": len(traffic.observations) - len(traffic.verdicts), "verdicts": len(traffic.verdicts)}
    true = [each for each in traffic.truth.values() if each is not None]
    sizes |= {"questions": sizes["questions"] // 2, "judged": len(true), "false": len(true) - sum(true)}
    print(json.dumps({"output": sizes, "precision": rows, "figure_3": certain}))


if __name__ == "__main__":
    main()
