// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <exception>
#include <string>
#include <string_view>

namespace amp4ec::cli {

/// The sentence of a LibTorch exception, without the stack trace behind it.
inline std::string first_line(const std::exception& exception) {
  const std::string_view text = exception.what();
  return std::string(text.substr(0, text.find('\n')));
}

/// What stands before the colon of a cut's reason: its documented code, e.g. "alias crosses".
inline std::string reason_code(std::string_view reason) {
  return std::string(reason.substr(0, reason.find(':')));
}

/// "3.21 ms" or "845 us" from microseconds.
inline std::string format_us(double us) {
  return us >= 1000 ? fmt::format("{:.2f} ms", us / 1000) : fmt::format("{:.0f} us", us);
}

/// "97.4 %" from a share.
inline std::string format_share(double share) {
  return fmt::format("{:.1f} %", 100 * share);
}

}  // namespace amp4ec::cli
