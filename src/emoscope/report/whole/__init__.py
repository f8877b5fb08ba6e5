"""The report of a whole study: one page over the reports of its parts."""
