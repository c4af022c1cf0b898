"""Pure logic of lineage, joins, text, slots, the closer and control (PROTOCOL); no I/O, no clock."""
