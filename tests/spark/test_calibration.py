"""Calibration and grades as stages behind the forest."""

import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.sql import functions as F

from evaluation.fitting import Finish, fit_servable, out_of_fold
from evaluation.grades import GradeRule, NotGraded, grade_table
from evaluation.search import encoded
from features.calibration import centered_isotonic
from features.grading import GradeCuts, grade_stages
from features.splits import AGE, GROUP, with_group
from features.stages import ForestParams, scored_columns
from tests.leads import small_contract, small_leads

PARAMS = ForestParams(trees=5, depth=4)


def probabilities(spark, rows, age=0.0):
    """Leads (label, the forest's probability of label 1), each a group of its own, all as old."""
    frame = spark.createDataFrame(rows, "label int, p double").withColumn(GROUP, F.monotonically_increasing_id())
    frame = frame.withColumn(AGE, F.lit(age))
    return frame.withColumn("probability", array_to_vector(F.array(1 - F.col("p"), F.col("p"))))


def calibrated(spark, stage, *values):
    frame = probabilities(spark, [(0, v) for v in values])
    return [r.calibrated for r in stage.transform(frame).orderBy("p").collect()]


@pytest.fixture(scope="module")
def twice_too_sure(spark):
    """Ten thousand leads that convert half as often as the forest says."""
    rows = [(int(i % 200 < p), p / 100) for p in range(101) for i in range(0, 200, 2)]
    return centered_isotonic(probabilities(spark, rows), "label")


@pytest.fixture(scope="module")
def data(spark):
    contract = small_contract()
    train = with_group(small_leads(spark, 600), contract)
    fields, label, order = contract.feature_set("available"), contract.label.name, contract.order.name
    with encoded(train, fields, label, folds=3, seed=1, order=order) as found:
        yield found


@pytest.fixture(scope="module")
def servable(data):
    return fit_servable(data, PARAMS, Finish(grades=GradeRule()))


def test_a_calibrated_probability_is_the_rate_at_which_such_leads_convert(spark, twice_too_sure):
    assert calibrated(spark, twice_too_sure, 0.2, 0.5, 0.8) == pytest.approx([0.1, 0.25, 0.4], abs=0.01)


def test_a_hundred_repeats_of_a_lead_weigh_as_much_as_ten_leads(spark):
    others = probabilities(spark, [(i % 2, 0.5) for i in range(100)] + [(0, 0.1)] * 500 + [(1, 0.9)] * 500)
    repeats = probabilities(spark, [(0, 0.5)] * 100).withColumn(GROUP, F.lit(-1).cast("long"))
    assert calibrated(spark, centered_isotonic(others.unionByName(repeats), "label"), 0.5) == pytest.approx([50 / 110])


def test_a_lead_weighs_half_as_much_as_one_that_came_a_fifth_of_all_leads_later(spark):
    ends = probabilities(spark, [(0, 0.1)] * 500 + [(1, 0.9)] * 500)
    newer, older = probabilities(spark, [(1, 0.5)] * 100), probabilities(spark, [(0, 0.5)] * 100, age=0.2)
    stage = centered_isotonic(ends.unionByName(newer).unionByName(older), "label")
    assert calibrated(spark, stage, 0.5) == pytest.approx([2 / 3])


def test_calibration_never_turns_the_order_of_two_leads_round(spark, twice_too_sure):
    found = calibrated(spark, twice_too_sure, *(i / 500 for i in range(501)))
    assert found == sorted(found)


def test_leads_of_one_step_of_the_regression_do_not_tie(spark):
    # Isotonic regression pools the two middle leads, which convert the wrong way round, into one step.
    rows = [(0, 0.1)] * 9 + [(1, 0.1)] + [(1, 0.4)] * 5 + [(0, 0.6)] * 5 + [(1, 0.9)] * 10
    stage = centered_isotonic(probabilities(spark, rows), "label")
    low, high = calibrated(spark, stage, 0.4, 0.6)
    assert low < high


def test_no_lead_is_certain_to_convert_or_not_to(spark):
    stage = centered_isotonic(probabilities(spark, [(0, 0.0)] * 50 + [(1, 1.0)] * 50), "label")
    low, high = calibrated(spark, stage, 0.0, 1.0)
    assert (low, high) == (pytest.approx(1 / 51), pytest.approx(50 / 51))


def test_every_lead_has_one_out_of_fold_score(data):
    assert out_of_fold(data, PARAMS, 2).count() == data.leads.count()


