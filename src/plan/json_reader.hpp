// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace amp4ec::detail {

/// Reads the fields of one JSON object into variables and keeps the first fault, with its path from the root ("$").
///
/// A reader borrows the object and shares the fault with the readers of the objects inside, so that a whole document
/// is read in a straight line and asked once, at the end, whether all went well.
class JsonReader {
 public:
  /// Reads from the root of a document. `fault` must outlive the reader and all readers inside.
  JsonReader(const boost::json::value& root, std::optional<Error>& fault) : JsonReader(root, "$", fault) {}

  [[nodiscard]] bool has(std::string_view key) const { return object_->contains(key); }

  void read(std::string_view key, double& out) const;
  void read(std::string_view key, std::size_t& out) const;
  void read(std::string_view key, bool& out) const;
  void read(std::string_view key, std::string& out) const;
  void read(std::string_view key, Bytes& out) const;

  /// As `read`, but a missing field leaves the variable as it is.
  template <class T>
  void read_if_present(std::string_view key, T& out) const {
    if (has(key)) read(key, out);
  }

  /// Reads each element of an array of objects with `read_element(const JsonReader&)`.
  template <class ReadElement>
  void read_each(std::string_view key, ReadElement read_element) const {
    const boost::json::array* array = find_array(key);
    for (std::size_t i = 0; array != nullptr && i < array->size() && !fault_->has_value(); ++i) {
      read_element(JsonReader((*array)[i], path_of(key) + "[" + std::to_string(i) + "]", *fault_));
    }
  }

  /// The object under this key; an empty one, and a fault, if there is none.
  [[nodiscard]] JsonReader inside(std::string_view key) const;

  /// Refuses fields other than these.
  void allow_only(std::initializer_list<std::string_view> keys) const;

  /// Refuses documents of a schema other than 1.
  void read_schema() const;

 private:
  JsonReader(const boost::json::value& value, std::string path, std::optional<Error>& fault);

  [[nodiscard]] std::string path_of(std::string_view key) const { return path_ + "." + std::string(key); }
  [[nodiscard]] const boost::json::value* find(std::string_view key) const;
  [[nodiscard]] const boost::json::array* find_array(std::string_view key) const;
  void refuse(std::string_view key, std::string_view what, Errc code = Errc::JsonInvalid) const;

  const boost::json::object* object_;
  std::string path_;
  std::optional<Error>* fault_;
};

}  // namespace amp4ec::detail
