"""The comparison of two models as a page: differences, curves, grades that leads change, and the leads themselves."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from evaluation.comparison import FIRST, SECOND, Comparison
from evaluation.document import Block, Document, Mark, Picture, Section, Table, Text, said
from evaluation.overlay_plots import MEASURES
from features.grading import GRADES


def comparison_document(
    found: Comparison, names: tuple[str, str], figures: Mapping[str, Figure], reasons: Mapping[str, tuple[str, str]]
) -> Document:
    """The page; `names` of first and second, `reasons` per changed lead by either, where the models give them."""
    change = found.differences.metrics["auc_roc"]
    sure = (
        "surely better" if change.low > 0 else "surely worse" if change.high < 0 else "neither surely better nor worse"
    )
    verdict = f"The second orders leads {sure}: ROC AUC {change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})."
    subject = f"First: {names[0]}. Second: {names[1]}. {found.leads:,} of {found.total:,} test leads, scored by both."
    sections = (
        Section("Differences", (_differences(found), *_pictures(figures, "differences"))),
        Section("Curves", tuple(_pictures(figures, "roc", "calibration", "gains"))),
        Section("Grades", _moves(found)),
        Section("Changed leads", _changed(found, reasons)),
    )
    mark: Mark = "good" if change.low > 0 else "bad" if change.high < 0 else ""
    return Document("Comparison of two models", subject, sections, verdict, mark)


def _differences(found: Comparison) -> Table:
    rows = [
        (words, *(str(found.sides[side].metrics[name]) for side in (FIRST, SECOND)), _signed(found, name))
        for name, words in MEASURES.items()
    ]
    first, second = found.errors[FIRST], found.errors[SECOND]
    rows.append(("calibration error", f"{first:.4f}", f"{second:.4f}", f"{second - first:+.4f}"))
    return Table(("measure", "first", "second", "second less first"), tuple(rows), numbers=(1, 2, 3))


def _signed(found: Comparison, name: str) -> str:
    change = found.differences.metrics[name]
    return f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})"


def _pictures(figures: Mapping[str, Figure], *names: str) -> list[Picture]:
    return [Picture.of(name, figures[name]) for name in names if name in figures]


def _moves(found: Comparison) -> tuple[Block, ...]:
    if found.crossed is None:
        return (Text("One of the models gives no grades, so no lead crosses one."),)
    rows = tuple((f"{a} by the first", *(said(found.moves.get((a, b), 0)) for b in GRADES)) for a in GRADES)
    total = sum(found.moves.values())
    told = f"{found.crossed:,} of {total:,} leads ({found.crossed / total:.1%}) get another grade from the second."
    return (Text(told), Table(("leads", *(f"{b} by the second" for b in GRADES)), rows, numbers=(1, 2, 3, 4)))


def _changed(found: Comparison, reasons: Mapping[str, tuple[str, str]]) -> tuple[Block, ...]:
    if not found.changed:
        return (Text("Both models give every lead the same probability."),)
    rows = []
    for c in found.changed:
        graded = f"{c.first_grade or '-'} to {c.second_grade or '-'}"
        row = (c.lead, f"{c.first * 100:.1f}", f"{c.second * 100:.1f}", f"{c.change * 100:+.1f}", graded)
        rows.append((*row, "yes" if c.label else "no", *(reasons.get(c.lead, ()) if reasons else ())))
    head = ("lead", "first score", "second score", "change", "grade", "converted")
    more = ("reasons of the first", "reasons of the second") if reasons else ()
    note = "Scores in points of 100. Leads that cross a grade come first, then the largest changes."
    if not reasons:
        note += " Neither model's scored output carries reasons."
    return (Text(note), Table((*head, *more), tuple(rows), numbers=(1, 2, 3)))
