"""From results to JSON, tables and plots, on results that are known."""

import json

import pytest

from easq_keras.models import method_info
from experiments.catalogue import NAMES, experiment
from experiments.cells import DENSITIES
from experiments.conduct import concerned, conduct, report
from experiments.frontier import EXPERIMENT as FRONTIER
from experiments.options import A_A, MIDDLE, Options, UnknownNameError
from experiments.plots import colours_of, panels
from experiments.runs import RunStore
from experiments.tables import write_page
from experiments.workers import Place
from tests.experiments.synthetic_results import USERS, options, write_results


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def made(name, place, asked):
    """Conducts an experiment whose runs are all there: nothing is trained."""
    write_results(place.runs, experiment(name).blocks(asked))
    assert conduct(place, name, asked, workers=2) == []
    return json.loads((place.out / f"{name}.json").read_text(encoding="utf-8"))


def by_method(dataset):
    return {row["method"]: row for row in dataset["methods"]}


def test_the_frontier_reads_gain_at_cost_and_the_paired_difference(place):
    """EASQ gains 6, Blend 5 and EMER_s-level 1 for each cost of 1."""
    values = made("frontier", place, options())
    (dataset,) = values["datasets"]
    rows = by_method(dataset)

    assert dataset["name"] == "simulated-strong-0.002"
    for cost in (0.02, 0.05, 0.10):
        at = {method: row["at_cost"][f"{cost:.2f}"] for method, row in rows.items()}
        assert at["EASQ"]["gain"]["mean"] == pytest.approx(6 * cost, abs=1e-3)
        assert at["Blend"]["gain"]["mean"] == pytest.approx(5 * cost, abs=1e-3)
        assert at["Blend"]["easq_minus_this"]["mean"] == pytest.approx(cost, abs=1e-3)
        assert at["Blend"]["cost"] == pytest.approx(cost, abs=1e-3)
        assert set(at["Blend"]["gain"]) == {"mean", "low", "high"}
    assert rows["EASQ"]["seeds"] == 2
    assert rows["EASQ"]["n_users"] == 2 * USERS


def test_the_budget_of_tuning_is_in_the_results(place):
    values = made("frontier", place, options())

    assert values["tuning"]["Blend"]["setting"] == "alpha"
    assert len(values["tuning"]["Blend"]["grid"]) > 2
    assert values["options"]["seeds"] == [0, 1]


def test_a_seed_counts_at_which_all_rows_are_done_and_a_row_that_is_done_at_half_of_them(place):
    asked = options(seeds=(0, 1, 2))
    blocks = FRONTIER.blocks(asked)
    last = [
        [run for run in block if seed == 0 or run.method != "EMER_s-level"]
        for seed, block in enumerate(blocks)
    ]

    write_results(place.runs, [blocks[0], blocks[1], last[2]])
    (dataset,) = FRONTIER.summary(asked, place)["datasets"]
    assert {row["method"]: row["seeds"] for row in dataset["methods"]} == {
        "EMER_s-level": 2,
        "Blend": 2,
        "EASQ": 2,
    }


def test_a_row_that_is_hardly_begun_is_left_out(place):
    asked = options(seeds=(0, 1, 2))
    blocks = FRONTIER.blocks(asked)
    rest = [[run for run in block if run.method != "EMER_s-level"] for block in blocks[1:]]

    write_results(place.runs, [blocks[0], *rest])
    (dataset,) = FRONTIER.summary(asked, place)["datasets"]
    assert {row["method"]: row["seeds"] for row in dataset["methods"]} == {"Blend": 3, "EASQ": 3}


def test_a_report_is_of_the_runs_that_are_there(place):
    """Two seeds of the frontier are enough for `frontier` and `table1`, not for `sensitivity`."""
    write_results(place.runs, FRONTIER.blocks(options()))

    page = report(place, options()).read_text(encoding="utf-8")
    assert {path.stem for path in place.out.glob("*.json")} >= {"frontier", "table1"}
    assert "## frontier" in page
    assert "## sensitivity" not in page


