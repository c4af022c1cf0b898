"""Ask a pipeline and watch its partial output."""

from streams.client.client import Client, Handle
from streams.client.events import Answer, AnswerError, Event, Item, Text, TextEnd
from streams.client.sync import SyncClient, SyncHandle

__all__ = [
    "Answer",
    "AnswerError",
    "Client",
    "Event",
    "Handle",
    "Item",
    "SyncClient",
    "SyncHandle",
    "Text",
    "TextEnd",
]
