"""python -m examples.tracking: how often each assertion is right, judged against what people marked.

Data: the tracks of TUD-Campus and TUD-Stadtmitte that ship in the package motmetrics, its example tracker's output and
the MOTChallenge ground truth; nothing is copied here. No setting was chosen on them. That tracker fills its gaps and
never doubles a box, so flicker and multibox find nothing there: a simulated detector shows that they can, in several
runs. With `--learn` a filter of that detector's boxes, which has seen only large ones, learns from those flags.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from assertions import Flag, Observation, evaluate
from examples.precision import report, statements
from examples.rehearsed import learned
from examples.tracking import assertions as where
from examples.tracking.assertions import SECONDS, Box, identity, multibox, overlap
from learning.rehearsal import Array, Lesson

FRAMES_PER_SECOND = 25
MATCH = 0.5  # of MOTChallenge
SEQUENCES = ("TUD-Campus", "TUD-Stadtmitte")
SEEDS = range(1, 6)
"""Of the simulated detector. Its flags are of two scenes all the same: what is new in each run is where it fails."""


def folder() -> Path:
    found = find_spec("motmetrics")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the tracks are in the package motmetrics: pip install --no-deps motmetrics")
    return Path(found.submodule_search_locations[0]) / "data"


def read(path: Path) -> dict[int, list[Box]]:
    """Frame → its boxes."""
    frames: dict[int, list[Box]] = defaultdict(list)
    for line in path.read_text().split():
        frame, identifier, x, y, w, h = line.split(",")[:6]
        frames[int(frame)].append({"id": int(identifier), "x": float(x), "y": float(y), "w": float(w), "h": float(h)})
    return frames


def observations(camera: str, tracks: dict[int, list[Box]], last: int) -> list[Observation]:
    return [
        Observation(
            pipeline="tracking",
            stages=("boxes",),
            values=({"camera": camera, "frame": frame, "boxes": tracks.get(frame, [])},),
            serial=f"{camera}:{frame}",
            path="",
            time=frame / FRAMES_PER_SECOND,
        )
        for frame in range(1, last + 1)
    ]


class Judge:
    """What people marked, and which of it a box shows."""

    def __init__(self, truth: dict[int, list[Box]], tracks: dict[int, list[Box]]) -> None:
        self._truth, self._tracks = truth, tracks

    def box(self, frame: int, identifier: int) -> Box | None:
        return next((b for b in self._tracks.get(frame, []) if b["id"] == identifier), None)

    def person(self, frame: int, box: Box | None) -> int | None:
        """Whom a box shows; None: nobody."""
        if box is None:
            return None
        found = max(self._truth.get(frame, []), key=lambda t: overlap(t, box), default=None)
        return found["id"] if found is not None and overlap(found, box) >= MATCH else None

    def is_there(self, frame: int, person: int) -> bool:
        return any(t["id"] == person for t in self._truth.get(frame, []))

    def is_error(self, flag: Flag) -> bool:
        """Is something really wrong with what was flagged?"""
        frame = flag.data.example["boxes"]["frame"]
        if flag.assertion == "multibox":
            people = [self.person(frame, box) for box in flag.data.example["boxes"]["boxes"]]
            return None in people or max(Counter(people).values()) > 1
        rule, _, name = flag.data.assertion.rule.partition(":")
        identifier = int(name)
        if rule == "appear":  # right if it shows nobody, or somebody who is there just before or after as well
            frames = [frame] + [int(r.split(":")[1].split("/")[0]) for r in flag.data.window]
            shown = {self.person(f, self.box(f, identifier)) for f in frames}
            around = (min(frames) - 1, max(frames) + 1)
            return None in shown or any(self.is_there(f, p) for f in around for p in shown if p is not None)
        before = int(flag.data.window[0].split(":")[1].split("/")[0])  # right if that person was there all along
        person = self.person(before, self.box(before, identifier))
        missing = range(before + 1, frame)
        return person != self.person(frame, self.box(frame, identifier)) or (
            person is not None and any(self.is_there(f, person) for f in missing)
        )


def simulated(truth: dict[int, list[Box]], chance: random.Random) -> dict[int, list[Box]]:
    """A detector with the faults that these assertions look for: boxes that are missed for some frames, ghosts for some
    frames, and second boxes on one person. Its rates are guesses, and so no precision on it stands for a real one's."""
    frames: dict[int, list[Box]] = defaultdict(list)
    missed: dict[int, int] = {}
    fresh = itertools.count(1_000)
    for frame in sorted(truth):
        for person in truth[frame]:
            if chance.random() < 0.02:
                missed[person["id"]] = frame + chance.randint(1, 8)
            if missed.get(person["id"], 0) > frame:
                continue
            box = {side: person[side] + chance.gauss(0, 3) for side in "xywh"}
            frames[frame].append({"id": person["id"], **box})
            if chance.random() < 0.01:
                twin = next(fresh)
                for later in range(frame, frame + chance.randint(1, 6)):
                    frames[later].append({"id": twin, **box, "x": box["x"] + 4})
        if chance.random() < 0.05:
            ghost, x = next(fresh), chance.uniform(0, 500)
            for later in range(frame, frame + chance.randint(1, 20)):
                frames[later].append({"id": ghost, "x": x, "y": 100.0, "w": 60.0, "h": 150.0})
    return frames


