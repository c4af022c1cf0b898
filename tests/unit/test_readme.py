"""What the README shows is run as it stands there."""

import re
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_pipeline_of_the_readme_is_traced() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    module = types.ModuleType("mine")
    for block in blocks:
        exec(compile(block, "README.md", "exec"), module.__dict__)  # noqa: S102 — our own text
    plan = module.__dict__["checker"].plan
    assert [stage.name for stage in plan.stages] == ["draft", "sentences", "check", "report"]
    assert plan["check"].ancestry == ("sentences",)
    assert plan["report"].ancestry == ()


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing
