"""The viewer's data; test_viewer_browser.py shows it in a browser."""

import json
import random
import re

from drp.report.viewer import ViewerData, encode_for_script
from tests.report.run_fixture import HOSTILE, make_pruning


def test_script_data_cannot_leave_its_element() -> None:
    text = encode_for_script({"a": HOSTILE, "b": "\ud800"})
    assert not re.search("[<>&\u2028\u2029\x00-\x1f]", text)
    assert json.loads(text) == {"a": HOSTILE, "b": "\ud800"}
    text.encode()


def test_entries_beyond_the_size_limit_are_listed_without_texts() -> None:
    viewer = ViewerData(total_limit=1)
    for number in range(200):
        viewer.add_trace(make_pruning(number, random.Random(number)))
        if number == 99:
            viewer.close_chunk()
    index = json.loads(viewer.encode()[0])
    assert len(index["entries"]) == 200
    assert viewer.left_out == 100
    assert "chunk" not in index["entries"][150]
