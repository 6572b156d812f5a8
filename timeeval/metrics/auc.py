"""Point-wise areas: ROC, precision-recall and average precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from timeeval.metrics.metric import Array, Metric, trapezoid, undefined
from timeeval.metrics.scoring import Scoring, ScoringMetric

if TYPE_CHECKING:
    from collections.abc import Callable


class AucMetric(Metric):
    """Base of metrics that are areas under a curve and can plot it; one of your own needs `name` and `score`.

    Parameters
    ----------
    plot
        Show the curve (needs matplotlib).
    plot_store
        Write the curve to `fig-<curve>.pdf` in the working directory (needs matplotlib).
    """

    def __init__(self, plot: bool = False, plot_store: bool = False) -> None:
        self._plot = plot
        self._plot_store = plot_store

    def supports_continuous_scorings(self) -> bool:
        """Whether the metric takes floating-point scores: yes."""
        return True

    def arguments(self) -> dict[str, Any]:
        """Return what the value depends on; whether a plot is drawn is no part of it."""
        return {key: value for key, value in super().arguments().items() if key not in {"plot", "plot_store"}}

    def _auc(
        self, y_true: Array, y_score: Array, curve_function: Callable[[Array, Array], tuple[Array, Array, Array]]
    ) -> float:
        """Return the area under the curve that `curve_function` gives (sklearn's conventions), plotting it if asked."""
        x, y, _thresholds = curve_function(y_true, y_score)
        name = curve_function.__name__
        if "precision_recall" in name:
            x, y = y, x
        area = trapezoid(y, x)
        self._draw(x, y, area, name)
        return area

    def _draw(self, x: Array, y: Array, area: float, curve: str) -> None:
        if not (self._plot or self._plot_store):
            return
        try:
            from matplotlib import pyplot as plt  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise ImportError(
                f"{self.name} was made with plot or plot_store, which needs matplotlib: install it, or leave both out."
            ) from error
        figure, axes = plt.subplots()
        axes.plot(x, y, label=f"{self.name} = {area:.4f}")
        axes.set_title(f"{self.name} ({curve})")
        axes.legend()
        if self._plot_store:
            figure.savefig(Path(f"fig-{curve}.pdf"))
        if self._plot:
            plt.show()
        plt.close(figure)


class RocAUC(AucMetric, ScoringMetric):
    """Area under the receiver operating characteristic curve.

    The probability that an anomalous point has a higher score than a normal one, ties counting one half [1]_.
    Undefined (NaN) when all points are anomalous or none is. For the parameters see `AucMetric`.

    References
    ----------
    .. [1] T. Fawcett: An introduction to ROC analysis. Pattern Recognition Letters 27 (2006), 861-874.
    """

    def __init__(self, plot: bool = False, plot_store: bool = False) -> None:
        super().__init__(plot, plot_store)

    @property
    def name(self) -> str:
        """`ROC_AUC`."""
        return "ROC_AUC"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        positives, negatives = scoring.positives, scoring.n - scoring.positives
        if positives == 0 or negatives == 0:
            return undefined(self, f"all labels are {int(positives > 0)}")
        if self._plot or self._plot_store:
            from sklearn.metrics import roc_curve

            return self._auc(scoring.y_true, scoring.scores, roc_curve)
        groups = scoring.tie_groups
        negatives_above = groups.points_above - groups.positives_above
        negatives_tied = groups.points - groups.positives
        negatives_below = negatives - negatives_above - negatives_tied
        # Integers throughout: the one rounding is the last division.
        doubled_wins = int(np.sum(groups.positives * (2 * negatives_below + negatives_tied)))
        return doubled_wins / (2 * positives * negatives)


class PrAUC(AucMetric, ScoringMetric):
    """Area under the precision-recall curve by the trapezoidal rule.

    The curve starts at recall 0 with precision 1 and has one point for every distinct score as threshold [1]_.
    Undefined (NaN) when no point is anomalous. For the parameters see `AucMetric`.

    References
    ----------
    .. [1] J. Davis, M. Goadrich: The relationship between precision-recall and ROC curves. ICML 2006, 233-240.
    """

    def __init__(self, plot: bool = False, plot_store: bool = False) -> None:
        super().__init__(plot, plot_store)

    @property
    def name(self) -> str:
        """`PR_AUC`."""
        return "PR_AUC"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, "no point is labelled anomalous, so there is no recall")
        if self._plot or self._plot_store:
            from sklearn.metrics import precision_recall_curve

            return self._auc(scoring.y_true, scoring.scores, precision_recall_curve)
        groups = scoring.tie_groups
        precision = (groups.positives_above + groups.positives) / (groups.points_above + groups.points)
        before = np.ones(len(precision))
        np.divide(groups.positives_above, groups.points_above, out=before, where=groups.points_above > 0)
        return float(np.sum(groups.positives * (precision + before)) / (2 * scoring.positives))


class AveragePrecision(ScoringMetric):
    """Mean of the precisions at each anomalous point, without interpolation [1]_.

    Undefined (NaN) when no point is anomalous.

    Parameters
    ----------
    **kwargs
        Further arguments of :func:`sklearn.metrics.average_precision_score`, for example `sample_weight`.

    References
    ----------
    .. [1] C. D. Manning, P. Raghavan, H. Schuetze: Introduction to Information Retrieval. Cambridge University Press
       2008, section 8.4.
    """

    def __init__(self, **kwargs: object) -> None:
        self._kwargs = kwargs

    @property
    def name(self) -> str:
        """`AVERAGE_PRECISION`."""
        return "AVERAGE_PRECISION"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, "no point is labelled anomalous, so there is no recall")
        if self._kwargs:
            from sklearn.metrics import average_precision_score

            return float(average_precision_score(scoring.y_true, scoring.scores, pos_label=1, **self._kwargs))
        groups = scoring.tie_groups
        precision = (groups.positives_above + groups.positives) / (groups.points_above + groups.points)
        return float(np.sum(groups.positives * precision) / scoring.positives)
