"""What `descant graph` draws."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.graph import Format, command
from streams.errors import ConfigError, FlowError
from streams.flow import Pipeline
from streams.flow.drawing import drawing, to_mermaid, to_text
from streams.flow.layout import layout
from streams.flow.svg import to_svg
from tests.unit.flow import flows

without_a_flow = Pipeline("empty")

MERMAID = """\
flowchart TD
  n_accepted(["request<br/>Question<br/>key: request"])
  n_split[/"split<br/>fork<br/>one per: request<br/>gives: str<br/>key: request #gt; split"\\]
  n_triple["triple<br/>map<br/>one per: request #gt; split<br/>gives: list[str]<br/>key: request #gt; split"]
  n_look_up["look_up<br/>map<br/>one per: request #gt; split<br/>gives: int<br/>key: request"]
  n_all_evidence["all_evidence<br/>map<br/>one per: request<br/>gives: list[int]<br/>key: request<br/>digests of: triple"]
  n_judge["judge<br/>map<br/>one per: request #gt; split<br/>gives: bool<br/>key: request"]
  n_all_verdicts["all_verdicts<br/>map<br/>one per: request<br/>gives: int<br/>key: request<br/>digests of: triple"]
  n_summary["summary<br/>map<br/>one per: request<br/>gives: str<br/>key: request"]
  n_answers(["answer<br/>str<br/>key: request"])
  n_accepted --> n_split
  n_split --> n_triple
  n_triple --> n_look_up
  n_look_up ==>|stream| n_all_evidence
  n_triple --> n_judge
  n_judge ==>|stream| n_all_verdicts
  n_accepted --> n_all_verdicts
  n_all_evidence --> n_summary
  n_all_verdicts --> n_summary
  n_summary --> n_answers
"""  # noqa: E501

TEXT = """\
STAGE     READS                       KIND            ONE PER           GIVES     KEY
accepted                              request         request           Question  request
draft     accepted                    model writer    request           text      request
claims    draft (text)                fork            request           Claim     request > claims
evidence  claims                      map             request > claims  Evidence  request > claims
verify    claims, evidence            model verifier  request > claims  text      request > claims
verdict   claims, verify (text)       map             request > claims  Verdict   request
report    accepted, verdict (stream)  map             request           Report    request
answers   report                      answer          request           Report    request
"""


def test_mermaid() -> None:
    assert to_mermaid(drawing(flows.diamond.plan)) == MERMAID


def test_text() -> None:
    assert to_text(drawing(flows.factcheck.plan)) == TEXT


def test_svg_is_well_formed_and_its_boxes_do_not_overlap() -> None:
    root = ElementTree.fromstring(to_svg(drawing(flows.factcheck.plan)))  # noqa: S314 - our own
    name = "{http://www.w3.org/2000/svg}"
    boxes = [
        tuple(float(box.get(key, "")) for key in ("x", "y", "width", "height"))
        for box in root.iter(f"{name}rect")
        if (box.get("class") or "").startswith("box")
    ]
    assert len(boxes) == 8
    for x, y, width, height in boxes:
        assert x >= 0
        assert y >= 0
        assert x + width <= float(root.get("width", ""))
        assert y + height <= float(root.get("height", ""))
    for i, (ax, ay, aw, ah) in enumerate(boxes):
        for bx, by, bw, bh in boxes[:i]:
            assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay
    words = {text.text for text in root.iter(f"{name}text")}
    assert {"verdict", "model verifier", "key: request > claims", "stream"} <= words


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16), st.integers(1, 8))
def test_layout_keeps_boxes_and_bends_of_a_layer_apart(pairs: list[tuple[int, int]], count: int) -> None:
    names = {str(n): 40.0 + 10 * n for n in range(count)}
    arrows = [(str(a), str(b)) for a, b in pairs if a < b < count]
    placed = layout(names, arrows)
    assert placed == layout(names, arrows)
    assert all(placed.layer[a] < placed.layer[b] for a, b in arrows)
    spots: dict[int, list[tuple[float, float]]] = {}
    for name, centre in placed.centre.items():
        spots.setdefault(placed.layer[name], []).append((centre, names[name]))
    for bends in placed.bends.values():
        for level, x in bends:
            spots.setdefault(level, []).append((x, 0.0))
    for in_layer in spots.values():
        for (a, a_width), (b, b_width) in pairwise(sorted(in_layer)):
            assert a + a_width / 2 <= b - b_width / 2
        assert all(x - width / 2 >= -1e-6 and x + width / 2 <= placed.width + 1e-6 for x, width in in_layer)


@pytest.mark.parametrize(
    ("form", "begins"), [(Format.MERMAID, "flowchart TD"), (Format.SVG, "<svg "), (Format.TEXT, "STAGE")]
)
def test_graph_command(form: Format, begins: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("tests.unit.flow.flows:factcheck", form=form)
    shown = capsys.readouterr().out
    assert shown.startswith(begins)
    command("tests.unit.flow.flows:factcheck", form=form, output=tmp_path / "drawn")
    assert (tmp_path / "drawn").read_text(encoding="utf-8") == shown


def test_graph_command_refuses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a Pipeline") as no_pipeline:
        command("tests.unit.flow.flows:Question")
    assert no_pipeline.value.code == "pipeline.type"
    with pytest.raises(ConfigError, match="--output") as no_file:
        command("tests.unit.flow.flows:diamond", output=tmp_path)
    assert no_file.value.code == "config.output"
    with pytest.raises(FlowError) as no_flow:
        command(f"{__name__}:without_a_flow")
    assert no_flow.value.code == "flow.missing"
