// SPDX-License-Identifier: Apache-2.0
#include "input_spec.hpp"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <system_error>

namespace amp4ec::cli {
namespace {

constexpr std::int64_t most_elements = std::int64_t{1} << 28;

std::optional<std::int64_t> positive_integer(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < 1) return std::nullopt;
  return number;
}

/// Cuts off what stands before the next separator.
std::string_view take_field(std::string_view& rest, char separator) {
  const auto at = rest.find(separator);
  const std::string_view field = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
  return field;
}

}  // namespace

Result<InputSpec> parse_input_spec(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return Error{Errc::InvalidArgument,
                 fmt::format("input '{}': {}; write for example 1x3x224x224 or 1x16:int64:1000", text, why)};
  };
  if (text.ends_with(':') || text.ends_with('x')) return refuse("something is missing at the end");
  std::string_view rest = text;
  std::string_view shape = take_field(rest, ':');
  const std::string_view type = take_field(rest, ':');

  InputSpec spec;
  std::int64_t elements = 1;
  do {
    const std::string_view field = take_field(shape, 'x');
    const auto size = positive_integer(field);
    if (!size) return refuse(fmt::format("'{}' is not a size", field));
    if (*size > most_elements / elements) return refuse(fmt::format("it has more than {} elements", most_elements));
    elements *= *size;
    spec.shape.push_back(*size);
  } while (!shape.empty());

  if (!type.empty() && type != "float" && type != "int64")
    return refuse(fmt::format("'{}' is not float or int64", type));
  spec.integers = type == "int64";
  if (rest.empty()) return spec;
  const auto max = positive_integer(rest);
  if (!spec.integers || !max) return refuse(fmt::format("'{}' is not a bound of integers", rest));
  spec.max = *max;
  return spec;
}

}  // namespace amp4ec::cli
