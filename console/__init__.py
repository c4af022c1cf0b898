"""HTTP gateway, dashboard and labelling page."""