class Detections:
    """The simulated detector's boxes of one sequence as points: is there somebody?"""

    def __init__(self, camera: str) -> None:
        truth = read(folder() / camera / "gt.txt")
        tracks = simulated(truth, random.Random(1))
        self.camera, self.last, judge = camera, max(truth), Judge(truth, tracks)
        self.boxes = [(frame, box) for frame in sorted(tracks) if frame <= self.last for box in tracks[frame]]
        self.truth = np.array(["ghost" if judge.person(f, b) is None else "person" for f, b in self.boxes])
        self.rows = np.array([self._features(frame, box, tracks) for frame, box in self.boxes])

    @staticmethod
    def _features(frame: int, box: Box, tracks: dict[int, list[Box]]) -> list[float]:
        def covered(at: int) -> float:
            return max((overlap(box, b) for b in tracks.get(at, []) if b is not box), default=0.0)

        sides = [box["x"], box["y"] + box["h"], box["w"], box["h"], box["h"] / box["w"]]
        return [*sides, *(covered(frame + step) for step in (-2, -1, 0, 1, 2))]

    def severities(self, said: Array, shares: Array) -> Array:
        """By box: flagged where it is kept (appear, multibox), or where it is missing between two that are kept."""
        kept: dict[int, list[Box]] = defaultdict(list)
        at: dict[tuple[int, int], int] = {}
        for n, (frame, box) in enumerate(self.boxes):
            at[frame, box["id"]] = n
            if said[n] == "person":
                kept[frame].append(box)
        columns = {name: np.zeros(len(said)) for name in RULES}
        for flag in evaluate([identity, multibox], observations(self.camera, kept, self.last)).flags:
            frame = flag.data.example["boxes"]["frame"]
            if flag.assertion == "multibox":
                pairs = itertools.combinations(kept[frame], 2)
                shown = [(frame, b["id"]) for pair in pairs if overlap(*pair) > where.OVERLAP for b in pair]
                rule = "multibox"
            else:
                rule, _, name = flag.data.assertion.rule.partition(":")
                frames = [int(r.split(":")[1].split("/")[0]) for r in flag.data.window]
                frames = [*frames, frame] if rule == "appear" else list(range(min(frames) + 1, frame))
                shown = [(f, int(name)) for f in frames]
            for place in shown:
                if place in at:
                    columns[rule][at[place]] = 1.0
        return np.column_stack(list(columns.values()))


RULES = ("flicker", "appear", "multibox")


def learn() -> None:
    """Traffic is one sequence; gate and exam are the halves of the other."""
    traffic, other = Detections("TUD-Stadtmitte"), Detections("TUD-Campus")
    height = traffic.rows[:, 3]
    large = np.flatnonzero(height > np.median(height))[:40]
    early = np.array([frame <= other.last / 2 for frame, _ in other.boxes])
    lesson = Lesson(
        (traffic.rows[large], traffic.truth[large]), (traffic.rows, traffic.truth),
        (other.rows[early], other.truth[early]), (other.rows[~early], other.truth[~early]), RULES, traffic.severities,
        lambda: make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1_000)),
    )  # fmt: skip
    learned(
        f"{len(traffic.boxes)} boxes of traffic; the first version has seen {len(large)} large ones", lesson, budget=15
    )


def main() -> None:
    if "--learn" in sys.argv:
        learn()
        return
    judged: dict[str, list[list[bool]]] = {
        f"{name}, {kind}": [] for kind in ("tracker", "simulated") for name in ("flicker", "appear", "multibox")
    }
    for camera in SEQUENCES:
        truth = read(folder() / camera / "gt.txt")
        runs = [("tracker", read(folder() / camera / "test.txt"))]
        runs += [("simulated", simulated(truth, random.Random(seed))) for seed in SEEDS]
        for kind, tracks in runs:
            result = evaluate([identity, multibox], observations(camera, tracks, max(truth)))
            judge = Judge(truth, tracks)
            found: dict[str, list[bool]] = defaultdict(list)
            for flag in result.flags:
                name = flag.data.assertion.rule.partition(":")[0] or flag.assertion
                found[f"{name}, {kind}"].append(judge.is_error(flag))
            for name, verdicts in found.items():
                judged[name].append(verdicts)
    of_identity, of_multibox = statements(where, "identity"), statements(where, "multibox")
    lines = {name: of_multibox if name.startswith("multibox") else of_identity for name in judged}
    report(
        f"T = {SECONDS} s; {', '.join(SEQUENCES)}; {len(SEEDS)} runs of the simulated detector on each", judged, lines
    )


if __name__ == "__main__":
    main()
