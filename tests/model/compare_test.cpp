// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include <amp4ec/model/compare.hpp>

#include <torch/script.h>

#include <cmath>
#include <limits>

using namespace amp4ec;

namespace {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float inf_value = std::numeric_limits<float>::infinity();

Difference differ(const at::Tensor& answer, const at::Tensor& reference) {
  return compare(Value(answer), Value(reference));
}

}  // namespace

TEST_CASE("the error is relative to the largest element of the reference") {
  const at::Tensor reference = at::tensor({1.0F, -4.0F, 2.0F});
  CHECK(differ(reference.clone(), reference).bit_equal);
  const Difference off = differ(at::tensor({1.0F, -4.0F, 2.5F}), reference);
  CHECK_FALSE(off.bit_equal);
  CHECK(off.relative_error == Approx(0.125));
  CHECK(off.scale == Approx(4.0));
}

TEST_CASE("not a number and infinity count as equal only in the same places") {
  const at::Tensor reference = at::tensor({1.0F, nan_value, inf_value});
  CHECK(differ(reference.clone(), reference).relative_error == 0);
  CHECK(std::isinf(differ(at::tensor({1.0F, 2.0F, inf_value}), reference).relative_error));
  CHECK(std::isinf(differ(at::tensor({nan_value, nan_value, inf_value}), reference).relative_error));
  CHECK(std::isinf(differ(at::tensor({1.0F, nan_value, 5.0F}), reference).relative_error));
  CHECK(std::isinf(differ(at::tensor({1.0F, nan_value, -inf_value}), reference).relative_error));
  CHECK(std::isinf(differ(at::tensor({inf_value, nan_value, inf_value}), reference).relative_error));
  const Difference off = differ(at::tensor({1.5F, nan_value, inf_value}), reference);
  CHECK(off.relative_error == Approx(0.5));  // An infinity beside it makes no error small.
  CHECK(off.scale == Approx(1.0));
}

TEST_CASE("shape, type and structure must be the same") {
  const at::Tensor reference = at::ones({2, 2});
  CHECK(std::isinf(differ(at::ones({4}), reference).relative_error));
  CHECK(std::isinf(differ(at::ones({2, 2}, at::kDouble), reference).relative_error));
  CHECK(std::isinf(compare(Value(c10::IValue(1)), Value(reference)).relative_error));
  CHECK(std::isinf(compare(Value(c10::IValue(1)), Value(c10::IValue(2))).relative_error));
  CHECK(compare(Value(c10::IValue(2)), Value(c10::IValue(2))).relative_error == 0);
  CHECK(std::isinf(differ(at::arange(3), at::arange(3) + 1).relative_error));
}

TEST_CASE("the worst of nested values counts, and the largest scale") {
  const auto nested = [](float first, float second) {
    return Value(c10::IValue(std::make_tuple(at::full({2}, first), std::vector<at::Tensor>{at::full({2}, second)})));
  };
  const Difference difference = compare(nested(1.0F, 11.0F), nested(1.0F, 10.0F));
  CHECK(difference.relative_error == Approx(0.1));
  CHECK(difference.scale == Approx(10.0));
  CHECK(std::isinf(compare(nested(1.0F, 10.0F), nested(1.0F, inf_value)).relative_error));
  CHECK(std::isinf(compare(nested(inf_value, 10.0F), nested(1.0F, 10.0F)).relative_error));
}

TEST_CASE("without floating numbers there is no scale, and a zero beside others does not hide them") {
  CHECK(std::isinf(differ(at::arange(3), at::arange(3)).scale));
  const auto pair = [](const at::Tensor& a, const at::Tensor& b) { return Value(c10::IValue(std::make_tuple(a, b))); };
  CHECK(compare(pair(at::ones({2}), at::zeros({1})), pair(at::ones({2}), at::zeros({1}))).scale == Approx(1.0));
  CHECK(compare(pair(at::arange(2), at::ones({1})), pair(at::arange(2), at::ones({1}))).scale == Approx(1.0));
}

TEST_CASE("quantized tensors are equal in what they stand for") {
  const at::Tensor values = at::tensor({0.0F, 1.0F, -4.0F});
  const at::Tensor reference = at::quantize_per_tensor(values, 0.5, 0, at::kQInt8);
  CHECK(differ(at::quantize_per_tensor(values, 0.5, 0, at::kQInt8), reference).bit_equal);
  const Difference off =
      differ(at::quantize_per_tensor(at::tensor({0.0F, 1.5F, -4.0F}), 0.5, 0, at::kQInt8), reference);
  CHECK(off.relative_error == Approx(0.125));
  CHECK(off.scale == Approx(4.0));
  CHECK(std::isinf(differ(at::quantize_per_tensor(values, 0.25, 0, at::kQInt8), reference).relative_error));
  CHECK(std::isinf(differ(at::quantize_per_tensor(values, 0.5, 1, at::kQInt8), reference).relative_error));
  CHECK(std::isinf(differ(at::quantize_per_tensor(values, 0.5, 0, at::kQUInt8), reference).relative_error));
  CHECK(std::isinf(differ(values, reference).relative_error));
  CHECK(std::isinf(differ(reference, values).relative_error));

  const auto by_channel = [](double second) {
    return at::quantize_per_channel(at::ones({2, 2}), at::tensor({0.5, second}, at::kDouble),
                                    at::tensor({0, 0}, at::kLong), 0, at::kQInt8);
  };
  CHECK(differ(by_channel(0.25), by_channel(0.25)).bit_equal);
  CHECK_FALSE(differ(by_channel(0.4), by_channel(0.25)).bit_equal);
  CHECK(std::isinf(
      differ(by_channel(0.5), at::quantize_per_tensor(at::ones({2, 2}), 0.5, 0, at::kQInt8)).relative_error));
}

TEST_CASE("sparse tensors are equal in what they stand for") {
  const at::Tensor reference = at::eye(3).mul(2.0).to_sparse();
  CHECK(differ(reference.clone(), reference).bit_equal);
  const Difference off = differ((at::eye(3) * 2.5).to_sparse(), reference);
  CHECK(off.relative_error == Approx(0.25));
  CHECK(off.scale == Approx(2.0));
  CHECK(std::isinf(differ(reference.to_dense(), reference).relative_error));
  CHECK(std::isinf(differ(reference, reference.to_dense()).relative_error));
  const at::Tensor rows = at::eye(3).to_sparse_csr();
  CHECK(differ(rows.clone(), rows).bit_equal);
  CHECK(std::isinf(differ(rows, reference).relative_error));
  CHECK(differ((at::eye(3) * 1.5).to_sparse_csr(), rows).relative_error == Approx(0.5));
}
