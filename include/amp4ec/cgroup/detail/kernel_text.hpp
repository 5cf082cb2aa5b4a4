// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

/// What the parsers of kernel texts share.
namespace amp4ec::cgroup::detail {

/// Takes the text up to the separator off the front of `rest`, separator included.
inline std::string_view take_until(std::string_view& rest, char separator) noexcept {
  const auto at = rest.find(separator);
  const auto taken = rest.substr(0, at);
  rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
  return taken;
}

inline std::optional<std::uint64_t> to_number(std::string_view text) noexcept {
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

inline Error malformed(std::string_view what, std::string_view text) {
  return Error{Errc::CgroupFailed, fmt::format("cannot read {} from the kernel's text '{}'", what, text.substr(0, 80))};
}

/// True if `word` is one of the words of `text`, which `separator` parts.
inline bool has_word(std::string_view text, char separator, std::string_view word) noexcept {
  while (!text.empty()) {
    if (take_until(text, separator) == word) return true;
  }
  return false;
}

}  // namespace amp4ec::cgroup::detail
