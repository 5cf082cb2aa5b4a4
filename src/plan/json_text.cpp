// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/plan/json_text.hpp>

#include <fmt/format.h>
#include <boost/json/array.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_stack.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace amp4ec {
namespace {

namespace json = boost::json;

constexpr std::size_t line_width = 180;  // a stage with long numbers still fits

std::string quoted(json::string_view text) {
  return json::serialize(json::string_view(text));
}

std::string scalar_text(const json::value& value) {
  if (!value.is_double()) return json::serialize(value);
  return std::isfinite(value.get_double()) ? fmt::format("{}", value.get_double()) : "null";
}

bool is_container(const json::value& value) {
  return value.is_object() || value.is_array();
}

bool holds_containers(const json::value& value) {
  if (const auto* object = value.if_object()) {
    return std::ranges::any_of(*object,
                               [](const json::key_value_pair& member) { return is_container(member.value()); });
  }
  return std::ranges::any_of(value.get_array(), is_container);
}

void append(std::string& out, const json::value& value, std::size_t indent);

/// The members of an object or array, with `separator` between them.
void append_members(std::string& out, const json::value& value, const std::string& separator, std::size_t indent) {
  bool first = true;
  const auto next = [&] {
    if (!first) out += separator;
    first = false;
  };
  if (const auto* object = value.if_object()) {
    for (const json::key_value_pair& member : *object) {
      next();
      out += quoted(member.key()) + ": ";
      append(out, member.value(), indent);
    }
    return;
  }
  for (const json::value& member : value.get_array()) {
    next();
    append(out, member, indent);
  }
}

void append(std::string& out, const json::value& value, std::size_t indent) {
  if (!is_container(value)) {
    out += scalar_text(value);
    return;
  }
  const char* const brackets = value.is_object() ? "{}" : "[]";
  if (!holds_containers(value)) {
    std::string line;
    append_members(line, value, ", ", 0);
    if (indent + line.size() <= line_width) {
      out += brackets[0] + line + brackets[1];
      return;
    }
  }
  const std::string line_start(indent + 2, ' ');
  out += fmt::format("{}\n{}", brackets[0], line_start);
  append_members(out, value, ",\n" + line_start, indent + 2);
  out += fmt::format("\n{}{}", std::string(indent, ' '), brackets[1]);
}

/// Builds the value that the parser reads. Boost's own handler takes the parser's doubles, which may be off by the last
/// bit; this one reads the digits again, so that what was written reads back equal.
class ExactHandler {
 public:
  static constexpr std::size_t max_object_size = json::object::max_size();
  static constexpr std::size_t max_array_size = json::array::max_size();
  static constexpr std::size_t max_key_size = json::string::max_size();
  static constexpr std::size_t max_string_size = json::string::max_size();

  [[nodiscard]] json::value release() { return stack_.release(); }

  // What boost::json::basic_parser calls; false would stop it.
  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return true; }
  bool on_object_end(std::size_t n, json::error_code&) { return stack_.push_object(n), true; }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(std::size_t n, json::error_code&) { return stack_.push_array(n), true; }
  bool on_key_part(json::string_view s, std::size_t, json::error_code&) { return stack_.push_chars(s), true; }
  bool on_key(json::string_view s, std::size_t, json::error_code&) { return stack_.push_key(s), true; }
  bool on_string_part(json::string_view s, std::size_t, json::error_code&) { return stack_.push_chars(s), true; }
  bool on_string(json::string_view s, std::size_t, json::error_code&) { return stack_.push_string(s), true; }
  bool on_number_part(json::string_view s, json::error_code&) {
    digits_.append(s.data(), s.size());
    return true;
  }
  bool on_int64(std::int64_t i, json::string_view, json::error_code&) {
    digits_.clear();
    return stack_.push_int64(i), true;
  }
  bool on_uint64(std::uint64_t u, json::string_view, json::error_code&) {
    digits_.clear();
    return stack_.push_uint64(u), true;
  }
  bool on_double(double nearly, json::string_view s, json::error_code&) {
    digits_.append(s.data(), s.size());
    double exact = 0;
    const auto [end, code] = std::from_chars(digits_.data(), digits_.data() + digits_.size(), exact);
    digits_.clear();
    // Out of range: the parser's infinity or zero will do.
    return stack_.push_double(code == std::errc{} ? exact : nearly), true;
  }
  bool on_bool(bool b, json::error_code&) { return stack_.push_bool(b), true; }
  bool on_null(json::error_code&) { return stack_.push_null(), true; }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  json::value_stack stack_;
  std::string digits_;
};

}  // namespace

std::string json_text(const json::value& value) {
  std::string out;
  append(out, value, 0);
  return out;
}

Result<json::value> parse_json(std::string_view text) {
  json::basic_parser<ExactHandler> parser{json::parse_options{}};
  json::error_code code;
  const std::size_t parsed = parser.write_some(false, text.data(), text.size(), code);
  if (!code && parsed == text.size()) return parser.handler().release();
  const auto line = 1 + std::ranges::count(text.substr(0, parsed), '\n');
  return Error{Errc::JsonInvalid,
               fmt::format("line {}: not JSON: {}", line, code ? code.message() : "more text after the end")};
}

}  // namespace amp4ec