def test_out_of_fold_scores_are_worse_than_those_of_a_forest_that_has_seen_the_leads(data, servable):
    own = servable.model.stages[-4].transform(data.leads)
    unseen = out_of_fold(data, PARAMS, 2)
    loss = F.avg((F.col("probability") - F.col(data.label)) ** 2)
    seen_loss, unseen_loss = (
        frame.select(*scored_columns(frame.drop("calibrated"), data.label)).agg(loss).first()[0]
        for frame in (own, unseen)
    )
    assert seen_loss < unseen_loss


def test_a_servable_model_gives_a_calibrated_probability_and_a_grade(spark, servable):
    row = servable.model.transform(small_leads(spark, 5)).first()
    assert (0 < row.calibrated < 1, row.grade in "ABCD") == (True, True)


def test_without_calibration_the_model_ends_with_its_forest(data):
    found = fit_servable(data, PARAMS, Finish(calibrate="none", grades=GradeRule()))
    assert (type(found.model.stages[-1]).__name__, found.cuts) == ("RandomForestClassificationModel", None)


def test_a_lead_on_a_cut_has_the_better_grade(spark):
    leads = spark.createDataFrame([(0.1,), (0.2,), (0.5,), (0.79,), (0.8,)], "calibrated double")
    for stage in grade_stages(GradeCuts(a=0.8, b=0.5, c=0.2)):
        leads = stage.transform(leads)
    assert [r.grade for r in leads.orderBy("calibrated").collect()] == ["D", "C", "B", "B", "A"]


def graded(spark, rows, score="p", uncalibrated=None):
    """The grades of leads (grade, label, group, probability); `forest` promises a tenth more."""
    leads = spark.createDataFrame(rows, "grade string, label int, lead_group long, p double")
    return grade_table(leads.withColumn("forest", F.col("p") + 0.1), "label", score, uncalibrated).rows


def test_a_grade_table_counts_leads_and_conversions(spark):
    rows = graded(spark, [("A", 1, 1, 0.9), ("A", 1, 1, 0.8), ("A", 0, 2, 0.7), ("C", 0, 3, 0.3)])
    assert [(r.grade, r.leads, r.converted) for r in rows] == [("A", 3, 2), ("B", 0, 0), ("C", 1, 0), ("D", 0, 0)]


def test_a_grade_has_the_mean_score_of_its_leads(spark):
    rows = graded(spark, [("A", 1, 1, 0.9), ("A", 1, 1, 0.8), ("A", 0, 2, 0.7), ("C", 0, 3, 0.3)])
    assert [r.mean_score for r in rows] == [pytest.approx(0.8), None, pytest.approx(0.3), None]


def test_the_mean_score_of_a_grade_is_left_out_where_no_score_is_asked_for(spark):
    assert graded(spark, [("A", 1, 1, 0.9)], None)[0].mean_score is None


def test_a_grade_has_the_calibration_error_of_its_leads_before_and_after(spark):
    found = graded(spark, [("B", i % 2, i, 0.52) for i in range(100)], "p", "forest")[1]
    assert (found.ece, found.ece_uncalibrated) == pytest.approx((0.02, 0.12))
    assert found.mean_score_uncalibrated == pytest.approx(0.62)


def test_a_grade_of_few_groups_or_none_has_no_calibration_error(spark):
    a, b, *_ = graded(spark, [("A", i % 2, i % 99, 0.5) for i in range(200)], "p", "forest")
    assert (a.ece, a.ece_uncalibrated, b.ece, b.mean_score_uncalibrated) == (None, None, None, None)
    assert a.mean_score == pytest.approx(0.5)


def test_without_a_calibration_a_grade_has_no_figures_before(spark):
    found = graded(spark, [("B", i % 2, i, 0.52) for i in range(100)])[1]
    assert (found.mean_score_uncalibrated, found.ece_uncalibrated) == (None, None)


def test_repeated_leads_widen_the_interval_of_a_grade_s_rate(spark):
    single = graded(spark, [("A", i % 2, i, 0.5) for i in range(100)])[0]
    repeated = graded(spark, [("A", i % 2, i % 20, 0.5) for i in range(100)])[0]
    # A hundred leads in twenty groups, which each do the same: an interval of about twenty leads.
    assert repeated.rate == single.rate
    assert repeated.high - repeated.low > 2 * (single.high - single.low)


def test_grades_of_a_model_without_them_are_refused(spark):
    with pytest.raises(NotGraded, match="calibrate=isotonic"):
        grade_table(spark.createDataFrame([(1,)], "label int"), "label")
