"""Label requests out of flags on a real Kafka: a batch at a time, none twice, whole rounds or none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from assertions.core.flag import FlagState
from learning.records import LABEL_REQUESTS, Label, LabelRequest, LabelSource
from learning.view import PARTITIONS
from streams.testing import KafkaForTests
from tests.integration.learning.choosing import BUDGET
from tests.integration.learning.desk import WAIT_SECONDS_MAX, LearningDesk
from tests.integration.learning.retrainer import truth

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


class Traffic(LearningDesk):
    """Flags and labels in."""

    module = "choosing"

    def label(self, requests: list[LabelRequest]) -> None:
        self.put(
            *(
                Label(
                    id=f"l-{r.id}", example=r.id, model=r.model, labeller="tables", source=LabelSource.ORACLE,
                    value=truth(r.example["x"]), labelled_at=datetime.now(UTC),  # type: ignore[index,call-overload,arg-type]
                )
                for r in requests
            )
        )  # fmt: skip

    def requests(self) -> list[LabelRequest]:
        return [r for r in self.learned().labels.requests.values() if r.model == self.model]


@pytest.fixture
def traffic(kafka: KafkaForTests) -> Iterator[Traffic]:
    traffic = Traffic(kafka)
    yield traffic
    traffic.close()


def test_flags_become_batches_that_labels_steer(traffic: Traffic) -> None:
    traffic.flags(0, 12)
    traffic.flags(6, 12, assertion="loud")
    traffic.flags(100, 30, state=FlagState.PROVISIONAL)
    process = traffic.start()
    time.sleep(5)
    assert not traffic.requests(), "18 points are fewer than a round waits for"
    traffic.flags(18, 12)
    traffic.until(lambda: len(traffic.requests()) == BUDGET, "the first batch")
    first = traffic.requests()
    assert all(r.round == 1 and r.selector == "error-seeking" and r.predicted == "low" for r in first)
    both = next((r for r in traffic.requests() if set(r.severities) == {"odd", "loud"}), None)
    if both is not None:
        assert set(both.flags) == {f"odd-{both.id}", f"loud-{both.id}"}
    traffic.flags(30, 20)
    time.sleep(4)
    assert len(traffic.requests()) == BUDGET, "a batch waits until the one before is labelled"
    traffic.label(first)
    traffic.until(lambda: len(traffic.requests()) == 2 * BUDGET, "the second batch")
    assert Counter(r.round for r in traffic.requests()) == {1: BUDGET, 2: BUDGET}
    choice = traffic.learned().choices[traffic.model]
    assert (choice.round, choice.assertions) == (2, ("loud", "odd"))
    assert choice.state is not None
    assert len(choice.state["wrong"]) == BUDGET, "the selector has learned from each label once"  # type: ignore[arg-type]
    assert set(choice.untaught) == {r.id for r in traffic.requests() if r.round == 2}
    process.terminate()
    assert process.wait(WAIT_SECONDS_MAX) == 0


@pytest.mark.chaos
@pytest.mark.parametrize("moment", ["begun", "uncommitted", "committed"])
def test_killed_anywhere_it_leaves_whole_rounds_and_asks_nothing_twice(traffic: Traffic, moment: str) -> None:
    traffic.flags(0, 60)
    first = traffic.start("--die", moment)
    assert first.wait(WAIT_SECONDS_MAX) == -9
    if moment == "committed":  # the coordinator has answered; its markers may be on one partition and not on the other
        traffic.until(lambda: len(traffic.requests()) == BUDGET, "the round that was committed")
    else:
        assert traffic.requests() == []
    traffic.start()
    traffic.until(lambda: len(traffic.requests()) == BUDGET, "the round, from another process")
    batch = traffic.requests()
    traffic.label(batch)
    traffic.until(lambda: len(traffic.requests()) == 2 * BUDGET, "the next round")
    assert Counter(r.round for r in traffic.requests()) == {1: BUDGET, 2: BUDGET}
    assert traffic.learned().labels.count(traffic.model) == BUDGET


def test_two_processes_choose_each_round_once(traffic: Traffic) -> None:
    traffic.start()
    traffic.start()
    traffic.flags(0, 60)
    traffic.until(lambda: len(traffic.requests()) == BUDGET, "a round")
    time.sleep(3)
    assert len(traffic.requests()) == BUDGET


def test_a_round_that_cannot_be_read_whole_is_not_followed_by_another(traffic: Traffic) -> None:
    """A commit is answered before its markers are written, on one partition sooner than on another. A transaction in
    front of what was written has the same effect, for as long as one likes."""
    other = Producer(
        {**traffic.settings.client(), "transactional.id": f"other.{traffic.model}", "transaction.timeout.ms": 300_000}
    )
    other.init_transactions(30)
    other.begin_transaction()
    for partition in range(PARTITIONS):
        other.produce(LABEL_REQUESTS, b"{}", "somebody else", partition=partition)
    assert other.flush(30) == 0
    traffic.flags(0, 60)
    traffic.start()
    traffic.until(lambda: traffic.model in traffic.learned().choices, "a round whose requests nobody can read")
    time.sleep(3)
    assert traffic.requests() == []
    assert traffic.learned().choices[traffic.model].round == 1
    other.abort_transaction(30)
    traffic.until(lambda: len(traffic.requests()) == BUDGET, "its requests")


def test_few_flags_are_chosen_from_when_no_more_come(traffic: Traffic) -> None:
    traffic.flags(0, 3)
    traffic.start("--quiet-seconds", "1")
    traffic.until(lambda: len(traffic.requests()) == 3, "what there is")
