"""The stop button of a notebook, in a kernel of its own, and the same cell again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

CELL = """
import emoscope as es
model = es.load_model("tiny")
corpus = es.open_corpus("polish").where({"word": ["nie"], "take": [3, 4]})
heard = es.listen(model, corpus, run="run")
sets = es.select(heard, "mad", scope="all", minimum=2, matched=1, random=0, shuffled=0, orthogonal=0)
print("ended with", es.intervene(model, heard, sets).to_frame().height)
"""


@pytest.mark.long
def test_a_cell_that_is_stopped_in_a_kernel_goes_on_when_it_is_run_again(tmp_path):
    source = str(Path(__file__).parents[2] / "src")
    path = os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path), env=os.environ | {"PYTHONPATH": path})
    printed = []
    try:
        for stop_at in ("listening", "intervening", None):
            asked = client.execute(CELL)
            deadline = time.monotonic() + 300
            while time.monotonic() < deadline:
                message = client.get_iopub_msg(timeout=300)
                content = message["content"]
                printed.append(str(content.get("text") or content.get("data") or ""))
                if stop_at and stop_at in printed[-1]:
                    manager.interrupt_kernel()
                if content.get("execution_state") == "idle" and message["parent_header"].get("msg_id") == asked:
                    break
            reply = client.get_shell_msg(timeout=60)["content"]
            assert reply["status"] == ("error" if stop_at else "ok"), (stop_at, printed[-5:])
            assert reply.get("ename") == ("KeyboardInterrupt" if stop_at else None)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert any("ended with" in text for text in printed)
    assert (tmp_path / "run" / "report.html").is_file()
