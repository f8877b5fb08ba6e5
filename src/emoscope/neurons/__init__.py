"""What neurons did, which of them are specific to an emotion, and their controls: arithmetic on arrays, no torch."""
