"""`fastbp bench`: what is compared has reached the same loss, and what is absent is named."""

import json
import re
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from fastbp import Network, kernels
from fastbp.bench import chart, comparison, limits, phases, report
from fastbp.bench.peers import SYSTEMS, Fastbp, Task
from fastbp.cli import main

# Fast: one small net, one round, and no machine to be measured.
QUICK = ("bench", "--nets", "8-6-3", "--batch-sizes", "1", "8", "--rounds", "1",
         "--seconds", "0.001")  # fmt: skip
RATES = {
    "itemsize": 4,
    "peak_gflops": 100.0,
    "caches": {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20},
    "bandwidth": {"L1": (200, 200), "L2": (100, 100), "L3": (50, 50), "DRAM": (10, 10)},
}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(comparison, "PAUSE", 0)
    monkeypatch.setattr(comparison, "WAKING", 0)
    monkeypatch.setattr("fastbp.cli.benchmark.rates", lambda: RATES)


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def error(capsys, *arguments):
    """The one line that a refused command prints."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_a_table_a_chart_and_what_is_left_out(capsys, tmp_path):
    plot = tmp_path / "chart.svg"
    code, out, _ = run(capsys, *QUICK, "--peers", "plain", "scikit", "--plot", plot)
    assert code == 0
    # Every kind is verified, by a loss that is another one than the network's own.
    losses = re.findall(r"all reach a loss of ([\d.]+), from ([\d.]+)", out)
    assert len(losses) == 2
    assert all(reached != start for reached, start in losses)
    table = out[out.index("8-6-3, random, one sample a step:\n") :]
    singles, batches, left_out, conditions = table.split("\n\n")
    row = r"^  (\S.*?) +[\d.]+ µs +[\d.]+×  █+$"
    assert re.findall(row, singles, re.M) == [
        "fastbp", "fastbp, 1 thread", "plain Numba", "scikit-learn"
    ]  # fmt: skip
    assert re.findall(row, batches, re.M) == ["fastbp", "fastbp, 1 thread", "scikit-learn"]
    assert "plain Numba with batches of 8: written for SGD with one sample a step" in left_out
    assert "One core reaches 100 GFLOP/s" in conditions
    texts = [element.text for element in ET.parse(plot).iter("{http://www.w3.org/2000/svg}text")]
    assert "8-6-3, random" in texts
    assert {"fastbp", "plain Numba", "scikit-learn"} <= set(texts)


def test_json_is_what_the_tables_of_the_documentation_are_made_of(capsys):
    code, out, err = run(capsys, *QUICK, "--peers", "plain", "--json")
    assert code == 0
    assert "all reach a loss" in err
    found = json.loads(out)
    assert set(found) == {"machine", "protocol", "absent", "problems"}
    assert found["machine"]["versions"]["numpy"] == np.__version__
    assert found["protocol"] == {"rounds": 1, "seconds": 0.001, "rtol": comparison.RTOL}
    (problem,) = found["problems"]
    assert problem["net"] == [8, 6, 3]
    assert [(e["system"], e["batch_size"]) for e in problem["entries"]] == [
        ("fastbp", 1), ("fastbp, 1 thread", 1), ("plain Numba", 1),
        ("fastbp", 8), ("fastbp, 1 thread", 8),
    ]  # fmt: skip
    for entry in problem["entries"]:
        assert len(entry["microseconds"]) == 1
        assert entry["microseconds"][0] > 0
        assert entry["rows"] % entry["batch_size"] == 0
    assert "layer 1  sequential" in problem["entries"][0]["settings"]["choice"][0]
    markdown = report.summary(found)
    assert markdown.startswith("| net, one sample a step | fastbp | fastbp, 1 thread | plain Numba")
    assert "8-6-3, random" in report.details(found)


@pytest.mark.parametrize(("module", "system"), [("torch", "torch"), ("optax", "JAX scan")])
def test_what_is_not_installed_is_left_out_by_name(capsys, monkeypatch, module, system):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not there
    code, out, _ = run(
        capsys, *QUICK[:-4], "--rounds", "1", "--seconds", "0.001", "--peers", system
    )
    assert code == 0
    assert f"{system} left out: {module} is not installed\n" in out
    assert f"\n  {system}: {module} is not installed\n" in out
    assert f"  {system}  " not in out


def test_another_loss_than_that_of_the_others_is_no_comparison(capsys, monkeypatch):
    class Lazy(Fastbp):
        """Takes shorter steps than it should."""

        def __init__(self, task):
            super().__init__(task._replace(learning_rate=task.learning_rate / 2))

    monkeypatch.setitem(SYSTEMS, "plain Numba", Lazy)
    monkeypatch.setattr("fastbp.cli.benchmark.PEERS", ["plain Numba"])
    code, _, err = run(capsys, *QUICK, "--peers", "plain")
    assert code == 1
    assert re.fullmatch(
        r"fastbp: error: 8-6-3, random: plain Numba reached a loss of [\d.]+, where the median of "
        r"all is [\d.]+: the steps are not the same\.\n",
        err,
    )


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_system_that_is_installed_takes_the_same_steps(name, optimizer):
    problem = comparison.make_problem((5, 7, 3), "random", 64)
    found = comparison.verified(problem, 8, optimizer, {"fastbp": Fastbp, name: SYSTEMS[name]})
    if name in found.left_out:
        pytest.skip(found.left_out[name])
    assert found.candidates.keys() == {"fastbp", name}
    assert found.loss < found.start_loss
    trained = comparison.build(problem, 8, optimizer, Fastbp, {}, 64)
    trained.run()
    network = comparison.with_parameters(problem.network, trained.parameters())
    assert network.loss(problem.X, problem.y) == pytest.approx(found.loss, rel=1e-3)


def test_nets_train_on_the_data_that_fit_them(capsys, tmp_path):
    generator = np.random.default_rng(0)
    folder = tmp_path / "shapes"
    folder.mkdir()
    for name, array in (
        ("train-images-idx3-ubyte", generator.integers(0, 255, (60, 4, 2))),
        ("train-labels-idx1-ubyte", np.arange(60) % 3),
        ("t10k-images-idx3-ubyte", generator.integers(0, 255, (3, 4, 2))),
        ("t10k-labels-idx1-ubyte", np.arange(3)),
    ):
        array = array.astype(np.uint8)
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
        (folder / name).write_bytes(head + array.tobytes())
    nets = "--nets", "8-6-3", "64-5-10", "9-6-3"
    quick = "--rounds", "1", "--seconds", "0.001", "--peers", "plain", "--batch-sizes", "1"
    code, out, err = run(capsys, "bench", *nets, *quick, "--images", folder, "--json")
    assert code == 0, err
    problems = json.loads(out)["problems"]
    assert [problem["data"] for problem in problems] == ["shapes", "digits", "random"]
    assert 0.45 < problems[1]["zeros"] < 0.55
    problems = json.loads(run(capsys, "bench", *nets[:2], *quick, "--json")[1])["problems"]
    assert [problem["data"] for problem in problems] == ["random"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nets", "784x10"], "must be units with - between, such as 784-128-10; got '784x10'."),
        (["--nets", "5-0-3"], "--nets: must be units with - between"),
        (["--nets", "5-3-1"], "the last number is that of classes, at least 2."),
        (["--batch-sizes", "0"], "--batch-sizes must be an integer of at least 1"),
        (["--rounds", "0"], "--rounds must be an integer of at least 1"),
        (["--seconds", "0"], "--seconds must be above 0, got 0.0."),
        (["--peers", "caffe"], "--peers: must begin names among plain Numba, JAX scan, torch, "),
        (
            ["--profile", "--batch-sizes", "512"],
            "--batch-sizes must be at most 256 with --profile, got 512.",
        ),
        (["--plot", "a.png"], "--plot a.png: the chart is an SVG file; name it so."),
        (["--plot", "none/a.svg"], "--plot none/a.svg: the folder does not exist."),
        (["--images", "nowhere"], "nowhere"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_in_a_sentence_before_the_work(capsys, arguments, message):
    assert message in error(capsys, "bench", *arguments)


def test_folders_that_are_of_no_use_are_refused(capsys, tmp_path):
    assert str(tmp_path) in error(capsys, "bench", "--images", tmp_path)
    (tmp_path / "taken.svg").mkdir()
    assert "no regular file" in error(capsys, "bench", "--plot", tmp_path / "taken.svg")


def test_limits_are_sums_of_what_cannot_be_avoided():
    # By hand: 6·(6·3) + 4·(8·6) operations at 100 GFLOP/s, and ½ of the latter with half zeros.
    assert limits.flops((8, 6, 3)) == 300
    found = limits.limit(RATES, (8, 6, 3), 1)
    assert found.by_fmas == pytest.approx(0.003)
    assert limits.limit(RATES, (8, 6, 3), 1, zeros=0.5).by_fmas == pytest.approx(0.00204)
    # 54 + 21 parameters: read, those above the first again, and updated; and a row of 32 bytes.
    n_bytes = 4 * (75 + 21 + 2 * 75)
    assert found.by_bytes == pytest.approx(1e6 * (n_bytes / 200e9 + 32 / 10e9))
    assert found.level == "L1"
    assert limits.limit(RATES, (784, 512, 10), 1).level == "L3"


def test_longer_bars_stand_for_longer_times():
    groups = [("a < b", [("one", 1.0, "1 µs", False), ("ten", 10.0, "10 µs", True)])]
    root = ET.fromstring(chart.chart("µs & more", groups))
    widths = [float(bar.get("width")) for bar in root if bar.get("width") and bar.get("y") != "38"]
    assert widths[1] > 2.5 * widths[0]  # half a decade, and a decade and a half
    assert "a < b" in [element.text for element in root]


def test_a_chart_begins_with_the_smallest_batches_there_are():
    def entry(system, batch_size, microseconds):
        kind = {"batch_size": batch_size, "optimizer": "sgd"}
        return kind | {"system": system, "is_library": system != "fastbp",
                       "microseconds": [microseconds]}  # fmt: skip

    entries = [entry("fastbp", 8, 1.0), entry("torch", 8, 9.0), entry("torch", 32, 4.0)]
    found = {"problems": [{"net": [8, 6, 3], "data": "random", "entries": entries}]}
    ((heading, group),) = report.bars(found)
    assert heading == "8-6-3, random, batches of 8"
    assert [bar[2] for bar in group] == ["1 µs", "9 µs, 9×", "4 µs, 4×, batch 32"]
    assert [bar[3] for bar in group] == [False, False, True]
    found["problems"][0]["entries"] = [entry("fastbp", 1, 1.0), entry("torch", 1, 9.0)]
    ((heading, group),) = report.bars(found)
    assert (heading, len(group)) == ("8-6-3, random", 2)


def test_a_system_is_built_for_the_steps_that_it_can_take():
    network = Network((4, 3, 3, 2), seed=0)
    X, y = np.zeros((8, 4), np.float32), np.zeros(8, np.int64)
    with pytest.raises(NotImplementedError, match="one hidden layer"):
        SYSTEMS["plain Numba"](Task(network, X, y, 0.1, 1, "sgd"), skips_inactive=False)
    with pytest.raises(NotImplementedError, match="two classes"):
        SYSTEMS["scikit-learn"](Task(network, X, y, 0.1, 1, "sgd"), blas_threads="1")


# Profiles -----------------------------------------------------------------------------------------


def test_a_profile_is_a_table_and_a_roofline_plot(capsys, tmp_path):
    plot = tmp_path / "roof.svg"
    code, out, err = run(capsys, *QUICK, "--profile", "--plot", plot)
    assert code == 0, err
    singles, batches, conditions, _ = re.split(r"\n\n|(?<=\.)\n", out)
    assert singles.startswith("8-6-3, random, one sample a step (sequential): ")
    assert batches.startswith("8-6-3, random, batches of 8: ")
    row = r"^  (\w+) +([\d, ]+?)  +[\d.]+  +\d+%"
    assert re.findall(row, singles, re.M) == [
        ("forward", "1"), ("forward", "2"), ("loss", "2"), ("backward", "2"),
        ("update", "2"), ("update", "1"),
    ]  # fmt: skip
    assert re.findall(row, batches, re.M) == [
        ("forward", "1"), ("forward", "2"), ("backward", "2"), ("update", "1"), ("update", "2")
    ]  # fmt: skip
    assert "reaches 100 GFLOP/s" in conditions
    texts = [element.text for element in ET.parse(plot).iter("{http://www.w3.org/2000/svg}text")]
    assert {"forward", "backward", "update", "whole step", "L1, 200 GB/s"} <= set(texts)


@pytest.mark.parametrize("batch_size", [1, 8, 32])
@pytest.mark.parametrize(
    ("sizes", "zeros"), [((4, 3), 0), ((8, 6, 3), 0), ((7, 6, 5, 4, 3), 0), ((200, 90, 3), 0),
                         ((200, 90, 3), 0.9), ((120, 100, 100, 3), 0)]
)  # fmt: skip
def test_stages_add_up_to_the_step_and_to_its_operations(sizes, zeros, batch_size):
    problem = comparison.make_problem(sizes, "random", 64)
    problem.X[:] *= np.random.default_rng(0).random(problem.X.shape) >= zeros
    found = phases.profile(problem, batch_size, 0.0, RATES)
    stages = found["stages"]
    assert sum(stage["nanoseconds"] for stage in stages) == pytest.approx(found["nanoseconds"])
    assert sum(stage["share"] for stage in stages) == pytest.approx(1)
    # Each weight has its forward product and its update, and those above the first the way back.
    assert sum(stage["flops"] for stage in stages) == limits.flops(sizes)
    layers = range(1, len(sizes))
    for phase, numbers in (("forward", layers), ("backward", layers[1:]), ("update", layers)):
        listed = [l for stage in stages if stage["phase"] == phase for l in stage["layers"]]
        assert sorted(listed) == list(numbers)
    for stage in stages:
        assert stage["bytes"] > 0
        assert stage["limit"] >= stage["flops"] / 100
        assert stage["bound"] in ("FMA", *RATES["bandwidth"])
    assert json.loads(json.dumps(found))["net"] == list(sizes)


@pytest.mark.parametrize(
    ("sizes", "batch_size"), [((8, 6, 3), 1), ((200, 90, 3), 1), ((8, 6, 3), 32), ((200, 90, 3), 8)]
)
def test_steps_that_end_just_before_the_end_differ_from_the_whole_in_the_last_stage_alone(
    sizes, batch_size
):
    """What is timed stage by stage is the step: it leaves the deltas that the kernel leaves."""
    problem = comparison.make_problem(sizes, "random", batch_size)
    step = {}
    for which in (-2, -1):
        network = Network(sizes, dtype="float32", seed=0)
        network.parameters.fields.rates[:2] = 0.01, 0
        own = problem._replace(network=network)
        samples = network.samples(problem.X, problem.y)
        made = phases.step_of(own, samples, batch_size)
        made.calls[which](batch_size)
        step[which] = network
    (phase, last) = made.stages[-1]
    assert phase == "update"
    for l in range(1, len(sizes)):
        before, after = step[-2].weights[l - 1], step[-1].weights[l - 1]
        if l in last:
            assert not np.array_equal(before, after)
            assert np.array_equal(before, Network(sizes, dtype="float32", seed=0).weights[l - 1])
        else:
            np.testing.assert_allclose(before, after, rtol=1e-6, atol=1e-7)


def test_a_profile_of_too_long_batches_is_refused():
    problem = comparison.make_problem((4, 3), "random", 512)
    with pytest.raises(ValueError, match=f"at most {kernels.LONGEST_STRETCH} .*, got 300"):
        phases.profile(problem, 300, 0.0, RATES)
