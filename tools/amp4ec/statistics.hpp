// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace amp4ec::cli {

/// The value below which this share (0 to 1) of the values lies, by nearest rank; 0 for none.
inline double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto count = static_cast<double>(values.size());
  const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(share * count)));
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(std::min(rank, values.size()) - 1);
  std::ranges::nth_element(values, place);
  return *place;
}

/// A figure that was measured once a round.
struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;
};

inline Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const std::size_t count = values.size();
  return {(values[(count - 1) / 2] + values[count / 2]) / 2, values.front(), values.back()};
}

}  // namespace amp4ec::cli
