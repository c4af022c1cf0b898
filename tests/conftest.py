"""What every test may use: the fixture `kafka`, one real broker for the session."""

pytest_plugins = ["streams.testing.fixtures"]
