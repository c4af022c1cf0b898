"""Published routing rules, re-implemented from their formulas, to compare with. None is our default."""
