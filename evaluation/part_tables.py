"""Tables of parts of the test leads, by grade and by slice, as model card and evaluation report show them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluation.document import Block, Mark, Table, Text, percent, said, span
from evaluation.model_facts import ModelFacts
from features.grading import GRADES

Facts = Mapping[str, Any]
# By key on record: the words of a head, and how a value is shown.
Measures = Mapping[str, tuple[str, Callable[[Any], str]]]
UNCALIBRATED = "_uncalibrated"
SLICE_HEAD = ("field", "value", "leads", "converted", "mean score", "AUC", "AUC gap", "Brier gap")
CALIBRATION_ERROR = (
    "The calibration error is the mean distance of score and conversion in up to ten groups of 100 leads or more; "
    "chance alone makes it about 0.03 where they are that small."
)
BEFORE = " Before: the forest's own probability; after: the calibrated one, which is served."


def grade_blocks(facts: ModelFacts) -> tuple[Block, ...]:
    """What every grade holds and converts, and how well its scores are calibrated."""
    report = facts.report("grades.json")
    if not report:
        return (Text("The model gives no grades, or their table is not on record.", "bad"),)
    rows = tuple(_grade(g, report["cuts"]) for g in report["grades"])
    head = ("grade", "from probability", "test leads", "share", "mean score", "expected conversion (95% interval)")
    fall = (
        "A better grade converts more often." if report["monotone"] else "A better grade does not always convert more."
    )
    blocks = (Table(head, rows, numbers=(1, 2, 3, 4, 5)), Text(fall, "" if report["monotone"] else "bad"))
    return (*blocks, *_grade_calibration(report["grades"]))


def slice_blocks(facts: ModelFacts, most: int) -> tuple[Block, ...]:
    """The worst slices first, small ones marked; every protected field is named."""
    report = facts.report("slices.json")
    if not report:
        return (Text("Not measured: the contract names no field to slice by, or the report is missing.", "bad"),)
    shown = report["slices"][:most]
    more = f" {len(report['slices']) - most} more are in slices.json." if len(report["slices"]) > most else ""
    protected = ", ".join(report.get("protected", ())) or "none"
    basis = (
        "The worst first; grey, and marked as few: too few leads to judge, repeats counted once. Gaps, with 95% "
        "intervals: AUC and Brier "
        "score less those of all leads, and for calibration the mean score less the share that converted (above 0 it "
        f"promises too much). Protected fields: {protected}.{more}"
    )
    order = _slice_table(SLICE_HEAD[3:], shown, [_slice(s) for s in shown])
    return (Text(basis), order, *_slice_calibration(shown), *_slice_grades(shown))


def conversion(grade: Facts) -> str:
    """The rate of conversion of a grade with its interval, in per cent."""
    return _share(grade["rate"], grade["low"], grade["high"])


def _grade(g: Facts, cuts: Mapping[str, float]) -> tuple[str, ...]:
    cut = cuts.get(g["grade"].lower(), 0.0)
    reached = "never" if cut > 1 else f"{cut:.3f}"
    return (g["grade"], reached, said(g["leads"]), percent(g["share"]), percent(g.get("mean_score")), conversion(g))


def _grade_calibration(grades: Sequence[Facts]) -> tuple[Block, ...]:
    """Scores of every grade before and after calibration; nothing where no calibration error is on record."""
    if not _known(grades, "ece"):
        return ()
    measures: Measures = {"mean_score": ("mean score", percent), "ece": ("calibration error", said)}
    head, cells = _before_and_after(grades, measures)
    rows = tuple((g["grade"], percent(g["rate"]), *row) for g, row in zip(grades, cells, strict=True))
    table = Table(("grade", "converted", *head), rows, numbers=tuple(range(1, len(head) + 2)))
    return (Text(_told(grades, " A dash: fewer than 100 leads, repeats counted once.")), table)


def _slice_calibration(slices: Sequence[Facts]) -> tuple[Block, ...]:
    """Calibration of the same slices, before and after."""
    measures: Measures = {"ece": ("calibration error", said), "calibration_gap": ("calibration gap", _difference)}
    head, cells = _before_and_after(slices, measures)
    return (Text(_told(slices, " A dash: too few leads to judge.")), _slice_table(head, slices, cells))


def _slice_grades(slices: Sequence[Facts]) -> tuple[Block, ...]:
    """Grade shares of the same slices; nothing where leads are not graded."""
    if not any(s.get("grades") for s in slices):
        return ()
    told = "Grades: each one's share of the slice's leads, with 95% intervals by groups of repeated leads."
    return (Text(told), _slice_table(GRADES, slices, [_shares(s) for s in slices]))


def _slice_table(head: Sequence[str], slices: Sequence[Facts], cells: Sequence[Sequence[str]]) -> Table:
    """A row per slice, small ones marked; `head` and `cells` are of the columns after field, value and leads."""
    marks: tuple[Mark, ...] = tuple("faint" if s["small"] else "" for s in slices)
    rows = tuple((s["field"], s["value"], _leads(s), *row) for s, row in zip(slices, cells, strict=True))
    columns = ("field", "value", "leads", *head)
    return Table(columns, rows, marks, numbers=tuple(range(2, len(columns))))


def _leads(s: Facts) -> str:
    return f"{said(s['leads'])} (few)" if s["small"] else said(s["leads"])


def _slice(s: Facts) -> tuple[str, ...]:
    return (
        percent(s["rate"]),
        percent(s["mean_score"]),
        said(s["auc"]["value"] if s["auc"] else None),
        _difference(s.get("auc_gap")),
        _difference(s.get("brier_gap")),
    )


def _shares(s: Facts) -> tuple[str, ...]:
    """A cell per grade; a share that is not on record is a dash."""
    low, high = s.get("grades_low", {}), s.get("grades_high", {})
    return tuple(_share(s["grades"].get(g), low.get(g), high.get(g)) for g in GRADES)


def _before_and_after(parts: Sequence[Facts], measures: Measures) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and cells of measures; before calibration, too, where that is known."""
    ends = {UNCALIBRATED: " before", "": " after"} if _calibrates(parts) else {"": ""}
    columns = [(key + end, words + when, show) for key, (words, show) in measures.items() for end, when in ends.items()]
    head = tuple(words for _, words, _ in columns)
    return head, [tuple(show(part.get(key)) for key, _, show in columns) for part in parts]


def _told(parts: Sequence[Facts], none: str) -> str:
    return f"{CALIBRATION_ERROR}{none}{BEFORE if _calibrates(parts) else ''}"


def _calibrates(parts: Sequence[Facts]) -> bool:
    return _known(parts, f"mean_score{UNCALIBRATED}")


def _known(parts: Sequence[Facts], key: str) -> bool:
    return any(part.get(key) is not None for part in parts)


def _difference(found: Mapping[str, float] | None) -> str:
    return span(found, sign="+")


def _share(value: float | None, low: float | None, high: float | None) -> str:
    """A share with the ends of its interval, in per cent; nothing as a dash."""
    if value is None:
        return "-"
    return percent(value) if low is None or high is None else f"{value:.1%} ({low:.1%} to {high:.1%})"
