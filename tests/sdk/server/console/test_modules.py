"""What the pages compute, tested in Node, where there is no page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from echat_sdk.consent import IN_WORDS
from echat_sdk.cues import ANCHORS, Emotion, ReplyEmotion, Style, VocalEvent

HERE = Path(__file__).parent
PAGE = Path(__file__).parents[4] / "echat_sdk/server/console/page/js"


def test_the_modules_that_compute_pass_their_own_tests(tmp_path: Path) -> None:
    # Node takes a file for a module by a package.json beside it; the wheel has none.
    shutil.copytree(PAGE, tmp_path / "page")
    (tmp_path / "page/package.json").write_text('{"type": "module"}')
    for file in HERE.glob("modules/*.test.mjs"):
        shutil.copy(file, tmp_path)
    tests = sorted(str(path) for path in tmp_path.glob("*.test.mjs"))
    done = subprocess.run(
        ["node", "--test", "--test-reporter=dot", *tests],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert len(tests) == 7


def test_the_page_places_emotions_where_the_memory_does() -> None:
    block = (PAGE / "affect.js").read_text().split("VALENCE = {")[1].split("}")[0]
    page = {name: float(value) for name, value in re.findall(r"(\w+): (-?[\d.]+)", block)}
    assert page == {emotion: valence for emotion, (valence, _) in ANCHORS.items()}


def test_every_label_and_purpose_has_words_in_both_languages() -> None:
    labels: list[str] = [*Emotion, *VocalEvent, *Style]
    labels += [emotion.word for emotion in ReplyEmotion]
    labels += [f"purpose_{purpose}" for purpose in IN_WORDS]
    for lang in ("en", "zh"):
        book = (PAGE / f"words_{lang}.js").read_text()
        keys = set(re.findall(r'^  "?([^\s":]+(?: \w+)?)"?:', book, re.M))
        assert [label for label in labels if label not in keys] == []
    chinese = (PAGE / "words_zh.js").read_text()
    assert [purpose for purpose in IN_WORDS if f"words_{purpose}:" not in chinese] == []
