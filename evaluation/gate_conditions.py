"""What a version must show before it may serve, as data."""

from pydantic import BaseModel, Field


class GateConditions(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """What a version must show before it may serve (conf/gate.yaml).

    Areas, Brier scores, rates and calibration errors lie in [0, 1]. Why a difference is held against the end of its
    interval: docs/decisions/0035-the-gate-asks-for-proof.md.
    """

    newest_share: float = Field(0.5, gt=0, le=1, description="share of the test leads, the newest, to compare on")
    min_test_leads: int = Field(100, ge=1, description="fewest of these newest leads")
    min_auc: float = Field(0.85, ge=0.5, le=1, description="smallest ROC AUC")
    max_auc_drop: float = Field(
        0.01, ge=0, le=0.5, description="largest loss of ROC AUC against Production, at the end of its 95% interval"
    )
    max_brier_rise: float = Field(
        0.005, ge=0, le=1, description="largest rise of the Brier score against Production, at the end of its interval"
    )
    max_ece: float = Field(0.05, ge=0, le=1, description="largest expected calibration error on all test leads")
    max_ece_rise: float = Field(0.02, ge=0, le=1, description="largest rise of that error against Production")
    min_slice_leads: int = Field(
        100, ge=2, description="fewest test leads of a slice that is judged, repeats counted once"
    )
    max_slice_auc_drop: float = Field(
        0.05, ge=0, le=1, description="loss of ROC AUC against Production on a slice, from which on it has collapsed"
    )
    max_slice_auc_gap: float = Field(
        0.25, ge=0, le=1, description="the same against all leads, where no version is in Production"
    )
    max_slice_calibration_gap: float = Field(
        0.1, ge=0, le=1, description="distance of mean score and conversion on a slice, from which on it has collapsed"
    )
    min_grade_leads: int = Field(30, ge=1, description="fewest test leads of a grade whose conversion is compared")
    max_score_difference: float = Field(
        1e-5, ge=0, le=1, description="largest difference of two ways of serving in any probability"
    )
    max_cost_factor: float = Field(3.0, ge=1, description="largest scoring time as a multiple of Production's")