def test_rows_without_runs_are_kept_with_the_code_that_measured_them(tmp_path):
    """Results are handed on as tables: another machine adds to them what it runs."""
    first = Place(tmp_path / "first")
    before = made("frontier", first, options(scenarios=("mild", "strong")))
    second = Place(tmp_path / "second")
    second.out.mkdir()
    (second.out / "frontier.json").write_text(json.dumps({**before, "code": "older"}))
    values = made("frontier", second, options(methods=("EASQ", "Blend"), seeds=(0, 1, 2)))

    assert [dataset["name"] for dataset in values["datasets"]] == [
        "simulated-both-0.002",
        "simulated-mild-0.002",
        "simulated-strong-0.002",
    ]
    _, mild, strong = (by_method(dataset) for dataset in values["datasets"])
    assert {method: row["seeds"] for method, row in strong.items()} == {
        "Blend": 3,
        "EASQ": 3,
        "EMER_s-level": 2,
    }
    assert "code" not in strong["EASQ"]
    assert strong["EMER_s-level"]["code"] == "older"
    assert {row["code"] for row in mild.values()} == {"older"}
    assert "EMER_s-level (code older)" in (second.out / "README.md").read_text(encoding="utf-8")
    # Nothing new was run: nothing changes hands.
    again = made("frontier", second, options(methods=("EASQ", "Blend"), seeds=(0, 1, 2)))
    assert again == values


def test_data_sets_stand_by_density_with_their_worlds_side_by_side_and_real_logs_last(tmp_path):
    """However a page has grown: here the scarcer answers and the real log were there before."""
    place = Place(tmp_path)
    before = made("frontier", place, options(densities=(5e-4,)))
    log = {**before["datasets"][0], "name": "kuairand"}
    (place.out / "frontier.json").write_text(
        json.dumps({**before, "datasets": [log, *before["datasets"]]})
    )
    values = made("frontier", place, options(scenarios=("strong", "mild"), densities=(2e-3,)))

    assert [dataset["name"] for dataset in values["datasets"]] == [
        "simulated-strong-0.0005",
        "simulated-both-0.002",
        "simulated-mild-0.002",
        "simulated-strong-0.002",
        "kuairand",
    ]


def test_a_method_has_one_colour_in_all_panels():
    """Kept rows stand behind new ones: the order of the rows is not the same in all data sets."""
    panels = [("EASQ", "Blend"), ("EMER_s-level", "EASQ"), ("Blend",)]
    datasets = [{"methods": [{"method": name} for name in panel]} for panel in panels]
    colours = colours_of(datasets)

    assert list(colours) == ["EASQ", "Blend", "EMER_s-level"]
    assert len(set(colours.values())) == 3


def test_a_real_log_can_be_looked_at_alone():
    asked = Options(scenarios=(), kuairand=True, seeds=(0,))
    assert {cell.dataset for cell in asked.cells(0)} == {"kuairand"}
    with pytest.raises(ValueError, match="no data"):
        Options(scenarios=())


def test_parts_of_easq_are_swept_at_the_middle_density_only():
    (block,) = FRONTIER.blocks(Options(seeds=(0,)))
    densities = {run.cell.density for run in block if run.method == "EASQ-w/o-LoRA"}
    assert densities == {MIDDLE}
    assert {run.cell.density for run in block if run.method == "EASQ"} == set(DENSITIES)


def test_the_scenarios_of_a_density_are_pooled_too(place):
    values = made("frontier", place, options(scenarios=("mild", "strong")))

    assert [dataset["name"] for dataset in values["datasets"]] == [
        "simulated-both-0.002",
        "simulated-mild-0.002",
        "simulated-strong-0.002",
    ]
    assert by_method(values["datasets"][0])["EASQ"]["n_users"] == 4 * USERS


def test_table1_has_the_contract_of_the_output(place):
    values = made("table1", place, options(methods=("EASQ", "Blend", "EMER", "Oracle")))
    (dataset,) = values["datasets"]
    rows = by_method(dataset)

    assert set(rows) == {"EASQ", "Blend", "EMER", "Oracle"}
    row = rows["EASQ"]
    assert {"method", "n_users", "seeds", "satisfaction", "behaviour"} <= set(row)
    assert set(row["paired_difference"]) == {"Blend", "EMER", "Oracle"}
    for metric in ("hr@1", "ndcg@20", "mrr", "pair_accuracy", "true_top4"):
        assert set(row["satisfaction"][metric]) == {"mean", "low", "high"}
    assert set(row["behaviour"]) >= {"behaviour_auc", "behaviour_ndcg@5", "engagement"}


