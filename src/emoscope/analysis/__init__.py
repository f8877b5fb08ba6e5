"""From the stored answers of a run to effects with intervals: pure functions of tables, no torch."""
