"""Studies whose truth is known: simulated answers, to check what is claimed of real ones."""
