// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace amp4ec::bench {

/// Names the file that the operators of hop_operators.cpp write to, in every process of the benchmark.
inline constexpr const char* stamps_variable = "AMP4EC_BENCH_STAMPS";

/// Times in that file, by `monotonic_ns`.
enum Stamp : std::size_t { copy_began, output_ready, operator_started, stamp_count };

}  // namespace amp4ec::bench