def test_table1_takes_the_weight_that_validation_picks_within_5_percent(place):
    """Cost is .11 of the weight: the largest weight of at most .4545."""
    values = made("table1", place, options(methods=("EASQ", "Blend")))
    rows = by_method(values["datasets"][0])

    best = {
        name: max(weight for weight in method_info(name).grid if weight <= 0.4545)
        for name in ("EASQ", "Blend")
    }
    assert {name: row["weights"] for name, row in rows.items()} == {
        name: [weight, weight] for name, weight in best.items()
    }
    difference = rows["EASQ"]["paired_difference"]["Blend"]["true_top4"]
    assert difference["mean"] == pytest.approx(0.66 * best["EASQ"] - 0.55 * best["Blend"], abs=1e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "validity"])
def test_every_experiment_leaves_json_plot_and_page(name, place):
    asked = Options(scenarios=("strong",), seeds=(0, 1), quick=True)
    values = made(name, place, asked)

    assert values["datasets"]
    plots = list(place.out.glob(f"{name}*.png"))
    assert plots
    assert all(plot.stat().st_size < 300_000 for plot in plots)
    page = (place.out / "README.md").read_text(encoding="utf-8")
    assert f"## {name}" in page
    assert "its figures mean nothing" in page
    assert (place.out / f"{name}.json").stat().st_size < 1_000_000


def test_a_page_can_be_written_anew_from_the_results_alone(place):
    made("frontier", place, options())
    before = (place.out / "README.md").read_text(encoding="utf-8")
    (place.out / "README.md").unlink()

    assert write_page(place.out).read_text(encoding="utf-8") == before
    assert "| EASQ |" in before


def test_an_experiment_without_results_says_so_in_an_empty_table(place):
    assert FRONTIER.summary(options(), place)["datasets"] == []


def test_unknown_names_get_the_list():
    with pytest.raises(UnknownNameError, match="there are: validity, frontier, table1"):
        experiment("table2")
    with pytest.raises(UnknownNameError, match="there are: mild, strong"):
        Options(scenarios=("medium",))
    with pytest.raises(UnknownNameError, match="there are: EMER, EMER_s-pair"):
        Options(methods=("EASK",))
    with pytest.raises(ValueError, match="answers a view"):
        Options(densities=(2.0,))


def test_asking_for_methods_that_an_experiment_is_not_about_is_refused():
    with pytest.raises(ValueError, match="none of them was asked for"):
        FRONTIER.blocks(options(methods=("Random",)))


def test_variants_are_run_with_the_method_they_are_of():
    asked = options(methods=("Blend",))
    ablation = experiment("ablation")

    labels = [entry.label for entry in ablation.entries_of(asked, asked.cells(0)[0])]
    assert labels == ["Blend", "Blend, experts"]
    # EMER is what all costs and gains are measured from.
    methods = {run.method for block in ablation.blocks(asked) for run in block}
    assert methods == {"Blend", "EMER"}


def test_of_all_experiments_those_about_a_method_asked_for_are_run():
    assert concerned(NAMES, options(methods=("EASQ",))) == list(NAMES)
    about_the_blend = concerned(NAMES, options(methods=("Blend",)))
    assert set(NAMES) - set(about_the_blend) == {"router", "sensitivity"}


def test_the_a_a_row_is_the_recommended_preset_from_another_seed():
    asked = options(methods=("EASQ", A_A))
    (block, _) = FRONTIER.blocks(asked)
    easq = [run for run in block if run.method == "EASQ"]

    assert {run.model_seed for run in easq} == {0, 1_000}
    assert {run.cell.seed for run in easq} == {0}


def test_methods_that_read_no_answers_are_trained_once_for_all_densities():
    asked = options(densities=None, methods=("EASQ",))
    emer = {run for block in FRONTIER.blocks(asked) for run in block if run.method == "EMER"}

    assert len(emer) == len(asked.seeds)


def test_a_store_knows_results_by_their_run_alone(place):
    asked = options()
    write_results(place.runs, FRONTIER.blocks(asked))
    elsewhere = RunStore(place.runs.folder)

    assert all(elsewhere.has(run) for block in FRONTIER.blocks(asked) for run in block)


@pytest.mark.parametrize(("entries", "rows"), [(1, 1), (3, 1), (4, 2), (9, 3)])
def test_panels_stand_three_in_a_row_and_none_is_empty(entries, rows):
    figure, axes = panels(range(entries), height=2.0)
    assert len(axes) == entries
    assert figure.get_figheight() == 2.0 * rows
    assert [axis for axis in figure.axes if axis.get_visible()] == axes
