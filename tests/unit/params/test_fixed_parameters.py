import numpy as np
import pytest

from timeeval.params import FixedParameters, FixedParams, ParameterConfig


def test_one_setting():
    config = FixedParameters({"a": 1})
    assert list(config) == [{"a": 1}]
    assert list(config.iter(None, None)) == [{"a": 1}]
    assert len(config) == 1
    assert config[0] == {"a": 1}
    assert isinstance(config[0], FixedParams)


def test_other_positions_do_not_exist():
    with pytest.raises(AssertionError, match="one setting only"):
        FixedParameters({})[1]


@pytest.mark.parametrize("params", [[{"a": 1}], iter([{"a": 1}])])
def test_several_settings_are_refused(params):
    with pytest.raises(TypeError, match=r"[P|p]lease use a.*IndependentParameterGrid."):
        FixedParameters(params)


@pytest.mark.parametrize("params", ["a", 1, None])
def test_other_things_are_refused(params):
    with pytest.raises(TypeError, match=r"[P|p]arameters are not provided as a dict"):
        FixedParameters(params)


def test_defaults():
    assert list(ParameterConfig.defaults()) == [{}]


def test_a_fixed_setting_has_nothing_open():
    params = FixedParams({"a": 1})
    assert params.materialize() is params
    assert params.to_dict() is params
    assert params.assess(np.array([0, 1]), np.array([0.1, 0.9])) == 0.0
    assert params.fail() is None
    assert params == {"a": 1}
    assert "FixedParams" not in repr(params)
