"""From flags to a better model: selection, weak labels, retraining, gate."""
