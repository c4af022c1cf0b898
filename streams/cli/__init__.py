"""The `descant` command."""
