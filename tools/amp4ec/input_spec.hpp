// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <cstdint>
#include <string_view>
#include <vector>

namespace amp4ec::cli {

/// One random input: "1x3x224x224", "1x16:int64" or "1x16:int64:1000".
struct InputSpec {
  static constexpr std::int64_t default_max = 100;

  std::vector<std::int64_t> shape;
  bool integers = false;           ///< int64 instead of float.
  std::int64_t max = default_max;  ///< Integers are drawn from 0 to max - 1.
};

/// @error InvalidArgument with an example of the form; also for more than 2^28 elements.
Result<InputSpec> parse_input_spec(std::string_view text);

}  // namespace amp4ec::cli
