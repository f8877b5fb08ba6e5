"""Studies: read, cut into parts, run in stages, printed; and the Python interface."""
