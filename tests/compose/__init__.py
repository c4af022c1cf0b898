"""The composition of docker-compose.yml, tested from outside: `make compose-test`, or `python -m tests.compose`."""
