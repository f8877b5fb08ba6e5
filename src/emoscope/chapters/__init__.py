"""Questions: what each contrasts, its tables, its charts over one or many parts, and what it says first."""
