"""The gate's report as a page: verdict, every check, what was measured of both models, and the slices."""

from collections.abc import Set

from matplotlib.figure import Figure

from evaluation.bootstrap import Interval
from evaluation.document import Document, Mark, Picture, Section, Table, Text, said
from evaluation.gate_comparison import collapsed
from evaluation.gate_conditions import GateConditions
from evaluation.gate_evidence import Evidence
from evaluation.gate_measures import Measured, SliceMeasure
from evaluation.gate_report import GateReport
from evaluation.look import BLUE, GREY, VERMILLION, clean, new_figure, plain


def gate_document(report: GateReport, evidence: Evidence, conditions: GateConditions, subject: str) -> Document:
    """The whole report; `subject` says which version was held against which."""
    failed = len(report.failures())
    verdict = (
        "Passed: every check holds." if report.passed else f"Refused: {failed} of {len(report.checks)} checks fail."
    )
    sections = [Section("Checks, failed ones first", (_checks(report),))]
    if report.failures():
        remedies = tuple((c.name, c.remedy) for c in report.failures())
        sections.append(Section("What to do", (Table(("check", "remedy"), remedies),)))
    if evidence.measured is not None:
        fallen = set(collapsed(conditions, evidence))
        sections += [_comparison(evidence.measured, conditions), _slices(evidence.measured, fallen)]
    else:
        sections.append(Section("Comparison", (Text("The test leads could not be measured.", "bad"),)))
    rows = tuple((name, str(value)) for name, value in conditions.model_dump().items())
    sections.append(Section("Conditions (conf/gate.yaml)", (Table(("condition", "value"), rows, numbers=(1,)),)))
    return Document("Promotion gate", subject, tuple(sections), verdict, "good" if report.passed else "bad")


def _checks(report: GateReport) -> Table:
    ordered = sorted(report.checks, key=lambda c: c.passed is True)
    rows = tuple((c.name, "passed" if c.passed is True else "FAILED", c.found, c.wanted) for c in ordered)
    marks: tuple[Mark, ...] = tuple("good" if c.passed is True else "bad" for c in ordered)
    return Table(("check", "result", "found", "wanted"), rows, marks)


def _comparison(measured: Measured, conditions: GateConditions) -> Section:
    basis = (
        f"Both models scored the same leads: the newest {conditions.newest_share:.0%} of the test leads "
        f"({measured.leads:,}) for areas and differences, all {measured.all_leads:,} for calibration and slices. "
        "Intervals are 95%, by a bootstrap over groups of repeated leads; differences are paired."
    )
    difference, brier = measured.auc_difference, measured.brier_difference
    rows = [
        ("ROC AUC", str(measured.auc), said(measured.production_auc, 4), _signed(difference)),
        ("Brier score", str(measured.brier), said(measured.production_brier, 4), _signed(brier)),
        ("calibration error", said(measured.ece, 4), said(measured.production_ece, 4), ""),
    ]
    head = ("measure", "candidate", "Production", "candidate less Production")
    blocks: tuple[Text | Table | Picture, ...] = (Text(basis), Table(head, tuple(rows), numbers=(1, 2, 3)))
    if difference is not None and brier is not None:
        picture = differences(difference, brier, conditions, measured.leads)
        blocks = (*blocks, Picture.of("Candidate less Production, with the margins of the gate", picture))
    return Section("Comparison", blocks)


def _slices(measured: Measured, fallen: Set[SliceMeasure]) -> Section:
    """The slices that collapsed first, then by the loss of AUC; one whose loss is not known stands as one of none."""
    if not measured.slices:
        return Section("Slices", (Text("No slice holds enough leads; see slice_by in the contract."),))
    ordered = sorted(
        measured.slices,
        key=lambda s: (s not in fallen, s.auc_change.value if s.auc_change else 0.0, -abs(s.promised.value)),
    )
    marks: tuple[Mark, ...] = tuple("bad" if s in fallen else "" for s in ordered)
    rows = tuple(
        (
            s.field,
            s.value,
            "FAILED" if s in fallen else "passed",
            said(s.leads),
            _signed(s.auc_change),
            _signed(s.promised),
            said(s.production_promised),
        )
        for s in ordered
    )
    change = "AUC against Production" if measured.auc_difference else "AUC against all leads"
    head = ("field", "value", "result", "leads", change, "mean score less rate", "the same, Production")
    return Section("Slices, failed ones first", (Table(head, rows, marks, numbers=(3, 4, 5, 6)),))


def differences(auc: Interval, brier: Interval, conditions: GateConditions, leads: int) -> Figure:
    """Both paired differences with their intervals, and the margin beyond which the gate refuses."""
    figure = new_figure("Candidate less Production", "paired 95% intervals on the newest test leads", leads)
    shown = (
        ("ROC AUC (right is better)", auc, -conditions.max_auc_drop),
        ("Brier score (left is better)", brier, conditions.max_brier_rise),
    )
    for ax, (name, found, margin) in zip(figure.subplots(2, 1), shown, strict=True):
        clean(ax, "x").axvline(0, color=GREY, lw=1.3, label="no difference")
        ax.axvline(margin, color=VERMILLION, ls="--", lw=1.6, label=f"margin {margin:+g}")
        reach = [[max(found.value - found.low, 0)], [max(found.high - found.value, 0)]]
        label = f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        ax.errorbar([found.value], [0], xerr=reach, fmt="o", color=BLUE, ms=9, lw=2, capsize=6, label=label)
        far = max(abs(v) for v in (found.low, found.high, margin)) * 1.3 or 0.01
        ax.set(xlim=(-far, far), ylim=(-1, 1), yticks=[], xlabel=plain(name))
        ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=3, fontsize=10, frameon=False)
    return figure


def _signed(found: Interval | None) -> str:
    return "-" if found is None else f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
