"""mot and mot_real: is a box a true object? Ground truth and tracker output of TUD sequences in
`motmetrics`."""

from __future__ import annotations

from functools import cache

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from benchmarks.active_learning.packages import path
from benchmarks.active_learning.world import Array, Predictions, Task, World

WIDTH, HEIGHT = 640, 480
SEQUENCES = ("TUD-Campus", "TUD-Stadtmitte")
TRUE_IOU = 0.6
GHOST, OBJECT = 0, 1


@cache
def _read(sequence: str, file: str) -> Array:
    """(boxes, 6): frame, track, x, y, width, height."""
    return np.loadtxt(path("motmetrics", "data", sequence, file), delimiter=",", usecols=range(6), ndmin=2)


def overlaps(a: Array, b: Array) -> Array:
    """Intersection over union of (n, 4) and (m, 4) boxes: (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    inside = np.prod(np.maximum(0, high - low), axis=2)
    return np.asarray(inside / (np.prod(a[:, None, 2:], axis=2) + np.prod(b[None, :, 2:], axis=2) - inside))


class Boxes:
    """Boxes of one or more sequences with what surrounds them: the same frame's, and those a frame before and
    after."""

    def __init__(self, sequence: Array, rows: Array, truth: Array, confidence: Array | None, *, known: bool) -> None:
        self.truth = truth
        self.frame = rows[:, 0]
        self.box = rows[:, 2:6]
        frame, track = rows[:, 0], rows[:, 1]
        n = len(rows)
        iou = overlaps(self.box, self.box)
        same = sequence[:, None] == sequence[None, :]
        apart = frame[None, :] - frame[:, None]
        self.near = [np.where(same & (apart == step), iou, 0) for step in (-2, -1, 0, 1, 2)]
        np.fill_diagonal(self.near[2], 0)
        self.track = (
            np.where(track >= 0, track + 1000 * sequence, -1 - np.arange(n)).astype(int) if known else -1 - np.arange(n)
        )
        x, y, w, h = self.box.T
        crowd = (same & (apart == 0)).sum(axis=1)
        columns = [x + w / 2, y + h, w, h, h / w, x, WIDTH - x - w, crowd, self.near[2].max(axis=1)]
        if confidence is not None:
            columns.append(confidence)
        self.change = _change(self.box, frame, self.track)
        self.features = np.column_stack([*columns, *self.change.T])

    def part(self, chosen: Array) -> Boxes:
        """The same boxes' view of a part: its neighbours are the part's."""
        other = object.__new__(Boxes)
        other.truth, other.box, other.track = self.truth[chosen], self.box[chosen], self.track[chosen]
        other.features, other.change = self.features[chosen], self.change[chosen]
        other.near = [near[np.ix_(chosen, chosen)] for near in self.near]
        return other

    def assertions(self, given: Predictions) -> Array:
        kept = given.labels == OBJECT
        before = np.maximum(*[np.where(kept, near, 0).max(axis=1) for near in self.near[:2]])
        after = np.maximum(*[np.where(kept, near, 0).max(axis=1) for near in self.near[3:]])
        seen_before, seen_after = before > 0.3, after > 0.3
        crowded = np.where(kept, self.near[2], 0).max(axis=1)
        aspect = self.box[:, 3] / self.box[:, 2]
        grown = np.abs(self.change).max(axis=1)
        return np.column_stack(
            [
                np.where(kept & ~seen_before & ~seen_after, 1 - np.maximum(before, after), 0),  # appears for one frame
                np.where(~kept & seen_before & seen_after, np.minimum(before, after), 0),  # flickers away
                np.where(kept & (crowded > 0.4), crowded, 0),  # two boxes on one object
                np.where(kept & ((aspect < 1.4) | (aspect > 4.0)), np.abs(aspect - 2.5), 0),  # no person's shape
                np.where(kept & (grown > 0.06), grown, 0),  # not the size that its track had
            ]
        )

    def weak(self, given: Predictions) -> list[tuple[str, Array]]:
        alone, flickered, double, shape, _ = (self.assertions(given) > 0).T
        return [
            ("appears-once", np.where(alone, GHOST, -1)),
            ("flickers", np.where(flickered, OBJECT, -1)),
            ("double", np.where(double, GHOST, -1)),
            ("shape", np.where(shape, GHOST, -1)),
        ]


def _change(box: Array, frame: Array, track: Array) -> Array:
    """(boxes, 2): log of width and height against the median of the same track's other boxes within 5 frames;
    0 where there are none."""
    change = np.zeros((len(box), 2))
    for number in np.unique(track[track >= 0]):
        mine = np.flatnonzero(track == number)
        for i in mine:
            around = mine[(np.abs(frame[mine] - frame[i]) <= 5) & (mine != i)]
            if len(around):
                change[i] = np.log(box[i, 2:] / np.median(box[around, 2:], axis=0))
    return change


def world(boxes: Boxes, start: Array, pool: Array, test: Array) -> World:
    labelled, tested = boxes.part(pool), boxes.part(test)
    scaled = StandardScaler().fit(boxes.features)
    return World(
        (boxes.features[start], boxes.truth[start]), (labelled.features, labelled.truth),
        (tested.features, tested.truth), scaled.transform(labelled.features), labelled.assertions,
        lambda: make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False),
                              LogisticRegression(C=3.0, max_iter=200)),
        lambda t, p: float(balanced_accuracy_score(t, p)), 2, labelled.weak, "balanced accuracy",
    )  # fmt: skip


def deal_mot(rng: np.random.Generator) -> World:
    """Ground truth seen by a simulated detector: it misses, trembles, doubles, and sees ghosts where there is
    clutter."""
    sequences, rows, truth, confidence = [], [], [], []
    for number, name in enumerate(SEQUENCES):
        real = _read(name, "gt.txt")
        seen = real[rng.random(len(real)) > 0.12]
        clutter = np.column_stack(
            [
                rng.uniform(0, WIDTH - 60, 6),
                rng.uniform(60, 260, 6),
                rng.uniform(40, 90, 6),
                rng.uniform(90, 200, 6),
            ]
        )
        ghosts = []
        for frame in np.unique(real[:, 0]):
            stays = clutter[rng.random(6) < 0.35]
            flash = np.column_stack(
                [
                    rng.uniform(0, WIDTH - 60, 2),
                    rng.uniform(0, 260, 2),
                    rng.uniform(30, 110, 2),
                    rng.uniform(60, 220, 2),
                ]
            )
            both = np.concatenate([stays, flash[rng.random(2) < 0.6]])
            ghosts.append(np.column_stack([np.full(len(both), frame), np.full(len(both), -1), both]))
        double = seen[rng.random(len(seen)) < 0.10].copy()
        double[:, 1] = -1
        double[:, 2:] *= rng.uniform(0.75, 1.3, (len(double), 4))
        ghost = np.concatenate([*ghosts, double])
        every = np.concatenate([seen, ghost])
        every[:, 2:] *= rng.normal(1, 0.04, (len(every), 4))
        is_true = np.repeat([OBJECT, GHOST], [len(seen), len(ghost)])
        sequences.append(np.full(len(every), number))
        rows.append(every)
        truth.append(is_true)
        confidence.append(np.clip(rng.normal(np.where(is_true == OBJECT, 0.62, 0.48), 0.16), 0, 1))
    boxes = Boxes(
        np.concatenate(sequences),
        np.concatenate(rows),
        np.concatenate(truth),
        np.concatenate(confidence),
        known=False,
    )
    order = rng.permutation(len(boxes.truth))
    # The first labels come from large, sure boxes: everything small or doubtful is news.
    large = order[(boxes.box[order, 3] > 170)]
    start = np.concatenate([large[boxes.truth[large] == kind][:15] for kind in (GHOST, OBJECT)])
    rest = order[~np.isin(order, start)]
    return world(boxes, start, rest[: int(len(rest) * 0.65)], rest[int(len(rest) * 0.65) :])


@cache
def _tracked() -> Boxes:
    """What a tracker said of both sequences; true where a ground truth box of the frame overlaps by
    TRUE_IOU."""
    sequences, rows, truth = [], [], []
    for number, name in enumerate(SEQUENCES):
        real, said = _read(name, "gt.txt"), _read(name, "test.txt")
        iou = overlaps(said[:, 2:6], real[:, 2:6]) * (said[:, :1] == real[None, :, 0])
        sequences.append(np.full(len(said), number))
        rows.append(said)
        truth.append(np.where(iou.max(axis=1) >= TRUE_IOU, OBJECT, GHOST))
    return Boxes(np.concatenate(sequences), np.concatenate(rows), np.concatenate(truth), None, known=True)


def deal_mot_real(rng: np.random.Generator) -> World:
    boxes = _tracked()
    order = rng.permutation(len(boxes.truth))
    campus = order[boxes.track[order] < 1000]
    start = np.concatenate([campus[boxes.truth[campus] == kind][:10] for kind in (GHOST, OBJECT)])
    rest = order[~np.isin(order, start)]
    # Whole frames are tested on, each third one: the tracker's faults last for many frames, and a pool of the
    # others keeps a box's neighbours in time.
    tested = boxes.frame[rest] % 3 == int(rng.integers(3))
    return world(boxes, start, rest[~tested], rest[tested])


TASKS = (
    Task("mot", "true box or ghost? TUD ground truth, simulated detector; the first are large", deal_mot, 20),
    Task("mot_real", "does a tracker's box fit (IoU ≥ 0.6)? the first are of one sequence", deal_mot_real, 15),
)
