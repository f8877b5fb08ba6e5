"""The end of a study file that asks as little as a study can: one selector, one strength, no controls."""

SMALL = """
[identify]
minimum = 1
selectors = ["mad"]
[headline]
selector = "mad"
[interventions]
alphas = [0.5]
positions = []
reliance = false
generate = false
[controls]
matched = 0
random = 0
shuffled = 0
"""
