"""What every family must show of other ways of loading: layers spread over devices, weights of eight bits."""

from __future__ import annotations

from typing import ClassVar

import pytest

from emoscope.models.check import check_model
from emoscope.models.registry import load_model


class LoadingChecks:
    """The tests, a part of :class:`tests.models.family_checks.FamilyChecks`.

    Attributes:
        not_quantised: why the family refuses to load with packed weights, if it does.
    """

    not_quantised: ClassVar[str | None] = None

    def test_layers_spread_over_devices(self, folder, model, prepared, close):
        pytest.importorskip("accelerate", reason="accelerate is not installed (the extra devices)")
        spread = load_model(folder, device_map="auto")
        assert (spread.next_logits(prepared).cpu() - model.next_logits(prepared)).abs().max() < close

    @pytest.mark.filterwarnings("ignore")
    def test_weights_of_eight_bits(self, folder):
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra quantised)")
        if self.not_quantised is not None:
            with pytest.raises(ValueError, match=self.not_quantised):
                load_model(folder, quantise="8bit")
            return
        packed = load_model(folder, quantise="8bit")
        assert packed.decoder.packed
        proofs = check_model(packed)
        editing = {"gain by hook equals column edit", "weights restored bit for bit"}
        not_run = {proof.name for proof in proofs if proof.status == "not run"}
        assert not_run == editing | {"all weights came from the files"}, proofs
        assert {proof.status for proof in proofs if proof.name not in not_run} == {"passed"}, proofs
