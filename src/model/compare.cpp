// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/model/compare.hpp>

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace amp4ec {

namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();

Difference unlike() {
  return {infinite, false, infinite};
}

/// How far numbers are apart that are not all the same.
struct Distance {
  double scale = 0;  ///< Largest magnitude of the reference.
  double error = 0;  ///< Largest distance; infinite where there is none, between what is not finite.
};

Distance distance_of(const at::Tensor& answer, const at::Tensor& reference) {
  const at::Tensor wide = reference.to(reference.is_complex() ? at::kComplexDouble : at::kDouble);
  const at::Tensor other = answer.to(wide.scalar_type());
  const at::Tensor nan = at::isnan(wide);
  // What is not finite has no distance: it must be the same. The scale and the error are those of the rest.
  const at::Tensor finite = at::isfinite(wide);
  const at::Tensor same = at::logical_or(wide == other, at::logical_and(nan, at::isnan(other)));
  const double scale = at::where(finite, at::abs(wide), 0.0).max().item<double>();
  if (same.all().item<bool>()) return {scale, 0};
  const at::Tensor comparable = at::logical_or(at::logical_and(finite, at::isfinite(other)), same);
  if (!comparable.all().item<bool>()) return {scale, infinite};
  return {scale, at::where(same, 0.0, at::abs(other - wide)).max().item<double>()};
}

Difference compare_tensors(const at::Tensor& answer, const at::Tensor& reference) {
  if (answer.defined() != reference.defined()) return unlike();
  if (!answer.defined()) return {0, true, infinite};
  if (answer.sizes() != reference.sizes() || answer.scalar_type() != reference.scalar_type()) return unlike();
  if (answer.layout() != reference.layout()) return unlike();
  if (reference.layout() != at::kStrided) return compare_tensors(answer.to_dense(), reference.to_dense());
  if (reference.is_quantized()) {
    const bool same_step =
        answer.qscheme() == reference.qscheme() &&
        (reference.qscheme() != at::kPerTensorAffine ||
         (answer.q_scale() == reference.q_scale() && answer.q_zero_point() == reference.q_zero_point()));
    return same_step ? compare_tensors(answer.dequantize(), reference.dequantize()) : unlike();
  }
  const bool equal = at::equal(answer, reference);
  if (reference.numel() == 0) return {0, true, infinite};
  if (!reference.is_floating_point() && !reference.is_complex())
    return equal ? Difference{0, true, infinite} : unlike();
  // A piece at a time: the intermediate results are several times as large as what is compared, and a worker compares
  // where memory is tight.
  constexpr std::int64_t piece = 1 << 16;
  const at::Tensor ours = answer.reshape({-1});
  const at::Tensor theirs = reference.reshape({-1});
  Distance total;
  for (std::int64_t at = 0; at < theirs.numel(); at += piece) {
    const std::int64_t count = std::min(piece, theirs.numel() - at);
    const Distance part = distance_of(ours.narrow(0, at, count), theirs.narrow(0, at, count));
    total = {std::max(total.scale, part.scale), std::max(total.error, part.error)};
  }
  if (equal || total.error == 0) return {0, true, total.scale};
  if (std::isinf(total.error)) return unlike();
  return {total.scale > 0 ? total.error / total.scale : infinite, false, total.scale};
}

Difference worse(const Difference& a, const Difference& b) {
  const double scale = std::isinf(a.scale) ? b.scale : std::isinf(b.scale) ? a.scale : std::max(a.scale, b.scale);
  return {std::max(a.relative_error, b.relative_error), a.bit_equal && b.bit_equal, scale};
}

Difference compare_values(const c10::IValue& answer, const c10::IValue& reference) {
  Difference total{0, true, infinite};
  if (reference.isTensor())
    return answer.isTensor() ? compare_tensors(answer.toTensor(), reference.toTensor()) : unlike();
  if (reference.isDouble()) {
    if (!answer.isDouble()) return unlike();
    return compare_tensors(at::scalar_tensor(answer.toDouble(), at::kDouble),
                           at::scalar_tensor(reference.toDouble(), at::kDouble));
  }
  if (reference.isTuple() && answer.isTuple()) {
    const auto& theirs = reference.toTupleRef().elements();
    const auto& ours = answer.toTupleRef().elements();
    if (ours.size() != theirs.size()) return unlike();
    for (std::size_t i = 0; i < theirs.size(); ++i) total = worse(total, compare_values(ours[i], theirs[i]));
    return total;
  }
  if (reference.isList() && answer.isList()) {
    const auto theirs = reference.toListRef();
    const auto ours = answer.toListRef();
    if (ours.size() != theirs.size()) return unlike();
    for (std::size_t i = 0; i < theirs.size(); ++i) total = worse(total, compare_values(ours[i], theirs[i]));
    return total;
  }
  if (reference.isGenericDict() && answer.isGenericDict()) {
    const auto theirs = reference.toGenericDict();
    const auto ours = answer.toGenericDict();
    if (ours.size() != theirs.size()) return unlike();
    for (const auto& entry : theirs) {
      const auto found = ours.find(entry.key());
      if (found == ours.end()) return unlike();
      total = worse(total, compare_values(found->value(), entry.value()));
    }
    return total;
  }
  return answer == reference ? total : unlike();
}

}  // namespace

Difference compare(const Value& answer, const Value& reference) noexcept {
  try {
    return compare_values(answer.ivalue(), reference.ivalue());
  } catch (...) {
    return unlike();  // Types that LibTorch itself cannot compare.
  }
}

}  // namespace amp4ec
