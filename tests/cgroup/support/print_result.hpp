// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include "support/catch.hpp"

#include <string>

/// Lets a failed check of a Result show its error.
template <class T>
struct Catch::StringMaker<boost::system::result<T, amp4ec::Error>> {
  static std::string convert(const boost::system::result<T, amp4ec::Error>& result) {
    return result ? "a value" : result.error().what();
  }
};
