"""The commands of learning; each module is one `descant` command."""
