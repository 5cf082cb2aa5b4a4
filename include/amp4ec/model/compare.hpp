// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/model/value.hpp>

namespace amp4ec {

/// How far one answer is from another.
struct Difference {
  /// max |answer - reference| / max |reference| of the worst tensor. Infinite when structure, shape, dtype, an integer,
  /// a string or the place of a NaN differ.
  double relative_error = 0;
  bool bit_equal = true;
  /// Smallest of the tensors' max |reference|: below some 1e-6 a comparison means nothing. Infinite without tensors.
  double scale = 0;
};

/// Compares nested values element by element. Thread-safe; never throws.
[[nodiscard]] Difference compare(const Value& answer, const Value& reference) noexcept;

}  // namespace amp4ec
