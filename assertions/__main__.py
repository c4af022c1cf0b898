"""`python -m assertions`: the command `descant assertions`, for environments without the other packages."""

from assertions.cli import app

app()
