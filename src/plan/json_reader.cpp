// SPDX-License-Identifier: Apache-2.0
#include "json_reader.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace amp4ec::detail {
namespace {

namespace json = boost::json;

const json::object& empty_object() {
  static const json::object empty;
  return empty;
}

/// A whole number from 0 to 2^63 - 1, however it is written (7, 7.0, 7e0).
std::optional<std::uint64_t> whole_number(const json::value& value) {
  if (const auto* integer = value.if_int64()) {
    return *integer < 0 ? std::nullopt : std::optional<std::uint64_t>(static_cast<std::uint64_t>(*integer));
  }
  if (const auto* number = value.if_double()) {
    const bool whole = *number >= 0 && *number < 0x1p53 && *number == std::floor(*number);
    return whole ? std::optional<std::uint64_t>(static_cast<std::uint64_t>(*number)) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

JsonReader::JsonReader(const json::value& value, std::string path, std::optional<Error>& fault)
    : object_(value.if_object()), path_(std::move(path)), fault_(&fault) {
  if (object_ != nullptr) return;
  object_ = &empty_object();
  if (!fault) fault = Error{Errc::JsonInvalid, path_ + ": expected an object"};
}

void JsonReader::refuse(std::string_view key, std::string_view what, Errc code) const {
  if (!*fault_) *fault_ = Error{code, path_of(key) + ": " + std::string(what)};
}

const json::value* JsonReader::find(std::string_view key) const {
  const json::value* value = object_->if_contains(key);
  if (value == nullptr) refuse(key, "is missing");
  return value;
}

const json::array* JsonReader::find_array(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) refuse(key, "expected an array");
  return value->if_array();
}

void JsonReader::read(std::string_view key, double& out) const {
  const json::value* value = find(key);
  if (value == nullptr) return;
  const double number = value->is_number() ? value->to_number<double>() : std::nan("");
  if (!std::isfinite(number)) return refuse(key, "expected a finite number");
  out = number;
}

void JsonReader::read(std::string_view key, std::size_t& out) const {
  const json::value* value = find(key);
  if (value == nullptr) return;
  const auto number = whole_number(*value);
  if (!number) return refuse(key, "expected a whole number, not negative");
  out = static_cast<std::size_t>(*number);
}

void JsonReader::read(std::string_view key, Bytes& out) const {
  const json::value* value = find(key);
  if (value == nullptr) return;
  const auto number = whole_number(*value);
  if (!number) return refuse(key, "expected a number of bytes: whole and not negative");
  out = Bytes{*number};
}

void JsonReader::read(std::string_view key, bool& out) const {
  const json::value* value = find(key);
  if (value == nullptr) return;
  if (!value->is_bool()) return refuse(key, "expected true or false");
  out = value->get_bool();
}

void JsonReader::read(std::string_view key, std::string& out) const {
  const json::value* value = find(key);
  if (value == nullptr) return;
  if (!value->is_string()) return refuse(key, "expected a string");
  out.assign(value->get_string().data(), value->get_string().size());
}

JsonReader JsonReader::inside(std::string_view key) const {
  static const json::value nothing = json::object();
  const json::value* value = find(key);
  return JsonReader(value == nullptr ? nothing : *value, path_of(key), *fault_);
}

void JsonReader::allow_only(std::initializer_list<std::string_view> keys) const {
  for (const json::key_value_pair& member : *object_) {
    const std::string_view key(member.key().data(), member.key().size());
    if (std::ranges::find(keys, key) == keys.end()) refuse(key, "is not a field that belongs here");
  }
}

void JsonReader::read_schema() const {
  std::size_t schema = 0;
  read("schema", schema);
  if (schema != 1) refuse("schema", "this version reads schema 1", Errc::NotSupported);
}

}  // namespace amp4ec::detail
