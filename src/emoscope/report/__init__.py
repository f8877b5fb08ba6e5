"""From a run folder to one HTML page that opens offline, with its figures and tables; no torch."""
