"""The gateway's HTTP: guards, routes, pages."""
