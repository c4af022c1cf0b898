"""Which lane a prompt goes to, as pure policies."""
