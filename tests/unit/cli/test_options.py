"""How commands find Kafka and the user's pipeline."""

import sys
from pathlib import Path

import pytest

from streams.cli.options import kafka_or_fail, load_pipeline
from streams.cli.usage import UsageError
from streams.errors import ConfigError


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_the_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "of-the-environment:9092")
    assert kafka_or_fail("explicit:9092") == "explicit:9092"
    assert kafka_or_fail(None) == "of-the-environment:9092"
    assert kafka_or_fail("") == "of-the-environment:9092"


def test_without_any_kafka_the_error_names_the_three_ways() -> None:
    with pytest.raises(ConfigError, match=r"--bootstrap .*KAFKA_BOOTSTRAP_SERVERS.*descant broker up") as caught:
        kafka_or_fail(None)
    assert caught.value.code == "kafka.unnamed"


def test_a_pipeline_is_found_in_the_current_folder(folder: Path) -> None:
    (folder / "mine_at_hand.py").write_text("shop = object()\n")
    assert type(load_pipeline("mine_at_hand:shop")) is object


@pytest.mark.parametrize("reference", ["shop", "shop:", ":shop", "a/b.py:shop", "a..b:c", "a:b:c", ""])
def test_another_form_is_a_usage_error(reference: str) -> None:
    with pytest.raises(UsageError, match="Write MODULE:NAME"):
        load_pipeline(reference)


def test_a_missing_module_says_where_it_was_looked_for(folder: Path) -> None:
    with pytest.raises(ConfigError, match=f"no module 'not_here_at_all'.*{folder.name}") as caught:
        load_pipeline("not_here_at_all.deep:shop")
    assert caught.value.code == "pipeline.module"


def test_a_missing_package_inside_the_module_is_told_apart(folder: Path) -> None:
    (folder / "mine_needy.py").write_text("import no_such_package_anywhere\n")
    with pytest.raises(ConfigError, match="mine_needy needs the Python package 'no_such_package_anywhere'"):
        load_pipeline("mine_needy:shop")


def test_a_wrong_name_lists_the_pipelines_there(folder: Path) -> None:
    (folder / "mine_named.py").write_text("from streams.flow import Pipeline\nshop = Pipeline('shop')\n")
    with pytest.raises(ConfigError, match=r"mine_named\.py\) has no 'shopp'\. It has shop\.") as caught:
        load_pipeline("mine_named:shopp")
    assert caught.value.code == "pipeline.name"


def test_an_error_inside_the_module_comes_through(folder: Path) -> None:
    (folder / "mine_broken.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load_pipeline("mine_broken:shop")
