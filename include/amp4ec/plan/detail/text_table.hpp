// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// Text in aligned columns. Columns of numbers (every cell begins with a digit, a sign or is empty) align right.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : rows_{std::move(header)} {}

  /// @pre as many cells as the header has.
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  /// Every line ends with a newline.
  [[nodiscard]] std::string text() const {
    const std::size_t columns = rows_.front().size();
    std::vector<std::size_t> width(columns, 0);
    std::vector<bool> numbers(columns, true);
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      for (std::size_t c = 0; c < columns; ++c) {
        width[c] = std::max(width[c], rows_[r][c].size());
        if (r > 0 && !is_number_or_nothing(rows_[r][c])) numbers[c] = false;
      }
    }
    std::string out;
    for (const auto& row : rows_) {
      std::string line;
      for (std::size_t c = 0; c < columns; ++c) {
        line += numbers[c] ? fmt::format("{:>{}}", row[c], width[c]) : fmt::format("{:<{}}", row[c], width[c]);
        line += "  ";
      }
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
    }
    return out;
  }

 private:
  static bool is_number_or_nothing(const std::string& cell) {
    return cell.empty() || std::isdigit(static_cast<unsigned char>(cell.front())) != 0 || cell.front() == '-' ||
           cell.front() == '+';
  }

  std::vector<std::vector<std::string>> rows_;
};

}  // namespace amp4ec::detail
