"""Interventions on neurons: values, gains per batch row, and reversible weight edits."""
