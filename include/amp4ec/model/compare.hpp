// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/model/value.hpp>

namespace amp4ec {

/// How far one answer is from another.
struct Difference {
  /// max |answer - reference| / max |reference| of the worst tensor, over finite elements. Infinite when structure,
  /// shape, dtype, an integer, a string or the place of a NaN or an infinity differ. Never NaN.
  double relative_error = 0;
  bool bit_equal = true;
  /// Largest |reference|: below some 1e-6 a comparison means nothing. Infinite where nothing is a floating number.
  double scale = 0;
};

/// Compares nested values element by element. Thread-safe; never throws.
[[nodiscard]] Difference compare(const Value& answer, const Value& reference) noexcept;

}  // namespace amp4ec
