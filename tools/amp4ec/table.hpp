// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace amp4ec::cli {

/// Text in aligned columns. Columns of numbers (every cell begins with a digit, a sign or is empty) align right.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}

  /// @pre as many cells as the header has.
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  /// Every line ends with a newline.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace amp4ec::cli
