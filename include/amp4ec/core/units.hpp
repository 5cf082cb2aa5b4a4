// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace amp4ec {

/// An amount of memory, in bytes. A strong type: a bare number never means memory.
struct Bytes {
  std::uint64_t count = 0;

  constexpr auto operator<=>(const Bytes&) const = default;
  constexpr Bytes& operator+=(Bytes other) noexcept {
    count += other.count;
    return *this;
  }
  friend constexpr Bytes operator+(Bytes a, Bytes b) noexcept { return Bytes{a.count + b.count}; }
  friend constexpr Bytes operator*(std::uint64_t factor, Bytes b) noexcept { return Bytes{factor * b.count}; }
};

/// An amount of CPU time a second, in CPUs: 0.4 is four tenths of one hardware thread.
struct Cpus {
  double count = 0;

  constexpr auto operator<=>(const Cpus&) const = default;
  friend constexpr Cpus operator+(Cpus a, Cpus b) noexcept { return Cpus{a.count + b.count}; }
};

inline namespace literals {
constexpr Bytes operator""_B(unsigned long long n) {
  return Bytes{n};
}
constexpr Bytes operator""_KiB(unsigned long long n) {
  return Bytes{n << 10U};
}
constexpr Bytes operator""_MiB(unsigned long long n) {
  return Bytes{n << 20U};
}
constexpr Bytes operator""_GiB(unsigned long long n) {
  return Bytes{n << 30U};
}
constexpr Cpus operator""_cpu(long double n) {
  return Cpus{static_cast<double>(n)};
}
constexpr Cpus operator""_cpu(unsigned long long n) {
  return Cpus{static_cast<double>(n)};
}
}  // namespace literals

/// Reads a finite decimal number that fills the whole text. @error InvalidArgument otherwise.
inline Result<double> parse_number(std::string_view text) {
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{} || end != text.data() + text.size() || !std::isfinite(number)) {
    return Error{Errc::InvalidArgument, fmt::format("'{}' is not a number", text)};
  }
  return number;
}

/// Reads "512MiB", "1.5GiB", "4096" (bytes), "64kB": IEC prefixes are powers of 1024, SI prefixes powers of 1000.
/// @error InvalidArgument for anything else, for negative amounts and for amounts past 2^63.
inline Result<Bytes> parse_bytes(std::string_view text) {
  struct Suffix {
    std::string_view name;
    double factor;
  };
  static constexpr Suffix suffixes[] = {{"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40},
                                        {"kB", 1e3},     {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
                                        {"TB", 1e12},    {"B", 1},        {"", 1}};
  for (const Suffix& suffix : suffixes) {
    if (!text.ends_with(suffix.name)) continue;
    const auto number = parse_number(text.substr(0, text.size() - suffix.name.size()));
    if (!number || *number < 0 || *number * suffix.factor >= 0x1p63) break;
    return Bytes{static_cast<std::uint64_t>(std::llround(*number * suffix.factor))};
  }
  return Error{Errc::InvalidArgument,
               fmt::format("'{}' is not an amount of memory; write for example 512MiB, 1GiB or 4096 (bytes)", text)};
}

/// "512.0 MiB": three significant places, the largest IEC unit that keeps the number at least 1.
inline std::string format_bytes(Bytes bytes) {
  static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto amount = static_cast<double>(bytes.count);
  std::size_t unit = 0;
  while (amount >= 1024 && unit + 1 < std::size(units)) {
    amount /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes.count) : fmt::format("{:.1f} {}", amount, units[unit]);
}

}  // namespace amp4ec
