from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from deploy.report_weights import (
    MERGED_FILE,
    dequantize,
    load_merged_weights,
    outliers,
    rebase_factor,
    snr_db,
    weight_histogram,
)
from tests.random_models import random_model
from train.errors import ArtefactError


def test_dequantized_weight_is_entry_times_scale_in_oihw():
    conv = random_model(0).convs[1]
    weight = dequantize(conv)
    assert weight[3, 2, 0, 1] == float(conv.codebook[conv.indices[3, 0, 1, 2]]) * float(conv.weight_scale[3])


def test_snr_of_a_tenth_is_20_db_and_of_no_error_is_none():
    weight = np.array([1.0, -2.0, 3.0])
    assert snr_db(weight, 0.9 * weight) == pytest.approx(20.0)
    assert snr_db(weight, weight) is None


def test_weights_that_are_equal_but_for_float32_have_no_error():
    quantized = np.arange(-8, 8) * 0.0123
    merged = (quantized.astype(np.float32) * np.float32(1.0000001)).astype(np.float64)
    assert (merged != quantized).any()
    assert snr_db(merged, quantized) is None


def test_rebase_factor_undoes_a_factor_and_ignores_zeros():
    weight = np.array([1.0, -2.0, 3.0])
    assert rebase_factor(weight, 2.5 * weight) == pytest.approx(2.5)
    assert rebase_factor(np.zeros(3), weight) == 1.0


def test_outlier_is_counted():
    weight = np.concatenate([np.random.default_rng(0).normal(0, 1, 1000), [30.0]])
    facts = outliers(weight)
    assert facts["beyond_4_std"] == 1 and facts["max_over_std"] > 15 and facts["kurtosis"] > 30


def test_constant_layer_has_a_histogram():
    histogram = weight_histogram("a", np.zeros(9), np.zeros(9))
    assert sum(histogram["merged_counts"]) == 9 and histogram["outliers"]["std"] == 0


def test_merged_weights_of_another_shape_are_an_error(tmp_path):
    save_file({"conv0.weight": np.zeros((1, 1, 3, 3), np.float32)}, tmp_path / MERGED_FILE)
    with pytest.raises(ArtefactError, match=r"conv0\.weight is \(1, 1, 3, 3\)"):
        load_merged_weights(tmp_path / MERGED_FILE, random_model(0))


def test_missing_or_damaged_merged_file_is_an_error(tmp_path):
    with pytest.raises(ArtefactError, match="no such file"):
        load_merged_weights(tmp_path / MERGED_FILE, random_model(0))
    (tmp_path / MERGED_FILE).write_bytes(b"\x10")
    with pytest.raises(ArtefactError, match="truncated or damaged"):
        load_merged_weights(tmp_path / MERGED_FILE, random_model(0))
