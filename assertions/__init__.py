"""Model assertions over streams: severities, consistency, flags, alerts."""
