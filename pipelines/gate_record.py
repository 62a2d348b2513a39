"""What the gate leaves in the audit run: its numbers as metrics, and its report as JSON, Markdown and HTML."""

from dataclasses import asdict

import mlflow

from evaluation.gate_conditions import GateConditions
from evaluation.gate_evidence import Evidence
from evaluation.gate_page import gate_document
from evaluation.gate_report import GateReport


def log_gate(report: GateReport, evidence: Evidence, conditions: GateConditions, subject: str, run_id: str) -> None:
    """Log to the active run: metrics, gate.json, gate.md, gate.html."""
    metrics = evidence.measured.metrics() if evidence.measured else {}
    if evidence.cost is not None:
        metrics["candidate_ms_per_1000_leads"] = evidence.cost.candidate
        if evidence.cost.production is not None:
            metrics["production_ms_per_1000_leads"] = evidence.cost.production
    mlflow.log_metrics(metrics)
    mlflow.log_dict({**report.as_dict(), "subject": subject, "conditions": conditions.model_dump()}, "gate.json")
    if evidence.measured is not None:
        mlflow.log_dict(asdict(evidence.measured), "gate_measures.json")
    mlflow.log_text(report.as_table(), "gate.md")
    page = gate_document(report, evidence, conditions, f"{subject}; audit run {run_id}")
    mlflow.log_text(page.as_html(), "gate.html")
