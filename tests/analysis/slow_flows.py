"""Where answers go, again: one item at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.analysis.slow import FAMILY, Families, Row, Slow, as_share, mean, share


def slow_flows(slow: Slow, families: Families, hollow: Callable[[tuple[tuple, ...]], bool]) -> list[Row]:
    rows = []
    for key in families.declared:
        matched = families.matched(key)
        like = {**dict(zip(FAMILY, key, strict=True)), "control": "matched", "draw": None}
        for about, draws in [(dict(zip(FAMILY, key, strict=True)), (key,)), *([(like, matched)] if matched else [])]:
            targets, used = families.shared(draws)
            for target in targets:
                after = [slow.said["likelihood", families.single[draw][target]] for draw in draws]
                before = slow.said["likelihood", "baseline"]
                for truth in slow.labels:
                    there = used & (slow.truth == truth)
                    ways = {(before[n], one[n]) for one in after for n in np.flatnonzero(there)}
                    for was, now in ways:
                        went = np.array(
                            [mean([float(before[n] == was and one[n] == now) for one in after]) for n in range(len(before))]
                        )  # fmt: skip
                        found = as_share(slow.interval(lambda kept, went=went: 100 * share(went, kept), there))
                        row = about | {"target": target, "truth": truth, "before": was, "after": now}
                        row |= {"count": float(went[there].sum()), "n": int(there.sum()), "share": found["estimate"]}
                        row |= {name: found[name] for name in ("low", "high", "reason")}
                        rows.append(row | {"draws": len(draws), "hollow": hollow(draws)})
    return rows
