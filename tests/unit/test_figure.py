"""Figures in notebooks."""

import pytest

import simulator as sim

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def figure():
    return sim.curve(sku="b200", tp=8, ep=1, dp_attention=False, concurrency=[1, 4]).plot()


def test_a_notebook_shows_a_result_without_pyplot(figure):
    """IPython asks a value for ``_repr_png_``; a figure of matplotlib alone has none."""
    assert figure._repr_png_().startswith(PNG)


def test_files_are_finer_than_screens(figure, tmp_path):
    from matplotlib.image import imread

    from simulator.output.style import save_figure

    save_figure(figure, tmp_path / "figure.png")
    (tmp_path / "screen.png").write_bytes(figure._repr_png_())
    fine, coarse = (imread(tmp_path / name).shape for name in ("figure.png", "screen.png"))
    assert fine[0] > coarse[0]
    assert fine[0] * coarse[1] == pytest.approx(fine[1] * coarse[0], rel=1e-2)


def test_the_caption_of_a_load_says_what_was_run():
    run = sim.run_load(sku="b300", deployment="TP8", rate=0.5, requests=20, spec="mtp:2")
    for word in ("deepseek-v4-pro FP4", "8 x b300 as TP8", "8192/1024", "vllm@", "aggregated",
                 "mtp:2", "0.5 req/s", "simulated"):  # fmt: skip
        assert word in run.caption


@pytest.mark.parametrize(
    ("engine", "named"), [("vllm", "vllm@"), ("vllm@specification", "(specification)")]
)
def test_captions_name_the_kind_of_a_prediction_that_is_not_calibrated(engine, named):
    point = {"sku": "b300", "engine": engine, "tp": 8, "ep": 1, "dp_attention": False}
    for caption in (
        sim.curve(**point, concurrency=[1]).caption,
        sim.sweep(**point, concurrency=[1]).caption,
    ):
        assert named in caption
        assert ("(specification)" in caption) == ("specification" in engine)
