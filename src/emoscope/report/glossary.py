"""The words of the report, in plain language."""

from __future__ import annotations

GLOSSARY = {
    "clip": "One recording of one speaker.",
    "item": "A clip with the question asked about it and the order of its lettered options.",
    "baseline": "The model without any intervention.",
    "neuron": "One element of the inner layer of a decoder MLP: a layer and an index.",
    "selector": "A rule that scores how specific each neuron’s activation is to each emotion: LAP (firing frequency), LAPE "
    "(entropy), MAD (mean deviation), CAS (contrast between the two most frequent emotions).",
    "budget": "The share of all decoder neurons that is selected for each emotion.",
    "neuron set": "The neurons that a selector chose for one emotion. Each clip is answered under sets found on other speakers.",
    "scope": "The positions whose activations were counted: audio, text, decision (the last position before the answer), answer.",
    "deactivate": "Set a neuron’s activation to zero.",
    "amplify (steer), alpha": "Multiply a neuron’s activation by 1 + alpha.",
    "UAR": "Unweighted average recall: the mean over emotions of the share of clips answered correctly.",
    "point": "One percentage point.",
    "own effect, effect on others": "Change of accuracy on clips of the emotion whose neurons were changed; and on clips of the "
    "other emotions (self and cross).",
    "gap": "Own effect minus effect on others. Zero if all emotions suffer alike.",
    "evidence (sensitivity)": "How well the odds of an emotion’s option tell its clips from others: the area under the ROC curve "
    "(AUC), one emotion against the rest; the change is given in AUC points, hundredths of the area. It does not move when the model "
    "merely avoids or prefers an answer.",
    "leaning (bias)": "How far the odds of an emotion’s option move on clips of the other emotions, in nat (natural logarithm): "
    "how much the model leans towards or away from that answer, whatever it hears.",
    "verdict": "Follows by rule from selected minus matched neurons. Removes evidence: evidence falls, interval clear of zero. Pulls the "
    "answer: leaning moves, interval clear of zero, and evidence stays within ±2 AUC points. Both. Neither: both intervals within "
    "±2 AUC points and ±0.1 nat, and neither clear of zero. Undecided: everything else. With fewer than five speakers there is none.",
    "within the same word": "The gap over the clips of one word (sentence, gender …) at a time, then averaged: an effect that words do not explain.",
    "arousal": "How excited rather than calm an emotion is; of the seven, anger, fear, happiness and surprise are high, the others low.",
    "refused, unparsable": "Written answers that decline to answer, or in which no single option can be read. UAR counts both as not correct.",
    "matched": "Control neurons of the same layers with similar firing rate, magnitude and output weight, of no selected set.",
    "random": "Control neurons drawn anywhere.",
    "shuffled labels": "Neurons that the same selector finds when emotions are shuffled among each speaker’s clips.",
    "excess gap": "The gap of the selected neurons minus the mean gap of matched ones, item by item.",
    "blind part": "What of a gap knows nothing of the clip: answers that move alike on clips of all emotions give as much. With k "
    "options it is k / (k − 1) times the pull over all clips.",
    "supported by the published measure": "A claim’s rule holds. The measure is the published one, which counts the blind part too.",
    "pull": "Change of the share of clips that are answered with the emotion whose neurons were changed. On clips of that "
    "emotion it equals the own effect.",
    "rank among matched sets": "One of the matched draws is taken for each emotion, in every combination; the rank is that of the "
    "selected sets among them, 1 being the most extreme.",
    "Holm, Benjamini-Hochberg": "Corrections for several tests at once: Holm for the tests declared beforehand, Benjamini-Hochberg (q) "
    "for the cells of one matrix.",
    "Jaccard index": "Neurons in both of two sets, as a share of those in either.",
    "to their mean": "Switched off by setting neurons to their mean over all clips instead of zero.",
    "hollow": "Answers that support no claim: the letters’ probability is below 0.5, or the written answer often differs from the likeliest "
    "letter. Drawn hollow.",
    "interval": "95 % interval for other speakers of the same kind: delete-one-speaker jackknife, Student’s t with "
    "(effective number of speakers − 1) degrees of freedom. Given from five speakers on. "
    "Where all speakers agree exactly its width is zero, which does not mean certainty.",
    "numerical null": "A condition that changes nothing but the composition of batches; its changed answers are rounding.",
    "letter mass": "The probability that the model gives to the letters of all options together.",
    "agreement": "The share of items where the likeliest letter is also the answer that the model writes.",
    "MLP reliance": "UAR when MLP layers are switched off altogether; a reference line, not an upper bound.",
    "hit, miss, false alarm": "A clip of an emotion that is answered so; one that is answered otherwise; a clip of another emotion that is "
    "answered so.",
    "not identifiable": "An emotion with too few clips answered correctly to select neurons for; it stays an option.",
}  # fmt: skip
"""A word and what it means."""
