"""The matrix of verdicts and worlds, against what a world's sets do."""

import numpy as np
import pytest

from emoscope.testing.verdicts import VERDICTS, main


@pytest.mark.parametrize(("world", "sign"), [("noise on the own option", -1), ("nothing", 0)])
def test_each_row_says_what_was_lost(world: str, sign: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--studies", "3", "--jobs", "1", "--only", world]) == 0
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()
    ]
    assert head[2:] == [*VERDICTS, "evidence"]
    assert [row[:2] for row in rows] == [[world, "off"], [world, "amplified"]]
    for row in rows:
        assert sum(int(cell) for cell in row[2:-1] if cell) == pytest.approx(100, abs=1)
        mean, error = map(float, row[-1].split("±"))
        assert np.sign(mean) * (abs(mean) > 4 * error + 0.1) == sign
