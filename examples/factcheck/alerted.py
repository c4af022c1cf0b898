"""What the assertions raise while the demo runs: read from `assertions.flags` as `descant alerts` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.text import Text

from assertions import Flag, FlagState, alerts
from streams.settings import KafkaSettings


@dataclass(slots=True)
class Raised:
    """The alerts of one run of the demo. Those that were withdrawn again are not among them."""

    by_id: dict[str, Flag] = field(default_factory=dict)

    def take(self, flag: Flag) -> bool:
        """Whether it says something that none before it has said: each question is asked twice."""
        if flag.state is FlagState.WITHDRAWN:
            self.by_id.pop(flag.id, None)
            return False
        told = alert_line(flag).plain
        is_news = all(alert_line(known).plain != told for known in self.by_id.values())
        self.by_id[flag.id] = flag
        return is_news

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(flag.assertion for flag in self.by_id.values()).items()))

    def summary(self) -> Text:
        """One line for the end."""
        told = ", ".join(f"{count} {name}" for name, count in self.counts().items()) or "none"
        return Text(f"Alerts: {told}.")


def alert_line(flag: Flag) -> Text:
    """ "! contradiction  Canada: capital is Toronto here and Ottawa elsewhere"."""
    line = Text("! ", style="red", no_wrap=True, overflow="ellipsis").append(f"{flag.assertion:<16}", style="bold red")
    said = flag.data.example.get("verdict")
    sentence = said.get("sentence", "") if isinstance(said, dict) else ""
    return line.append(flag.data.why or f"{sentence} (severity {flag.severity:.2g})", style="")


async def follow(servers: str, raised: Raised, shown: Callable[[Flag], None]) -> None:
    """For ever: what is raised from now on."""
    async for flag in alerts(KafkaSettings(bootstrap=servers), pipeline="factcheck"):
        if raised.take(flag):
            shown(flag)
