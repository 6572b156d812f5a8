import pytest

from timeeval.data_types import ExecutionType, InputDimensionality, TrainingType


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unsupervised", TrainingType.UNSUPERVISED),
        ("semi-supervised", TrainingType.SEMI_SUPERVISED),
        ("SUPERVISED", TrainingType.SUPERVISED),
        ("Semi-Supervised", TrainingType.SEMI_SUPERVISED),
        ("whatever", TrainingType.UNSUPERVISED),
        ("", TrainingType.UNSUPERVISED),
    ],
)
def test_training_type_from_text(text, expected):
    assert TrainingType.from_text(text) is expected


def test_dimensionality():
    assert InputDimensionality.from_dimensions(1) is InputDimensionality.UNIVARIATE
    assert InputDimensionality.from_dimensions(2) is InputDimensionality.MULTIVARIATE
    for n in (0, -1):
        with pytest.raises(ValueError, match="at least one channel"):
            InputDimensionality.from_dimensions(n)


def test_values():
    assert [e.value for e in ExecutionType] == ["train", "execute"]
    assert [e.value for e in InputDimensionality] == ["univariate", "multivariate"]
